//! `webhook`: rows as JSON, each posted to a URL.
//!
//! Answers 2xx acknowledge a row; 408, 425, 429, 5xx, silence and broken connections are tried again; all others refuse
//! the row, which becomes a dead letter. A row that is posted again has the same `Idempotency-Key`.

mod body;
mod post;

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client};

use super::columns::ColumnsSpec;
use super::delivery::{Delivery, Gather, Patience, PatienceSpec};
use super::{Placement, PreparedSink, SinkPlan, SinkSpec};
use crate::error::{Error, Result};
use crate::runtime::{Prepare, blocking};
use crate::sources::SEQ;
use crate::spec::{At, Check, Edge, Fields, Findings, Named, Secret, Url};
use body::{Body, BodySpec};
use post::{Post, whole};

/// Each row goes alone.
const ALONE: Gather = Gather { rows: 1, delay: Duration::ZERO };

struct WebhookSpec {
    url: At<Url>,
    headers: Named<Secret>,
    body: Option<At<BodySpec>>,
    ca: Option<At<String>>,
    patience: PatienceSpec,
    columns: ColumnsSpec,
}

pub fn read(fields: &mut Fields<'_>) -> Box<dyn SinkSpec> {
    Box::new(WebhookSpec {
        url: fields.get("url", "where rows are posted: write ${NAME} or ${file:path} for what is secret").required(),
        headers: fields.get("headers", "names and values of HTTP headers").or(Named::default()),
        body: fields
            .get(
                "body",
                "row: a JSON object (the default); text: {\"text\": message}; or a table whose texts hold {expressions}",
            )
            .optional(),
        ca: fields
            .get("ca", "the certificates (PEM) that vouch for the server, besides those that browsers know")
            .optional(),
        patience: PatienceSpec::read(fields),
        columns: ColumnsSpec::read(fields),
    })
}

impl SinkSpec for WebhookSpec {
    fn plan(&self, name: &At<String>, input: &Edge, check: &Check<'_>) -> Option<Arc<dyn SinkPlan>> {
        let headers = self.headers(check.findings);
        let row = self.columns.plan(input, check);
        if let (Some(select), Some(body)) = (self.columns.place(), &self.body)
            && !matches!(body.value, BodySpec::Row)
        {
            check.findings.mistake(select, "`select` says what is in a row, and this `body` is made in another way");
        }
        let body = BodySpec::plan(self.body.as_ref(), row, input, check.findings);
        Some(Arc::new(WebhookPlan {
            name: name.value.clone(),
            input: input.clone(),
            url: self.url.value.clone(),
            headers: headers?,
            body: body?,
            ca: self.ca.as_ref().map(|path| check.files.path(path)),
            patience: self.patience.plan(),
        }))
    }
}

impl WebhookSpec {
    fn headers(&self, findings: &Findings) -> Option<HeaderMap> {
        let mut headers = HeaderMap::new();
        let mut sound = true;
        for (name, Secret(value)) in self.headers.0.iter().map(|(name, value)| (name, &value.value)) {
            match (HeaderName::try_from(&name.value), HeaderValue::try_from(value)) {
                (Ok(header), Ok(mut value)) => {
                    value.set_sensitive(true);
                    headers.insert(header, value);
                }
                _ => {
                    findings
                        .mistake(&name.span, format!("`{}` or its value cannot stand in an HTTP header", name.value));
                    sound = false;
                }
            }
        }
        sound.then_some(headers)
    }
}

#[derive(Clone)]
struct WebhookPlan {
    name: String,
    input: Edge,
    url: Url,
    headers: HeaderMap,
    body: Body,
    ca: Option<std::path::PathBuf>,
    patience: Patience,
}

impl WebhookPlan {
    fn client(&self) -> Result<Client> {
        // A redirected POST would come as a GET, and elsewhere than it was meant to.
        let mut builder = Client::builder().timeout(self.patience.timeout).redirect(Policy::none());
        builder = builder.user_agent(concat!("tapeflow/", env!("CARGO_PKG_VERSION")));
        if let Some(path) = &self.ca {
            let cannot = |error: &dyn std::fmt::Display| Error::connect(format!("{}: {error}", path.display()));
            let pem = std::fs::read(path).map_err(|error| cannot(&error))?;
            for certificate in Certificate::from_pem_bundle(&pem).map_err(|error| cannot(&error))? {
                builder = builder.add_root_certificate(certificate);
            }
        }
        builder.build().map_err(|error| Error::connect(whole(&error)))
    }
}

/// Rows of a key are delivered in order by one worker: where they are, if they are at the worker of their key.
fn placement(input: &Edge) -> Placement {
    match input.placed || input.key.is_empty() {
        true => Placement::Anywhere,
        false => Placement::ByColumnsSorted(input.key.clone()),
    }
}

impl SinkPlan for WebhookPlan {
    fn placement(&self) -> Placement {
        placement(&self.input)
    }

    /// A server that is away now shall not keep a job from going on.
    fn prepare(&self, prepare: &Prepare) -> Result<Arc<dyn PreparedSink>> {
        let (url, body, headers) = (self.url.clone(), self.body.clone(), self.headers.clone());
        let post = Post { url, body, headers, client: self.client()? };
        Ok(Arc::new(Delivery::new(post, (&self.name, &self.input), (ALONE, self.patience), prepare)))
    }

    /// Whatever it answers, it is there.
    fn look(&self) -> Result<()> {
        let (client, url) = (self.client()?, self.url.clone());
        let cannot = move |error| Error::connect(format!("{url}: {}", whole(&error)));
        let asked = client.head(self.url.whole());
        blocking(self.patience.timeout * 2, async move { asked.send().await.map(drop).map_err(cannot) })
    }

    fn details(&self) -> Vec<String> {
        let body = match &self.body {
            Body::Row(_) => "each row as a JSON object",
            Body::Template(_) => "a body made of each row",
        };
        let key = if self.input.position(SEQ).is_some() { ", with an Idempotency-Key" } else { "" };
        vec![format!("POST to {}: {body}{key}", self.url), self.patience.details()]
    }
}
