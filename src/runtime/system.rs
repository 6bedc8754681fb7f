//! Calls of the system that the standard library does not have. Each is a plain call: numbers go in, a number comes
//! out, and the one pointer is to a value on our own stack.

#![expect(unsafe_code, reason = "the C library is the only way to these calls")]

use std::io;
use std::process::Child;
use std::time::Duration;

/// The time since the machine was started, also that in which it was suspended.
pub fn since_boot() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` lives until the call returns, which writes nothing else.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &mut time) };
    debug_assert_eq!(failed, 0, "every Linux since 2.6.39 has this clock");
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// Closes all descriptors but stdin, stdout and stderr: for a program that was run in place of another, before it has
/// opened any of its own.
pub fn close_inherited() {
    let open = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let open: Vec<i32> = open.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for number in open.into_iter().filter(|number| *number > 2) {
        // SAFETY: nobody here knows of these descriptors. One was of the folder that was just read, and is closed.
        unsafe { libc::close(number) };
    }
}

/// Lets the system ask this process to end, by SIGTERM, when the thread that started it has ended.
pub fn end_with_parent() -> io::Result<()> {
    // SAFETY: sets a number of this process.
    match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Asks `child` to end, by SIGTERM.
pub fn terminate(child: &Child) {
    // SAFETY: a child that was not waited for keeps its pid, so that no other gets the signal.
    unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGTERM) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on() {
        let before = since_boot();
        std::thread::sleep(Duration::from_millis(2));
        assert!(before > Duration::ZERO && since_boot() >= before + Duration::from_millis(2));
    }
}
