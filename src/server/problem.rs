//! Errors over HTTP: `application/problem+json` (RFC 9457), with the exit code that a command line ends with.

use serde::{Deserialize, Serialize};
use warp::http::StatusCode;
use warp::reply::{Reply, Response, json, with_header, with_status};

use crate::error::Error;
use crate::spec::{Mistake, Mistakes};

/// Why a request was not done.
#[derive(Debug, Serialize, Deserialize)]
pub struct Problem {
    /// No page describes it further.
    #[serde(rename = "type", default = "about_blank")]
    kind: String,
    /// What the status means.
    title: String,
    /// The status.
    pub status: u16,
    /// What is wrong.
    pub detail: String,
    /// The exit code of a command line that meets it.
    #[serde(default = "one")]
    pub exit_code: u8,
    /// What is wrong with the dataflow file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mistakes: Vec<Mistake>,
}

fn about_blank() -> String {
    "about:blank".to_string()
}

fn one() -> u8 {
    1
}

impl Problem {
    /// A problem of this status.
    pub fn new(status: StatusCode, error: &Error) -> Self {
        let mistakes = if let Error::Dataflow(mistakes) = error { mistakes.list.clone() } else { Vec::new() };
        let detail = match mistakes.len() {
            0 => error.to_string(),
            1 => "there is a mistake in the dataflow file".to_string(),
            many => format!("there are {many} mistakes in the dataflow file"),
        };
        Problem {
            kind: about_blank(),
            title: status.canonical_reason().unwrap_or_default().to_string(),
            status: status.as_u16(),
            detail,
            exit_code: error.exit_code(),
            mistakes,
        }
    }

    /// A request that cannot be understood.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Problem::new(StatusCode::BAD_REQUEST, &Error::Usage(detail.into()))
    }

    /// There is nothing of that name.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Problem::new(StatusCode::NOT_FOUND, &Error::Job(detail.into()))
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let status = match &error {
            Error::Run(_) | Error::Signal(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Error::Usage(_) => StatusCode::BAD_REQUEST,
            Error::Dataflow(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Error::Connect(_) => StatusCode::SERVICE_UNAVAILABLE,
            Error::TimedOut(_) => StatusCode::GATEWAY_TIMEOUT,
            Error::Job(_) | Error::Unsafe(_) => StatusCode::CONFLICT,
        };
        Problem::new(status, &error)
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        let Problem { detail, exit_code, mistakes, .. } = problem;
        match exit_code {
            2 => Error::Usage(detail),
            3 => Error::Dataflow(Box::new(Mistakes { list: mistakes })),
            4 => Error::Connect(detail),
            5 => Error::Unsafe(detail),
            6 => Error::TimedOut(detail),
            7 => Error::Job(detail),
            _ => Error::Run(detail),
        }
    }
}

impl Reply for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let reply = with_header(with_status(json(&self), status), "content-type", "application/problem+json");
        match status {
            StatusCode::UNAUTHORIZED => with_header(reply, "www-authenticate", "Bearer").into_response(),
            _ => reply.into_response(),
        }
    }
}
