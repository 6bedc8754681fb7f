//! What can be set of a node while its job runs: it is told, and changed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};
use warp::reply::{Reply, Response, with_header};

use super::api::{SetRequest, SetTo};
use super::{ANSWER, App};
use crate::error::{Error, Result};
use crate::operators::Settable;
use crate::runtime::Known;
use crate::state::Setting;

/// How often it is looked whether it holds.
const LOOK: Duration = Duration::from_millis(10);
/// Whoever asks hears that it takes long before the answer is given up.
const LONGEST: Duration = ANSWER.saturating_sub(Duration::from_secs(10));

/// One at a time: a value is changed in what the one before has left.
static ONE: Mutex<()> = Mutex::const_new(());

/// What is in force of `node`, as text; the first epoch that it holds for is in a header, where it was set.
pub fn get(known: &Known, node: &str, what: &str) -> Result<Response> {
    let text = in_force(known, node, settable(known, node, what)?);
    let answer = with_header(text, "content-type", "text/csv; charset=utf-8").into_response();
    Ok(match known.job.in_force.get(node) {
        Some(setting) => with_header(answer, "tapeflow-epoch", setting.epoch).into_response(),
        None => answer,
    })
}

/// Sets all of it.
pub async fn put(app: &Arc<App>, known: Known, node: &str, what: &str, text: String) -> Result<SetTo> {
    change(app, known, node, what, |_, _| Ok(text)).await
}

/// Sets some values of one key.
pub async fn patch(app: &Arc<App>, known: Known, node: &str, what: &str, request: SetRequest) -> Result<SetTo> {
    let SetRequest { key, values } = request;
    change(app, known, node, what, move |settable, text| settable.changed(text, &key, &values)).await
}

/// Sets what `make` makes of what is in force. It goes on to its end when whoever asked has gone: so no more than one is
/// under way.
async fn change(
    app: &Arc<App>,
    known: Known,
    node: &str,
    what: &str,
    make: impl FnOnce(&dyn Settable, &str) -> Result<String, String> + Send + 'static,
) -> Result<SetTo> {
    let (app, node, what) = (Arc::clone(app), node.to_string(), what.to_string());
    let work = async move {
        let settable = settable(&known, &node, &what)?;
        let _one = ONE.lock().await;
        let text = make(settable, &in_force(&known, &node, settable));
        let text = text.and_then(|text| settable.check(&text).map(|()| text));
        let text = text.map_err(|wrong| Error::Usage(format!("the {what} of `{node}`{wrong}")))?;
        set(&app, &known, &what, Setting::new(&node, text)).await
    };
    tokio::spawn(work).await.map_err(Error::run)?
}

fn settable<'k>(known: &'k Known, node: &str, what: &str) -> Result<&'k dyn Settable> {
    let name = &known.job.name;
    let Some(found) = known.plan.nodes.iter().find(|other| other.name == node) else {
        return Err(Error::Usage(format!("job `{name}` has no node `{node}`")));
    };
    let settable = found.settable().filter(|settable| settable.name() == what);
    settable.ok_or_else(|| Error::Usage(format!("`{node}` of job `{name}` ({}) has no {what}", found.kind)))
}

fn in_force(known: &Known, node: &str, settable: &dyn Settable) -> String {
    known.job.in_force.get(node).map_or_else(|| settable.initial().to_string(), |setting| setting.text.clone())
}

/// Has it set, and waits until it holds.
async fn set(app: &App, known: &Known, what: &str, setting: Setting) -> Result<SetTo> {
    let (job, id, node) = (&known.job, setting.id.clone(), setting.node.clone());
    app.process.set(known, setting)?;
    let deadline = Instant::now() + LONGEST;
    while Instant::now() < deadline {
        if job.in_force.has_taken(&id) {
            let (name, kept) = (job.name.clone(), job.boundaries.any());
            let (epoch, since) =
                job.in_force.get(&node).map(|setting| (setting.epoch, setting.since.clone())).unwrap_or_default();
            if !kept {
                tracing::info!("job `{name}`: the {what} of `{node}` are set, until it ends");
            }
            return Ok(SetTo { name, id: known.id.clone(), node, what: what.to_string(), epoch, since, kept });
        }
        if let Some(failure) = job.failure() {
            return Err(Error::Run(format!("`{}` has failed before the {what} were set: {failure}", job.name)));
        }
        if job.ended().is_some() {
            return Err(Error::Job(format!("`{}` has ended before the {what} were set", job.name)));
        }
        if let Some(reason) = app.process.links.broken() {
            return Err(Error::connect(format!("whether the {what} were set is not known: {reason}")));
        }
        sleep(LOOK).await;
    }
    Err(Error::TimedOut(format!("the {what} of `{node}` were not set within {LONGEST:?}; they may still be")))
}
