//! Volume-weighted average price.

use serde::{Deserialize, Serialize};

use super::{
    Argument, Function, Indicator, Span, States,
    parts::{Sum, Window},
};

const DAY: i64 = 86_400_000_000_000;

/// `vwap(price, volume)`, `vwap(price, volume, span)`
pub const FUNCTION: Function = Function {
    name: "vwap",
    summary: "Volume-weighted average price of the session, which starts at 00:00 UTC, or of a rolling `span`.",
    formula: "Σ price * volume / Σ volume; null where no volume was traded. A row that comes late counts to the \
              session of the greatest event time seen. Pine ta.vwap(price) with a daily anchor.",
    arguments: &[
        Argument::series("price", "the price of the trade, or (high + low + close) / 3 of the bar"),
        Argument::series("volume", "its volume"),
        Argument::span("span", Some(""), "rows or a duration to look back over, instead of the session"),
    ],
    outputs: &[""],
    dialects: "",
    warm_up: |arguments| arguments.span(0).and_then(Span::warm_up),
    build: |arguments| match arguments.span(0) {
        Some(span) => States::boxed(RollingVwap::new(span)),
        None => States::boxed(SessionVwap::new()),
    },
};

/// What was paid and how much was traded.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Traded {
    paid: Sum,
    volume: Sum,
}

impl Traded {
    #[inline]
    fn add(&mut self, [price, volume]: [f64; 2]) {
        self.paid.add_product(price, volume);
        self.volume.add(volume);
    }

    #[inline]
    fn average(&self) -> f64 {
        match self.volume.value() {
            0.0 => f64::NAN,
            volume => self.paid.value() / volume,
        }
    }
}

/// The average price of one key since 00:00 UTC, in the units of its price.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SessionVwap {
    day: Option<i64>,
    traded: Traded,
}

impl SessionVwap {
    /// Before the first row.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Indicator<2, 1> for SessionVwap {
    #[inline]
    fn feed(&mut self, time: i64, row: [f64; 2]) -> [f64; 1] {
        let day = Some(time.div_euclid(DAY));
        if day > self.day {
            self.day = day;
            self.traded = Traded::default();
        }
        self.traded.add(row);
        [self.traded.average()]
    }
}

/// The average price of one key over a rolling window, in the units of its price.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RollingVwap {
    window: Window<[f64; 2]>,
    traded: Traded,
}

impl RollingVwap {
    /// Over a span of rows or time.
    pub fn new(span: Span) -> Self {
        Self { window: Window::new(span), traded: Traded::default() }
    }
}

impl Indicator<2, 1> for RollingVwap {
    #[inline]
    fn feed(&mut self, time: i64, row: [f64; 2]) -> [f64; 1] {
        self.window.push(time, row);
        while let Some([price, volume]) = self.window.pop() {
            self.traded.add([price, -volume]);
        }
        self.traded.add(row);
        if self.window.has_turned() {
            self.traded = Traded::default();
            self.window.iter().for_each(|row| self.traded.add(*row));
        }
        [if self.window.is_warm() { self.traded.average() } else { f64::NAN }]
    }

    fn heap_bytes(&self) -> usize {
        self.window.heap_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::indicators::{
        Compat,
        testing::{self, Row},
    };

    #[test]
    fn a_session_starts_at_midnight_utc() {
        let mut vwap = SessionVwap::new();
        assert_eq!(vwap.update(DAY - 2, [10.0, 1.0]), [10.0]);
        assert_eq!(vwap.update(DAY - 1, [20.0, 3.0]), [17.5]);
        assert_eq!(vwap.update(DAY, [30.0, 1.0]), [30.0]);
        // Late: counts to the session that is open.
        assert_eq!(vwap.update(DAY - 1, [40.0, 1.0]), [35.0]);
    }

    #[test]
    fn without_volume_there_is_no_price() {
        assert!(SessionVwap::new().update(0, [10.0, 0.0])[0].is_nan());
    }

    #[test]
    fn rolling_equals_its_definition() {
        let average = |rows: &[Row]| {
            let paid: f64 = rows.iter().map(|row| row.x[0] * row.x[1]).sum();
            vec![paid / rows.iter().map(|row| row.x[1]).sum::<f64>()]
        };
        testing::by_definition("vwap(p, v, '40s')", Compat::Talib, |rows| average(&testing::within(rows, 40)));
        testing::by_definition("vwap(p, v, 9)", Compat::Talib, |rows| {
            rows.len().checked_sub(9).map_or(vec![f64::NAN], |start| average(&rows[start..]))
        });
    }
}
