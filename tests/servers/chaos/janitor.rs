//! Whatever becomes of a run, nothing of it stays: a process beside it waits for its end, and then ends all that still
//! runs in the folder of the run, unmounts what is mounted there and removes it.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

const SCRIPT: &str = r#"
read -r what
for round in 1 2 3; do
    for process in /proc/[0-9]*; do
        case $(readlink "$process/cwd") in "$1" | "$1"/*) kill -9 "${process#/proc/}" 2>/dev/null ;; esac
    done
    sleep 0.2
done
grep -o " $1/[^ ]*" /proc/mounts | while read -r mounted; do umount -l "$mounted"; done
ip netns list 2>/dev/null | grep "^$(basename "$1")-" | while read -r name _; do ip netns del "$name"; done
[ "$what" = keep ] || rm -rf "$1"
"#;

/// Whether what the processes said is to be kept anyway: `TAPEFLOW_CHAOS_KEEP=1`.
pub fn keeps() -> bool {
    std::env::var_os("TAPEFLOW_CHAOS_KEEP").is_some()
}

/// A folder that is cleaned up.
pub struct Janitor {
    child: Child,
    ear: Option<ChildStdin>,
    folder: PathBuf,
}

impl Janitor {
    /// A new folder; all processes of a run are started in it.
    pub fn new() -> Janitor {
        let folder = tempfile::Builder::new().prefix("chaos-").tempdir().expect("a folder").keep();
        let mut command = Command::new("bash");
        // A group of its own, so that Ctrl-C does not end it.
        command.args(["-c", SCRIPT, "janitor"]).arg(&folder).current_dir("/").process_group(0);
        let mut child = command.stdin(Stdio::piped()).spawn().expect("bash runs");
        Janitor { ear: child.stdin.take(), child, folder }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        // Of a run that failed the logs are worth something.
        let what = if std::thread::panicking() || keeps() { "keep" } else { "" };
        if what == "keep" {
            let _ = writeln!(std::io::stderr(), "chaos: what the processes said is in {}", self.folder.display());
        }
        let _ = writeln!(self.ear.take().expect("a pipe"), "{what}");
        let _ = self.child.wait();
    }
}
