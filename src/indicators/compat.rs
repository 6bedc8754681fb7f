//! The dialects of technical analysis.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Whose conventions an indicator follows, where the three differ: seeds, flat input, degrees of freedom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compat {
    /// TA-Lib with its default settings: recursions are seeded by the mean of the first `period` rows.
    #[default]
    Talib,
    /// TradingView's `ta.*` functions. Its reference manual prints an `ema` seeded by the first value; what
    /// the charts show is seeded by the mean of the first `period` values, and so are we.
    Tradingview,
    /// The pandas expressions people write, `ewm(adjust=False)` among them: recursions are seeded by the
    /// first value and warm at once, deviations are of the sample.
    Pandas,
}

impl Compat {
    /// The rows whose mean seeds a recursive average of `period` rows.
    pub fn seed(self, period: usize) -> usize {
        match self {
            Self::Talib | Self::Tradingview => period,
            Self::Pandas => 1,
        }
    }

    /// What is taken from n where squared deviations are averaged: 0 for a population, 1 for a sample.
    pub fn lost_degrees(self) -> f64 {
        match self {
            Self::Talib | Self::Tradingview => 0.0,
            Self::Pandas => 1.0,
        }
    }
}

impl fmt::Display for Compat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Talib => "talib",
            Self::Tradingview => "tradingview",
            Self::Pandas => "pandas",
        })
    }
}

impl FromStr for Compat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Talib, Self::Tradingview, Self::Pandas]
            .into_iter()
            .find(|compat| compat.to_string() == text)
            .ok_or_else(|| format!("compat is talib, tradingview or pandas, not '{text}'"))
    }
}
