//! Every endpoint, on one page.
//!
//! | | | |
//! |---|---|---|
//! | GET | `/healthz` | the process lives (no token needed) |
//! | GET | `/readyz` | it can take jobs; why not is only told with the token |
//! | GET | `/metrics` | for Prometheus |
//! | GET | `/version` | version, build, cluster |
//! | GET, POST | `/api/v1/jobs` | all jobs; submit one |
//! | GET, DELETE | `/api/v1/jobs/NAME` | how it is doing; stop it, `?savepoint=true` with a savepoint |
//! | POST | `/api/v1/jobs/NAME/savepoints` | takes a savepoint; the job goes on |
//! | POST | `/api/v1/cluster/size` | another number of processes and workers |
//! | GET | `/api/v1/jobs/NAME/graph?format=` | `json`, `text`, `mermaid` or `dot` |
//! | GET | `/api/v1/jobs/NAME/nodes/NODE/tap?limit=` | rows as they leave the node, a JSON object a line |
//! | GET, PUT, PATCH | `/api/v1/jobs/NAME/nodes/NODE/thresholds` | of an alert, as CSV; values of one key as JSON |
//!
//! Who may only look (see [`Role`]) may GET; all else is for who may change.
//!
//! Below `/internal/v1` processes of one run of the cluster talk to each other.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Buf;
use futures::Stream;
use serde_json::json;
use tokio::time::timeout;
use warp::Filter;
use warp::http::{Method, StatusCode};
use warp::reply::{Reply, Response, json as as_json, with_header, with_status};

use super::request::{Request, any};
use super::{
    App, Problem, RescaleRequest, Role, SubmitRequest, health, live, reports, rescale, saved, savepoint, set, submit,
};
use crate::error::Error;
use crate::runtime::{Known, Submission, no_such_job};
use crate::spec::{Format, explain};

/// How long an answer may take.
pub const ANSWER: Duration = Duration::from_secs(240);

/// The whole control plane.
pub fn routes(app: Arc<App>) -> impl Filter<Extract = (Response,), Error = Infallible> + Clone + Send + Sync + 'static {
    let answered = any().then(move |request: Request, body| {
        let app = Arc::clone(&app);
        async move {
            let answer = timeout(ANSWER, answer(&app, &request, body)).await;
            let late = |_| Err(Error::TimedOut("the answer took too long".to_string()).into());
            answer.unwrap_or_else(late).unwrap_or_else(|problem: Problem| problem.into_response())
        }
    });
    // Every request is taken apart, so that nothing is left to be rejected.
    let unread = |_| async { Ok::<_, Infallible>(Problem::bad_request("the request cannot be read").into_response()) };
    answered.recover(unread).unify()
}

type Answer = Result<Response, Problem>;

