//! Posts rows, one a request.

use std::time::Duration;

use arrow::array::RecordBatch;
use chrono::{DateTime, Utc};
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode};

use super::body::Body;
use crate::error::Result;
use crate::sinks::delivery::{Courier, Outcome, Parcel};
use crate::spec::Url;

/// By what a server knows a row that it has seen before.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// As much of an answer is quoted.
const QUOTED: usize = 200;

/// Posts rows to one URL.
pub struct Post {
    /// Where to.
    pub url: Url,
    /// What is posted of a row.
    pub body: Body,
    /// What is said besides.
    pub headers: HeaderMap,
    /// By whom.
    pub client: Client,
}

impl Courier for Post {
    fn pack(&self, data: &RecordBatch) -> Result<Vec<Vec<String>>> {
        Ok(self.body.of(data)?.into_iter().map(|body| vec![body]).collect())
    }

    async fn attempt(&self, parcels: &[Parcel]) -> Outcome {
        for parcel in parcels {
            let outcome = self.post(parcel).await;
            if outcome != Outcome::Delivered {
                return outcome;
            }
        }
        Outcome::Delivered
    }
}

impl Post {
    async fn post(&self, parcel: &Parcel) -> Outcome {
        let request = self.client.post(self.url.whole()).header(CONTENT_TYPE, "application/json");
        let request = parcel.key.iter().fold(request, |request, key| request.header(IDEMPOTENCY_KEY, key));
        let request = request.headers(self.headers.clone()).body(parcel.texts.concat());
        match request.send().await {
            Ok(response) if response.status().is_success() => Outcome::Delivered,
            Ok(response) => self.refused(response).await,
            Err(error) => Outcome::Later { reason: format!("{}: {}", self.url, whole(&error)), after: None },
        }
    }

    /// What an answer means that is no success.
    async fn refused(&self, response: Response) -> Outcome {
        let status = response.status();
        let after = response.headers().get(RETRY_AFTER).and_then(|after| wait(after.to_str().ok()?, Utc::now()));
        let reason = format!("{} answers {status}{}", self.url, quote(response).await);
        let passes = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
        match status.is_server_error() || passes.contains(&status) {
            true => Outcome::Later { reason, after },
            false => Outcome::Refused(reason),
        }
    }
}

/// An error and what it comes from, without the URL.
pub fn whole(error: &reqwest::Error) -> String {
    let mut source = std::error::Error::source(error);
    let mut reasons = Vec::new();
    while let Some(error) = source {
        reasons.push(error.to_string());
        source = error.source();
    }
    match reasons.last() {
        _ if error.is_timeout() => "no answer in time".to_string(),
        Some(reason) => reason.clone(),
        None => "it cannot be asked".to_string(),
    }
}

/// `Retry-After`: seconds, or a date.
fn wait(text: &str, now: DateTime<Utc>) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = DateTime::parse_from_rfc2822(text).ok()?;
    Some((date.to_utc() - now).to_std().unwrap_or_default())
}

/// The beginning of an answer.
async fn quote(mut response: Response) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < QUOTED
        && let Ok(Some(chunk)) = response.chunk().await
    {
        bytes.extend_from_slice(&chunk);
    }
    let text = String::from_utf8_lossy(&bytes);
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(QUOTED).collect();
    if text.trim().is_empty() { String::new() } else { format!(": {}", text.trim()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_says_when_to_come_back_in_seconds_or_by_a_date() {
        let now = DateTime::parse_from_rfc2822("Sun, 06 Nov 1994 08:49:37 GMT").expect("a date").to_utc();
        for (text, seconds) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sun, 06 Nov 1994 08:40:37 GMT", Some(0)),
            ("soon", None),
            ("-5", None),
        ] {
            assert_eq!(wait(text, now), seconds.map(Duration::from_secs), "{text}");
        }
    }
}
