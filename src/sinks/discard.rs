//! `discard`: counts rows and keeps nothing.

use std::sync::Arc;

use super::{Placement, PreparedSink, Sink, SinkContext, SinkPlan, SinkSpec};
use crate::batch::{Epoch, Rows};
use crate::error::Result;
use crate::runtime::Prepare;
use crate::spec::{At, Check, Edge, Fields};

#[derive(Clone)]
struct Discard;

pub fn read(_fields: &mut Fields<'_>) -> Box<dyn SinkSpec> {
    Box::new(Discard)
}

impl SinkSpec for Discard {
    fn plan(&self, _name: &At<String>, _input: &Edge, _check: &Check<'_>) -> Option<Arc<dyn SinkPlan>> {
        Some(Arc::new(Discard))
    }
}

impl SinkPlan for Discard {
    fn placement(&self) -> Placement {
        Placement::Anywhere
    }

    fn prepare(&self, _prepare: &Prepare) -> Result<Arc<dyn PreparedSink>> {
        Ok(Arc::new(Discard))
    }
}

impl PreparedSink for Discard {
    fn open(&self, _context: SinkContext) -> Box<dyn Sink> {
        Box::new(Discard)
    }
}

impl Sink for Discard {
    fn write(&mut self, _epoch: Epoch, _rows: &Rows) -> Result<()> {
        Ok(())
    }

    fn flush(&mut self, _frontier: Epoch) -> Result<()> {
        Ok(())
    }
}
