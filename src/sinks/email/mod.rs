//! `email`: rows by mail, those that come together in one mail.
//!
//! A mail that the server cannot take now (4yz, broken connections, silence) is sent again; one that it refuses (5yz)
//! makes dead letters of its rows. One worker sends all mails.

mod mail;
mod server;

use std::sync::Arc;
use std::time::Duration;

use lettre::message::Mailbox;

use super::columns::visible;
use super::delivery::{Delivery, Gather, Patience, PatienceSpec};
use super::{Placement, PreparedSink, SinkPlan, SinkSpec};
use crate::error::{Error, Result};
use crate::runtime::{Prepare, blocking};
use crate::sources::TIME;
use crate::spec::{At, Check, Edge, Fields, Findings, OneOrMany, Template};
use mail::{Mailer, Text, whole};
use server::{Server, ServerSpec};

/// The most rows that a mail may tell of.
const MOST_ROWS: u64 = 10_000;

struct EmailSpec {
    server: ServerSpec,
    from: At<String>,
    to: At<OneOrMany<String>>,
    subject: Option<At<String>>,
    text: Option<At<String>>,
    max_rows: Option<At<u64>>,
    max_delay: Duration,
    patience: PatienceSpec,
}

pub fn read(fields: &mut Fields<'_>) -> Box<dyn SinkSpec> {
    Box::new(EmailSpec {
        server: ServerSpec::read(fields),
        from: fields.get("from", "who sends the mails: \"Name <address>\"").required(),
        to: fields.get("to", "who gets them: an address or a list").required(),
        subject: fields
            .get("subject", "with expressions in braces; of an alert its severity and message by default")
            .optional(),
        text: fields
            .get("text", "a line for each row, with expressions in braces; of an alert its time and message by default")
            .optional(),
        max_rows: fields.get("max_rows", "how many rows a mail tells of, at most; 100 by default").optional(),
        max_delay: fields
            .get("max_delay", "how long a row may wait for others; 0s: for those of its epoch only; 1s by default")
            .or(Duration::from_secs(1)),
        patience: PatienceSpec::read(fields),
    })
}

impl SinkSpec for EmailSpec {
    fn plan(&self, name: &At<String>, input: &Edge, check: &Check<'_>) -> Option<Arc<dyn SinkPlan>> {
        let findings = check.findings;
        let server = self.server.plan(check);
        let from = mailbox(&self.from, findings);
        let to: Vec<Option<Mailbox>> = self.to.0.iter().map(|to| mailbox(to, findings)).collect();
        let shown: Vec<&str> = self.to.0.iter().map(|to| to.value.as_str()).collect();
        if to.is_empty() {
            findings.mistake(&self.to.span, "`to` names nobody");
        }
        let rows = self.max_rows.as_ref().filter(|rows| !(1..=MOST_ROWS).contains(&rows.value));
        rows.into_iter().for_each(|rows| findings.mistake(&rows.span, format!("it is 1 to {MOST_ROWS}")));
        let template = |text: &At<String>| Template::plan(text, &input.schema, findings);
        let default = |text: String| At::new(text, name.span.clone());
        let subject = self.subject.clone().unwrap_or_else(|| default(default_subject(name, input)));
        let text = self.text.clone().or_else(|| default_text(input).map(default));
        let (subject, text) = (template(&subject), text.map(|text| template(&text)));
        Some(Arc::new(EmailPlan {
            name: name.value.clone(),
            input: input.clone(),
            server: server?,
            from: from?,
            to: to.into_iter().collect::<Option<Vec<_>>>().filter(|to| !to.is_empty())?,
            shown: shown.join(", "),
            subject: subject?,
            text: text.map_or_else(|| Some(Text::Row(visible(input))), |text| text.map(Text::Template))?,
            gather: Gather {
                rows: self.max_rows.as_ref().map_or(100, |rows| rows.value.clamp(1, MOST_ROWS) as usize),
                delay: self.max_delay,
            },
            patience: self.patience.plan(),
        }))
    }
}

fn mailbox(text: &At<String>, findings: &Findings) -> Option<Mailbox> {
    let read = text.parse();
    read.map_err(|_| findings.mistake(&text.span, format!("`{}` is no mail address", text.value))).ok()
}

/// Of rows that look like those of an alert, what they say.
fn default_subject(name: &At<String>, input: &Edge) -> String {
    match (input.position("severity"), input.position("message")) {
        (Some(_), Some(_)) => "[{severity}] {message}".to_string(),
        (None, Some(_)) => "{message}".to_string(),
        _ => name.value.clone(),
    }
}

fn default_text(input: &Edge) -> Option<String> {
    input.position("message")?;
    Some(if input.position(TIME).is_some() { format!("{{{TIME}}} {{message}}") } else { "{message}".to_string() })
}

#[derive(Clone)]
struct EmailPlan {
    name: String,
    input: Edge,
    server: Server,
    from: Mailbox,
    to: Vec<Mailbox>,
    /// Those who get them, as it was written.
    shown: String,
    subject: Template,
    text: Text,
    gather: Gather,
    patience: Patience,
}

impl SinkPlan for EmailPlan {
    fn placement(&self) -> Placement {
        Placement::Gathered
    }

    /// A server that is away now shall not keep a job from going on.
    fn prepare(&self, prepare: &Prepare) -> Result<Arc<dyn PreparedSink>> {
        let Patience { timeout, .. } = self.patience;
        let mailer = Mailer {
            from: self.from.clone(),
            to: self.to.clone(),
            subject: self.subject.clone(),
            text: self.text.clone(),
            transport: self.server.transport(timeout)?,
            timeout,
        };
        Ok(Arc::new(Delivery::new(mailer, (&self.name, &self.input), (self.gather, self.patience), prepare)))
    }

    /// It is there, and lets the user in.
    fn look(&self) -> Result<()> {
        let (server, transport) = (self.server.clone(), self.server.transport(self.patience.timeout)?);
        blocking(self.patience.timeout * 2, async move {
            match transport.test_connection().await {
                Ok(true) => Ok(()),
                Ok(false) => Err(Error::connect(format!("{server}: it does not answer"))),
                Err(error) => Err(Error::connect(format!("{server}: {}", whole(&error)))),
            }
        })
    }

    fn details(&self) -> Vec<String> {
        let Gather { rows, delay } = self.gather;
        let wait = match delay {
            Duration::ZERO => "that come in one epoch".to_string(),
            delay => format!("that come within {}", humantime::format_duration(delay)),
        };
        vec![
            format!("mails to {} by {}", self.shown, self.server),
            format!("a mail tells of up to {rows} rows {wait}"),
            self.patience.details(),
        ]
    }
}
