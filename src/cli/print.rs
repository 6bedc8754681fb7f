//! Text for people and programs: colour only in terminals that want it, and no panic when a pipe closes.

use std::fmt::Display;
use std::io::{ErrorKind, IsTerminal, Write, stderr, stdout};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use crate::error::{Error, Result};
use crate::spec::masked;

static QUIET: AtomicBool = AtomicBool::new(false);

/// Whether only errors are told.
pub fn set_quiet(quiet: bool) {
    QUIET.store(quiet, Ordering::Relaxed);
}

/// Whether only errors are told.
pub fn quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Prints data on stdout.
pub fn say(text: &str) -> Result<()> {
    let mut out = stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Error::Signal(13)),
        result => result.map_err(|error| Error::run(format!("stdout: {error}"))),
    }
}

/// Prints data on stdout as JSON.
pub fn say_json(value: &impl Serialize) -> Result<()> {
    say(&format!("{:#}\n", serde_json::to_value(value).map_err(Error::run)?))
}

/// Tells a person something on stderr.
pub fn tell(text: impl Display) {
    if !quiet() {
        let _ = writeln!(stderr().lock(), "{}", masked(&text.to_string()));
    }
}

/// Tells a person what is allowed but probably not meant.
pub fn warn(text: impl Display) {
    tell(format!("{} {text}", painted("warning:", "33")));
}

/// Tells a person what went wrong.
pub fn error(error: &Error) {
    if !matches!(error, Error::Signal(13)) {
        let _ = writeln!(stderr().lock(), "{} {error}", painted("error:", "31"));
    }
}

/// Whether stderr is a terminal that wants colours.
pub fn colours() -> bool {
    let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    wanted && !dumb && stderr().is_terminal()
}

/// `text` in a colour, where stderr is a terminal that wants colours.
pub fn painted(text: &str, colour: &str) -> String {
    if colours() { format!("\x1b[1;{colour}m{text}\x1b[0m") } else { text.to_string() }
}

/// `1234567` as `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn thousands_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(super::grouped(number), text);
        }
    }
}
