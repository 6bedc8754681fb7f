//! Some of [`naive`](super::naive), trade after trade, for runs that are too long to keep their whole history. It shares
//! no code with tapeflow, and is checked against the slow way.

use std::collections::VecDeque;

const MEAN: usize = 5;
const PERIOD: f64 = 14.0;

/// What one symbol has come to.
#[derive(Default)]
pub struct Running {
    /// The last prices, for the mean.
    prices: VecDeque<f64>,
    /// How many trades there were.
    count: usize,
    gain: f64,
    loss: f64,
    volume: f64,
}

impl Running {
    /// One more trade: sma(5), rsi(14) and obv.
    pub fn next(&mut self, price: f64, volume: f64) -> [Option<f64>; 3] {
        match self.prices.back().map(|last| price - last) {
            None => self.volume = volume,
            Some(change) => self.change(change, volume),
        }
        self.count += 1;
        self.prices.push_back(price);
        if self.prices.len() > MEAN {
            self.prices.pop_front();
        }
        let mean = (self.count >= MEAN).then(|| self.prices.iter().sum::<f64>() / MEAN as f64);
        [mean, self.rsi(), Some(self.volume)]
    }

    fn change(&mut self, change: f64, volume: f64) {
        let (up, down) = (change.max(0.0), (-change).max(0.0));
        if self.count as f64 <= PERIOD {
            // The first averages are plain ones.
            (self.gain, self.loss) = (self.gain + up / PERIOD, self.loss + down / PERIOD);
        } else {
            let smooth = |average: f64, part: f64| (average * (PERIOD - 1.0) + part) / PERIOD;
            (self.gain, self.loss) = (smooth(self.gain, up), smooth(self.loss, down));
        }
        self.volume += f64::from(i8::from(change > 0.0) - i8::from(change < 0.0)) * volume;
    }

    fn rsi(&self) -> Option<f64> {
        let sum = self.gain + self.loss;
        (self.count as f64 > PERIOD).then(|| if sum == 0.0 { 0.0 } else { 100.0 * self.gain / sum })
    }
}

#[test]
fn it_equals_the_slow_way() {
    use super::naive;
    let (mut running, mut prices, mut volumes) = (Running::default(), Vec::new(), Vec::new());
    for n in 0..300u32 {
        prices.push(f64::from(n.wrapping_mul(2_654_435_761) >> 24));
        volumes.push(f64::from(n % 37));
        let found = running.next(prices[prices.len() - 1], volumes[volumes.len() - 1]);
        let wanted = [naive::sma(&prices, 5), naive::rsi(&prices, 14), naive::obv(&prices, &volumes)];
        for (found, wanted) in found.iter().zip(&wanted) {
            assert_eq!(found.is_some(), wanted.is_some(), "trade {n}");
            assert!(found.zip(*wanted).is_none_or(|(found, wanted)| (found - wanted).abs() < 1e-9), "trade {n}");
        }
    }
}
