//! The indicators of the main job, computed the slow way: from the whole history of prices, for every row anew,
//! after the definitions TA-Lib documents. It shares no code with tapeflow.

/// Mean of the last `period` prices, once there are so many.
pub fn sma(prices: &[f64], period: usize) -> Option<f64> {
    let window = prices.len().checked_sub(period).map(|from| &prices[from..])?;
    Some(window.iter().sum::<f64>() / period as f64)
}

/// Wilder's RSI: averages seeded by the mean of the first `period` changes, then smoothed by 1/period.
pub fn rsi(prices: &[f64], period: usize) -> Option<f64> {
    let changes: Vec<f64> = prices.windows(2).map(|pair| pair[1] - pair[0]).collect();
    if changes.len() < period {
        return None;
    }
    let smooth = |part: fn(f64) -> f64| {
        let seed = changes[..period].iter().map(|change| part(*change)).sum::<f64>() / period as f64;
        let rest = changes[period..].iter();
        rest.fold(seed, |average, change| (average * (period as f64 - 1.0) + part(*change)) / period as f64)
    };
    let (gain, loss) = (smooth(|change| change.max(0.0)), smooth(|change| (-change).max(0.0)));
    Some(if gain + loss == 0.0 { 0.0 } else { 100.0 * gain / (gain + loss) })
}

/// On-balance volume: begins with the first volume, as TA-Lib's does.
pub fn obv(prices: &[f64], volumes: &[f64]) -> Option<f64> {
    let sign = |pair: &[f64]| f64::from(i8::from(pair[1] > pair[0]) - i8::from(pair[1] < pair[0]));
    let changes = prices.windows(2).zip(&volumes[1..]).map(|(pair, volume)| sign(pair) * volume);
    Some(volumes.first()? + changes.sum::<f64>())
}

/// Exponential averages of `values` from position `seed_end` on, seeded by the mean of the `period` values up to it.
fn ema(values: &[f64], period: usize, seed_end: usize) -> Vec<f64> {
    let alpha = 2.0 / (period as f64 + 1.0);
    let seed = values[seed_end + 1 - period..=seed_end].iter().sum::<f64>() / period as f64;
    let mut averages = vec![seed];
    for value in &values[seed_end + 1..] {
        let last = averages[averages.len() - 1];
        averages.push(last + alpha * (value - last));
    }
    averages
}

/// (macd, signal, histogram) of 12, 26 and 9: both averages begin at price 26, all three outputs at price 34.
pub fn macd(prices: &[f64]) -> Option<(f64, f64, f64)> {
    if prices.len() < 34 {
        return None;
    }
    let (fast, slow) = (ema(prices, 12, 25), ema(prices, 26, 25));
    let line: Vec<f64> = fast.iter().zip(&slow).map(|(fast, slow)| fast - slow).collect();
    let signal = ema(&line, 9, 8);
    let (line, signal) = (line[line.len() - 1], signal[signal.len() - 1]);
    Some((line, signal, line - signal))
}
