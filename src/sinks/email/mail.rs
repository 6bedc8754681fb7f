//! Mails: one for all rows that are gathered.

use std::time::Duration;

use arrow::array::RecordBatch;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::Error as SmtpError;
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use tokio::time::timeout;
use xxhash_rust::xxh3::Xxh3;

use crate::error::Result;
use crate::formats::JsonRows;
use crate::sinks::delivery::{Courier, Outcome, Parcel};
use crate::spec::{Projection, Template};

/// What is longer is cut: a subject is for a line.
const SUBJECT: usize = 200;

/// What is said of a row.
#[derive(Clone)]
pub enum Text {
    /// The row as a JSON object.
    Row(Projection),
    /// This.
    Template(Template),
}

/// Writes mails and sends them.
pub struct Mailer {
    /// Who sends them.
    pub from: Mailbox,
    /// Who gets them.
    pub to: Vec<Mailbox>,
    /// What stands above; of several rows it is that of the first.
    pub subject: Template,
    /// What is said of each row.
    pub text: Text,
    /// How.
    pub transport: AsyncSmtpTransport<Tokio1Executor>,
    /// How long that may take.
    pub timeout: Duration,
}

impl Courier for Mailer {
    fn pack(&self, data: &RecordBatch) -> Result<Vec<Vec<String>>> {
        let subjects = self.subject.evaluate(data)?;
        let texts = match &self.text {
            Text::Template(template) => template.evaluate(data)?,
            Text::Row(row) => {
                let rows = JsonRows::of(&row.apply(data)?)?;
                (0..rows.len()).map(|row| String::from_utf8_lossy(rows.row(row)).into_owned()).collect()
            }
        };
        Ok(subjects.into_iter().zip(texts).map(|(subject, text)| vec![subject, text]).collect())
    }

    async fn attempt(&self, parcels: &[Parcel]) -> Outcome {
        let mail = match self.write(parcels) {
            Ok(mail) => mail,
            Err(error) => return Outcome::Refused(format!("no mail can be made of it: {error}")),
        };
        match timeout(self.timeout, self.transport.send(mail)).await {
            Ok(Ok(_)) => Outcome::Delivered,
            Ok(Err(error)) if error.is_permanent() || error.is_client() => Outcome::Refused(whole(&error)),
            Ok(Err(error)) => Outcome::Later { reason: whole(&error), after: None },
            Err(_) => Outcome::Later { reason: "no answer in time".to_string(), after: None },
        }
    }
}

impl Mailer {
    fn write(&self, parcels: &[Parcel]) -> Result<Message, lettre::error::Error> {
        let texts = |at: usize| parcels.iter().filter_map(move |parcel| parcel.texts.get(at));
        let more = match parcels.len() {
            0 | 1 => String::new(),
            count => format!(" (and {} more)", count - 1),
        };
        let subject = texts(0).next().map_or("", |subject| subject.as_str());
        let subject: String = subject.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SUBJECT).collect();
        let lines: Vec<&str> = texts(1).map(String::as_str).collect();
        let mut message = Message::builder().from(self.from.clone()).subject(subject + &more);
        for to in &self.to {
            message = message.to(to.clone());
        }
        let message = message.message_id(Some(self.id(parcels))).header(ContentType::TEXT_PLAIN);
        // Nobody's absence is to be told of by an answer.
        let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
        message.raw_header(HeaderValue::new(automatic, "auto-generated".to_string())).body(lines.join("\r\n"))
    }

    /// The same for the same rows, so that a mail that comes twice can be told.
    fn id(&self, parcels: &[Parcel]) -> String {
        let mut hash = Xxh3::new();
        for parcel in parcels {
            hash.update(parcel.key.as_ref().unwrap_or(&parcel.row).as_bytes());
        }
        format!("<{:032x}@{}>", hash.digest128(), self.from.email.domain())
    }
}

/// An error and what it comes from.
pub fn whole(error: &SmtpError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        let reason = error.to_string();
        if !text.contains(&reason) {
            text = format!("{text}: {reason}");
        }
        source = error.source();
    }
    text
}
