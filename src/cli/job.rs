//! `validate`, `explain` and `test`: what can be told about a dataflow file without running it for real.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::print::{say, tell, warn};
use crate::error::{Error, Result};
use crate::runtime::{Prepare, Prepared, rehearse, start};
use crate::spec::{Files, Format, Mistakes, Plan, Spec, explain};

/// Reads and plans a dataflow file; warnings are told.
pub fn load(path: &Path) -> Result<(Plan, Spec)> {
    let (plan, spec, warnings) = Plan::of(path, &Spec::load(path)?, &Files::beside(path))?;
    warnings.list.into_iter().for_each(|warning| warn(Mistakes { list: vec![warning] }));
    Ok((plan, spec))
}

/// Checks files; all mistakes of all of them.
pub fn validate(files: &[PathBuf], connect: bool, json: bool) -> Result<()> {
    let mut mistakes = Mistakes::default();
    for file in files {
        match load(file) {
            Ok((plan, _)) if connect => {
                let prepare = Prepare {
                    job: plan.job.name.clone(),
                    local_workers: 0..0,
                    workers: 1,
                    memory: plan.job.settings.memory.0,
                    recovery: None,
                };
                Prepared::new(plan, &prepare, start())?;
                tell(format!("{}: fine, and everything it connects to is there", file.display()));
            }
            Ok((plan, _)) => tell(format!("{}: fine, {} nodes", file.display(), plan.nodes.len())),
            Err(Error::Dataflow(found)) => mistakes.list.extend(found.list),
            Err(error) => return Err(error),
        }
    }
    if json {
        let list = serde_json::to_string_pretty(&mistakes.list).map_err(Error::run)?;
        say(&format!("{list}\n"))?;
    }
    if mistakes.list.is_empty() { Ok(()) } else { Err(Error::Dataflow(Box::new(mistakes))) }
}

/// Shows what a file does.
pub fn explain_file(file: &Path, format: Format) -> Result<()> {
    let (plan, _) = load(file)?;
    let text = explain(&plan, format);
    say(&format!("{}\n", text.trim_end()))
}

/// Runs the `[[tests]]` of files.
pub fn test(files: &[PathBuf], workers: usize) -> Result<()> {
    let (mut passed, mut failed) = (0, 0);
    for file in files {
        let (plan, spec) = load(file)?;
        for test in &spec.tests {
            let began = Instant::now();
            let differences = rehearse(&plan, test, workers)?;
            let verdict = if differences.is_empty() { "passed" } else { "FAILED" };
            tell(format!("{}: {}: {verdict} ({:.0?})", file.display(), test.name.value, began.elapsed()));
            differences.iter().for_each(|difference| tell(format!("  {difference}")));
            if differences.is_empty() { passed += 1 } else { failed += 1 }
        }
    }
    tell(format!("{passed} passed, {failed} failed"));
    match (passed, failed) {
        (0, 0) => Err(Error::Usage("there are no [[tests]] in these files".to_string())),
        (_, 0) => Ok(()),
        _ => Err(Error::run(format!("{failed} tests failed"))),
    }
}
