//! The `tapeflow` program: reads the command line, does what it says, ends with an exit code that tells how.

use std::process::ExitCode;

fn main() -> ExitCode {
    tapeflow::cli::main()
}
