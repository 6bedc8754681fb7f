//! Rows written out as JSON lines: the input of `[[tests]]`.

use std::sync::Arc;

use super::shape::{ShapePlan, Shaper};
use super::{Cut, PreparedSource, Read, Reader, ReaderContext};
use crate::batch::{Epoch, Origin};
use crate::error::{Error, Result};
use crate::formats::{Decoder, JsonDecoder, JsonOptions, MessageSchema};
use crate::operators::watermarks::origin;
use crate::sinks::dead_letters::Place;
use crate::state::Entry;

/// JSON lines in place of a source; they are read by the first worker, in one epoch.
pub struct Lines {
    /// The lines.
    pub text: String,
    /// What a line holds.
    pub messages: MessageSchema,
    /// How lines become rows.
    pub shape: Arc<ShapePlan>,
}

impl PreparedSource for Lines {
    fn reader(&self, context: ReaderContext) -> Box<dyn Reader> {
        let lines = if context.worker == 0 { self.text.clone() } else { String::new() };
        Box::new(LinesReader {
            lines: Some(lines),
            messages: self.messages.clone(),
            shaper: Shaper::new(Arc::clone(&self.shape)),
            context,
        })
    }
}

struct LinesReader {
    lines: Option<String>,
    messages: MessageSchema,
    shaper: Shaper,
    context: ReaderContext,
}

impl LinesReader {
    /// A line that cannot be used is a mistake in the test, unless the test is about dead letters.
    fn refuse(&self, number: usize, line: &str, reason: &str) -> Result<()> {
        let refusals = &self.context.refusals;
        if refusals.read.is_none() {
            return Err(Error::run(format!("line {} of the test's input: {reason}", number + 1)));
        }
        let place = Place { topic: &refusals.node, partition: 0, offset: number as i64, timestamp: None };
        refusals.refuse(&place, None, Some(line.as_bytes()), reason)
    }
}

impl Reader for LinesReader {
    fn cut(&self) -> Cut {
        Cut::Rows
    }

    fn origins(&self) -> Vec<(Origin, i64)> {
        vec![(origin(self.context.node, self.context.worker), i64::MIN)]
    }

    fn position(&self, _boundary: Epoch) -> Result<Vec<Entry>> {
        Ok(Vec::new())
    }

    fn read(&mut self) -> Result<Read> {
        let Some(text) = self.lines.take() else { return Ok(Read::End) };
        let mut decoder = JsonDecoder::new(&self.messages, None, JsonOptions::default());
        let (mut seqs, mut decoded) = (Vec::new(), Vec::new());
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            match decoder.decode(None, line.as_bytes()) {
                Ok(_) => {
                    seqs.extend(self.shaper.plan().layout.seq(0, number as u64, 0));
                    decoded.push((number, line));
                }
                Err(undecodable) => self.refuse(number, line, &undecodable.reason)?,
            }
        }
        let shaped = self.shaper.shape(decoder.finish()?, seqs)?;
        for (row, reason) in &shaped.refused {
            self.refuse(decoded[*row].0, decoded[*row].1, reason)?;
        }
        let bytes = text.len();
        Ok(Read::Rows { epoch: Some(self.context.start), data: shaped.data, bytes, extent: bytes as u64 })
    }
}
