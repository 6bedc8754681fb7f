//! The `tapeflow` program: reads the command line, does what it says, ends with an exit code that tells how.

use std::process::ExitCode;

// Batches come and go on all workers: the system's allocator gives their memory back, and the kernel clears it
// again, which cost a tenth of the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tapeflow::cli::main()
}
