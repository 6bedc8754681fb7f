//! `validate`, `explain` and `test`: what can be told about a dataflow file without running it for real.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::print::{error, say, tell, warn};
use crate::error::{Error, Result};
use crate::runtime::{Prepared, rehearse};
use crate::spec::{Files, Format, Mistakes, Plan, Spec, explain};

/// Reads and plans a dataflow file; warnings are told.
pub fn load(path: &Path) -> Result<(Plan, Spec)> {
    let (plan, spec, warnings) = Plan::of(path, &Spec::load(path)?, &Files::beside(path))?;
    warnings.list.into_iter().for_each(|warning| warn(Mistakes { list: vec![warning] }));
    Ok((plan, spec))
}

/// Checks files; all mistakes of all of them.
pub fn validate(files: &[PathBuf], connect: bool, json: bool) -> Result<()> {
    let (mut mistakes, mut missing) = (Mistakes::default(), Vec::new());
    for file in files {
        match load(file) {
            Ok((plan, _)) if connect => {
                let found = Prepared::look(&plan);
                if found.is_empty() {
                    tell(format!("{}: fine, and everything it connects to is there", file.display()));
                }
                missing.extend(found.into_iter().map(|error| (file, error)));
            }
            Ok((plan, _)) => tell(format!("{}: fine, {} nodes", file.display(), plan.nodes.len())),
            Err(Error::Dataflow(found)) => mistakes.list.extend(found.list),
            Err(error) => return Err(error),
        }
    }
    if json {
        let missing = missing.iter().flat_map(|(file, error)| Mistakes::of_file(file, error.to_string()).list);
        let list: Vec<_> = mistakes.list.iter().cloned().chain(missing).collect();
        say(&format!("{}\n", serde_json::to_string_pretty(&list).map_err(Error::run)?))?;
    }
    let missing = missing.into_iter().map(|(file, error)| error.of(&file.display().to_string()));
    let missing = Error::together(missing.collect());
    if mistakes.list.is_empty() {
        return missing.map_or(Ok(()), Err);
    }
    missing.iter().for_each(error);
    Err(Error::Dataflow(Box::new(mistakes)))
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
