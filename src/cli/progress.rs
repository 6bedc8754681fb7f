//! Progress of running jobs on stderr: a bar where the end is known, a line now and then elsewhere.

use std::io::{IsTerminal, stderr, stdout};
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::print::{self, grouped};
use crate::error::{Error, Result};
use crate::runtime::Prepared;
use crate::spec::Role;

/// How often a line is printed where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Follows jobs and tells how far they are.
pub struct Progress {
    jobs: Vec<Arc<Prepared>>,
    bar: Option<ProgressBar>,
    began: Instant,
    told: Instant,
    rows_told: u64,
}

/// What jobs have read and written.
#[derive(Clone, Copy, Default, serde::Serialize)]
pub struct Totals {
    /// Rows that sources have read.
    pub rows_in: u64,
    /// Rows that sinks have written.
    pub rows_out: u64,
    /// Rows kept back because not all indicators were warm.
    pub held_back: u64,
    /// Rows that came too late for their window.
    pub late: u64,
    /// Rows of times at which the exchange of their window is closed.
    pub outside: u64,
    /// Messages that cancel or correct trades that are not there.
    pub unmatched: u64,
    /// Rows left out because their id had come before.
    pub repeats: u64,
    /// Records that became dead letters.
    pub dead_letters: u64,
    /// Records that were skipped.
    pub skipped: u64,
    /// Rows that were too old for their table.
    pub expired: u64,
}

impl Progress {
    /// Begins to follow `jobs`.
    pub fn new(jobs: &[Arc<Prepared>]) -> Self {
        let now = Instant::now();
        Progress { bar: bar(jobs), jobs: jobs.to_vec(), began: now, told: now, rows_told: 0 }
    }

    /// Looks at the jobs; to be called a few times a second.
    pub fn tick(&mut self) {
        let totals = totals(&self.jobs);
        if let Some(bar) = &self.bar {
            if let Some((read, all)) = extent(&self.jobs) {
                bar.set_length(all);
                bar.set_position(read.min(all));
            }
            bar.set_message(self.message(&totals, self.began.elapsed(), totals.rows_in));
        } else if self.told.elapsed() >= LINE_EVERY && !live_table(&self.jobs) {
            print::tell(self.message(&totals, self.told.elapsed(), totals.rows_in - self.rows_told));
            (self.told, self.rows_told) = (Instant::now(), totals.rows_in);
        }
    }

    fn message(&self, totals: &Totals, span: Duration, rows: u64) -> String {
        let rate = rows as f64 / span.as_secs_f64().max(1e-3);
        format!(
            "{} rows in, {} out, {} rows/s",
            grouped(totals.rows_in),
            grouped(totals.rows_out),
            grouped(rate as u64)
        )
    }

    /// Tells what was done until the jobs ended so.
    pub fn finish(self, ended: &Result<()>) -> (Totals, Duration) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let (totals, took) = (totals(&self.jobs), self.began.elapsed());
        let how = match ended {
            Ok(()) => "done",
            // Whoever has seen enough need not be told.
            Err(Error::Signal(_)) => return (totals, took),
            Err(_) => "failed",
        };
        let mut line = format!("{how}: {} in {took:.2?}", self.message(&totals, took, totals.rows_in));
        for (count, what) in [
            (totals.held_back, "rows held back until their indicators were warm"),
            (totals.late, "rows too late for their window"),
            (totals.outside, "rows outside the sessions of an exchange"),
            (totals.unmatched, "corrections of trades that are not there"),
            (totals.repeats, "rows that had come before"),
            (totals.dead_letters, "dead letters"),
            (totals.skipped, "records skipped"),
            (totals.expired, "rows too old for their table"),
        ] {
            if count > 0 {
                line.push_str(&format!("; {} {what}", grouped(count)));
            }
        }
        print::tell(line);
        (totals, took)
    }
}

fn bar(jobs: &[Arc<Prepared>]) -> Option<ProgressBar> {
    if print::quiet() || !stderr().is_terminal() || live_table(jobs) {
        return None;
    }
    let template = match extent(jobs) {
        Some(_) => "{bar:30} {percent:>3}% {msg} ({eta})",
        None => "{spinner} {elapsed_precise} {msg}",
    };
    let bar = ProgressBar::new(extent(jobs).map_or(0, |(_, all)| all));
    Some(bar.with_style(ProgressStyle::with_template(template).ok()?))
}

/// A live table has the terminal for itself.
fn live_table(jobs: &[Arc<Prepared>]) -> bool {
    let table = |prepared: &Arc<Prepared>| prepared.plan.nodes.iter().any(|node| node.kind == "console");
    stdout().is_terminal() && jobs.iter().any(table)
}

fn extent(jobs: &[Arc<Prepared>]) -> Option<(u64, u64)> {
    let mut sum = (0, 0);
    for job in jobs {
        let (read, all) = job.extent()?;
        sum = (sum.0 + read, sum.1 + all);
    }
    Some(sum)
}

fn totals(jobs: &[Arc<Prepared>]) -> Totals {
    let mut totals = Totals::default();
    for prepared in jobs {
        for node in &prepared.plan.nodes {
            let sum = |read: fn(&crate::metrics::Meter) -> u64| prepared.job.total(&node.name, read);
            match node.role {
                Role::Source(_) => totals.rows_in += sum(|meter| meter.rows_out.get()),
                Role::Sink(_) => totals.rows_out += sum(|meter| meter.rows_out.get()),
                Role::Operator(_) => {}
            }
            totals.held_back += sum(|meter| meter.held_back.get());
            totals.late += sum(|meter| meter.late.get());
            totals.outside += sum(|meter| meter.outside.get());
            totals.unmatched += sum(|meter| meter.unmatched.get());
            totals.repeats += sum(|meter| meter.repeats.get());
            totals.dead_letters += sum(|meter| meter.dead_letters.get());
            totals.skipped += sum(|meter| meter.skipped.get());
            totals.expired += sum(|meter| meter.expired.get());
        }
    }
    totals
}
