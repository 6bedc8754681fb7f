//! Whether a process is fit to be asked.

use serde_json::{Value as Json, json};
use warp::http::StatusCode;
use warp::reply::{Reply, Response, json as as_json, with_status};

use super::App;
use crate::runtime::State;

/// `/readyz`: 200 or 503, with the reasons where they may be told.
pub fn ready(app: &App, tell: bool) -> Response {
    let process = &app.process;
    let stalled = process.stalled();
    let standing = process.standing();
    let standing = standing.iter().map(|(what, span)| format!("{what}, for {} s", span.as_secs()));
    let standing = standing.collect::<Vec<_>>().join("; ");
    let checks = [
        ("cluster", process.waits_for()),
        ("peers", process.links.broken().map(str::to_string)),
        ("ending", process.ending().map(|by| format!("process {by} was asked to end: the cluster ends"))),
        ("workers", (!stalled.is_empty()).then(|| format!("workers {stalled:?} have not come round for long"))),
        ("jobs", Some(standing).filter(|standing| !standing.is_empty())),
    ];
    let ready = checks.iter().all(|(_, trouble)| trouble.is_none());
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    if !tell {
        return with_status(as_json(&json!({ "ready": ready })), status).into_response();
    }
    let reasons =
        checks.iter().filter_map(|(check, trouble)| Some(json!({ "check": check, "reason": trouble.as_ref()? })));
    let reasons: Vec<Json> = reasons.collect();
    // A failed job is told, but the process is as fit as before to take another.
    let failed = process.jobs.list().into_iter().filter(|known| known.job.state() == State::Failed);
    let failed: Vec<Json> = failed
        .map(|known| json!({ "name": known.job.name, "failure": known.job.failure().map(|error| error.to_string()) }))
        .collect();
    with_status(as_json(&json!({ "ready": ready, "reasons": reasons, "failed_jobs": failed })), status).into_response()
}

/// `/version`
pub fn version(app: &App) -> Json {
    let process = &app.process;
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "build": process.build,
        "cluster": process.cluster,
        "generation": process.generation(),
        "process": process.index,
        "processes": process.hosts.len().max(1),
        "workers": process.workers,
    })
}
