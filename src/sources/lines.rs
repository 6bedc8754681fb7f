//! Rows written out as JSON lines: the input of `[[tests]]`. Each line is an epoch of its own, so that a row may come late.

use std::collections::VecDeque;
use std::sync::Arc;

use super::shape::{ShapePlan, Shaped, Shaper};
use super::{Cut, PreparedSource, Read, Reader, ReaderContext};
use crate::batch::{Epoch, Mark, Origin};
use crate::error::{Error, Result};
use crate::formats::{Decoder, JsonDecoder, JsonOptions, MessageSchema};
use crate::operators::watermarks::origin;
use crate::sinks::dead_letters::Place;
use crate::state::Entry;

/// JSON lines in place of a source; they are read by the first worker.
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
            due: VecDeque::new(),
            messages: self.messages.clone(),
            shaper: Shaper::new(Arc::clone(&self.shape)),
            context,
        })
    }
}

struct LinesReader {
    lines: Option<String>,
    due: VecDeque<Read>,
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
        vec![(self.origin(), i64::MIN)]
    }

    fn position(&self, _boundary: Epoch) -> Result<Vec<Entry>> {
        Ok(Vec::new())
    }

    fn read(&mut self) -> Result<Read> {
        if let Some(text) = self.lines.take() {
            self.read_all(&text)?;
        }
        Ok(self.due.pop_front().unwrap_or(Read::End))
    }
}

impl LinesReader {
    fn origin(&self) -> Origin {
        origin(self.context.node, self.context.worker)
    }

    fn read_all(&mut self, text: &str) -> Result<()> {
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
        self.hand_out(shaped)
    }

    /// One row an epoch, and how far event time has come by it.
    fn hand_out(&mut self, mut shaped: Shaped) -> Result<()> {
        let plan = Arc::clone(self.shaper.plan());
        let (mut watermark, mut order) = (i64::MIN, Vec::new());
        let mut marks = Vec::new();
        for time in shaped.times(&plan) {
            order.push(watermark.max(*time));
            watermark = watermark.max(time.saturating_sub(plan.lateness));
            marks.push(Mark::Watermark { origin: self.origin(), time: watermark });
        }
        if let Some(places) = &plan.places {
            places.put(&mut shaped.data, order)?;
        }
        for (row, mark) in marks.into_iter().enumerate() {
            let (epoch, data) = (Some(self.context.start + row as Epoch), shaped.data.slice(row, 1));
            self.due.extend([Read::Rows { epoch, data, bytes: 0, extent: 0 }, Read::Mark(mark)]);
        }
        Ok(())
    }
}