async fn answer(
    app: &Arc<App>,
    request: &Request,
    body: impl Stream<Item = Result<impl Buf, warp::Error>> + Unpin,
) -> Answer {
    let path: Vec<&str> = request.path.trim_matches('/').split('/').collect();
    if let ["healthz"] = path[..] {
        return only(request, &[Method::GET]).map(|()| "ok\n".into_response());
    }
    if let ["readyz"] = path[..] {
        only(request, &[Method::GET])?;
        return Ok(health::ready(app, request.role(app).is_some()));
    }
    let looks = request.method == Method::GET && path.first() != Some(&"internal");
    request.authorise(app, if looks { Role::Read } else { Role::Change })?;
    match (&request.method, &path[..]) {
        (&Method::GET, ["metrics"]) => Ok(text(crate::metrics::text(), "text/plain; version=0.0.4")),
        (&Method::GET, ["version"]) => Ok(as_json(&health::version(app)).into_response()),
        (&Method::GET, ["api", "v1", "jobs"]) => Ok(as_json(&reports::all(app).await).into_response()),
        (&Method::POST, ["api", "v1", "jobs"]) => {
            let submitted = submit::submit(app, request.body::<SubmitRequest>(body).await?).await?;
            let status = if submitted.already_running { StatusCode::OK } else { StatusCode::CREATED };
            Ok(with_status(as_json(&submitted), status).into_response())
        }
        (&Method::GET, ["api", "v1", "jobs", name]) => Ok(as_json(&reports::one(app, name).await?).into_response()),
        (&Method::DELETE, ["api", "v1", "jobs", name]) => {
            let known = known(app, name)?;
            app.process.stop(name, flag(request, "savepoint")?)?;
            if known.job.failed() {
                saved::give_up(app, name).await?;
            }
            Ok(with_status(as_json(&reports::one(app, name).await?), StatusCode::ACCEPTED).into_response())
        }
        (&Method::POST, ["api", "v1", "jobs", name, "savepoints"]) => {
            known(app, name)?;
            Ok(with_status(as_json(&savepoint::take(app, name).await?), StatusCode::CREATED).into_response())
        }
        (&Method::GET, ["api", "v1", "jobs", name, "graph"]) => graph(&known(app, name)?, request),
        (&Method::GET, ["api", "v1", "jobs", name, "nodes", node, "tap"]) => {
            live::everywhere(app, &known(app, name)?, node, request.query("limit"))
        }
        (method, ["api", "v1", "jobs", name, "nodes", node, what @ "thresholds"]) => {
            only(request, &[Method::GET, Method::PUT, Method::PATCH])?;
            let known = known(app, name)?;
            let set = match *method {
                Method::GET => return Ok(set::get(&known, node, what)?),
                Method::PUT => set::put(app, known, node, what, request.csv(body).await?).await?,
                _ => set::patch(app, known, node, what, request.body(body).await?).await?,
            };
            Ok(as_json(&set).into_response())
        }
        (&Method::POST, ["api", "v1", "cluster", "size"]) => {
            let rescaled = rescale::rescale(app, request.body::<RescaleRequest>(body).await?).await?;
            Ok(with_status(as_json(&rescaled), StatusCode::ACCEPTED).into_response())
        }
        (_, ["internal", "v1", rest @ ..]) => internal(app, request, rest, body).await,
        (_, ["metrics" | "version"]) => only(request, &[Method::GET]).and_then(|()| nothing(request)),
        (_, ["api", "v1", "cluster", "size"]) => only(request, &[Method::POST]).and_then(|()| nothing(request)),
        (_, ["api", "v1", "jobs"]) => only(request, &[Method::GET, Method::POST]).and_then(|()| nothing(request)),
        (_, ["api", "v1", "jobs", _, "savepoints"]) => only(request, &[Method::POST]).and_then(|()| nothing(request)),
        (_, ["api", "v1", "jobs", _]) => only(request, &[Method::GET, Method::DELETE]).and_then(|()| nothing(request)),
        _ => nothing(request),
    }
}

/// What processes of the same run ask of each other.
async fn internal(
    app: &Arc<App>,
    request: &Request,
    path: &[&str],
    body: impl Stream<Item = Result<impl Buf, warp::Error>> + Unpin,
) -> Answer {
    let done = || Ok(as_json(&json!({})).into_response());
    let run = request.header(super::peers::RUN);
    if run.is_none() || run != app.process.run() {
        return Err(Error::connect("this process belongs to another run of the cluster").into());
    }
    match (&request.method, path) {
        (&Method::GET, ["jobs"]) => Ok(as_json(&reports::here(&app.process)).into_response()),
        (&Method::GET, ["jobs", id, "nodes", node, "tap"]) => {
            let known = app.process.jobs.list().into_iter().find(|known| known.id == *id);
            live::here(&known.ok_or_else(|| Problem::not_found(format!("there is no job with the id {id}")))?, node)
        }
        (&Method::POST, ["prepare"]) => {
            let submission: Submission = request.body(body).await?;
            submit::prepare_here(app, submission).await.map(|begins| as_json(&begins).into_response())
        }
        (&Method::POST, ["commit", id]) => app.process.jobs.commit(id).map_err(Problem::from).and_then(|()| done()),
        (&Method::POST, ["abort", id]) => {
            app.process.jobs.abort(id);
            done()
        }
        _ => nothing(request),
    }
}

fn graph(known: &Known, request: &Request) -> Answer {
    let format: Format =
        request.query("format").unwrap_or("json").parse().map_err(|message: String| Problem::bad_request(message))?;
    let kind = if format == Format::Json { "application/json" } else { "text/plain; charset=utf-8" };
    Ok(text(explain(&known.plan, format), kind))
}

fn known(app: &App, name: &str) -> Result<Known, Problem> {
    app.process.jobs.named(name).ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, &no_such_job(name)))
}

/// Whether `name` is asked for in the query.
fn flag(request: &Request, name: &str) -> Result<bool, Problem> {
    match request.query(name) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(Problem::bad_request(format!("`{name}` is true or false"))),
    }
}

fn text(text: String, kind: &'static str) -> Response {
    with_header(text, "content-type", kind).into_response()
}

fn only(request: &Request, methods: &[Method]) -> Result<(), Problem> {
    if methods.contains(&request.method) {
        return Ok(());
    }
    let allowed: Vec<&str> = methods.iter().map(Method::as_str).collect();
    let error = Error::Usage(format!("{} is for {}", request.path, allowed.join(" and ")));
    Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, &error))
}

fn nothing<T>(request: &Request) -> Result<T, Problem> {
    Err(Problem::new(StatusCode::NOT_FOUND, &Error::Usage(format!("there is nothing at {}", request.path))))
}
