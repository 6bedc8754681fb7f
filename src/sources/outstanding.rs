//! What a source has read and no sink has made durable yet: what back-pressure counts.

use std::collections::VecDeque;

use crate::batch::Epoch;

/// Bytes read and not yet durable, by epoch.
#[derive(Default)]
pub struct Outstanding {
    epochs: VecDeque<(Epoch, usize)>,
    /// All of them.
    pub bytes: usize,
}

impl Outstanding {
    /// How many epochs there are.
    pub fn epochs(&self) -> usize {
        self.epochs.len()
    }

    /// So many more in this epoch.
    pub fn add(&mut self, epoch: Epoch, bytes: usize) {
        self.bytes += bytes;
        match self.epochs.back_mut() {
            Some((last, sum)) if *last == epoch => *sum += bytes,
            _ => self.epochs.push_back((epoch, bytes)),
        }
    }

    /// What the last epoch holds, where it is this one.
    pub fn of(&self, epoch: Epoch) -> usize {
        self.epochs.back().filter(|(last, _)| *last == epoch).map_or(0, |(_, bytes)| *bytes)
    }

    /// What is of epochs before `least` is durable.
    pub fn settle(&mut self, least: Epoch) {
        while let Some((epoch, bytes)) = self.epochs.front() {
            if *epoch >= least {
                break;
            }
            self.bytes -= bytes;
            self.epochs.pop_front();
        }
    }
}
