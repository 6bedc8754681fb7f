//! Rows written out as JSON lines: the input of `[[tests]]`.

use std::sync::Arc;

use super::shape::{ShapePlan, Shaper};
use super::{Cut, PreparedSource, Read, Reader, ReaderContext};
use crate::batch::Origin;
use crate::error::{Error, Result};
use crate::formats::{Decoder, JsonDecoder, JsonOptions, MessageSchema};
use crate::operators::watermarks::origin;
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

impl Reader for LinesReader {
    fn cut(&self) -> Cut {
        Cut::Rows
    }

    fn origins(&self) -> Vec<Origin> {
        vec![origin(self.context.node, self.context.worker)]
    }

    fn position(&self) -> Result<Vec<Entry>> {
        Ok(Vec::new())
    }

    fn read(&mut self) -> Result<Read> {
        let Some(text) = self.lines.take() else { return Ok(Read::End) };
        let mut decoder = JsonDecoder::new(&self.messages, None, JsonOptions::default());
        let mut seqs = Vec::new();
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let undecodable = |reason| Error::run(format!("line {} of the test's input: {reason}", number + 1));
            decoder.decode(None, line.as_bytes()).map_err(undecodable)?;
            seqs.extend(self.shaper.plan().layout.seq(0, seqs.len() as u64, 0));
        }
        let shaped = self.shaper.shape(decoder.finish()?, seqs)?;
        if let Some((row, reason)) = shaped.refused.first() {
            return Err(Error::run(format!("row {} of the test's input: {reason}", row + 1)));
        }
        let bytes = text.len();
        Ok(Read::Rows { epoch: Some(self.context.start), data: shaped.data, bytes, extent: bytes as u64 })
    }
}
