//! Tells how much memory the state of an operator takes, now and then.

use std::time::{Duration, Instant};

use prometheus::IntGauge;

use super::Operator;

/// No more often than so: each time samples of all state are taken.
const PAUSE: Duration = Duration::from_secs(5);

/// What was told of one operator.
pub struct Size {
    /// Of its node, which may be made of several operators: each tells by how much it has grown.
    gauge: IntGauge,
    told: i64,
    at: Option<Instant>,
}

impl Size {
    /// Nothing yet.
    pub fn new(gauge: IntGauge) -> Self {
        Size { gauge, told: 0, at: None }
    }

    /// The operator has taken rows.
    pub fn look_at(&mut self, operator: &dyn Operator) {
        if self.at.is_some_and(|at| at.elapsed() < PAUSE) {
            return;
        }
        let bytes = i64::try_from(operator.bytes()).unwrap_or(i64::MAX);
        self.gauge.add(bytes.saturating_sub(self.told));
        (self.told, self.at) = (bytes, Some(Instant::now()));
    }
}

impl Drop for Size {
    fn drop(&mut self) {
        self.gauge.sub(self.told);
    }
}
