//! A folder that keeps what it has said to have kept: files are written beside their place, synced, put into it in
//! one step, and then the folder itself is synced. What a crash leaves half written has a name that nobody reads.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Result, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::Stored;

/// What begins so is no object.
const HIDDEN: char = '.';
const TEMPORARY: &str = ".tmp";
/// Nothing takes so long to be written.
const LEFT_OVER: Duration = Duration::from_secs(3600);
/// A folder may be removed, empty, in the moment before something is written into it.
const ATTEMPTS: usize = 5;

/// Files below a folder.
#[derive(Clone, Debug)]
pub struct Folder(pub PathBuf);

impl Folder {
    /// Writes an object; if `create`, only where there is none. Returns whether it did.
    pub fn write(&self, path: &str, bytes: &[u8], create: bool) -> Result<bool> {
        let target = self.0.join(path);
        let folder = target.parent().unwrap_or(&self.0).to_path_buf();
        let mut attempt = 1;
        loop {
            self.make_below(&folder)?;
            match write_into(&folder, &target, bytes, create) {
                Err(error) if error.kind() == ErrorKind::NotFound && attempt < ATTEMPTS => attempt += 1,
                result => return result,
            }
        }
    }

    /// Makes the folder itself, where it is missing.
    pub fn begin(&self) -> Result<()> {
        make(&self.0)
    }

    /// Makes a folder in it. Where it is gone itself, it was taken away: nothing is written in its place.
    fn make_below(&self, folder: &Path) -> Result<()> {
        if folder.is_dir() || folder == self.0 {
            return Ok(());
        }
        let above = folder.parent().unwrap_or(&self.0);
        self.make_below(above)?;
        make_one(folder, above)
    }

    /// The content of an object.
    pub fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        match fs::read(self.0.join(path)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            result => result.map(Some),
        }
    }

    /// All objects below `prefix`.
    pub fn list(&self, prefix: &str) -> Result<Vec<Stored>> {
        let mut found = Vec::new();
        self.walk(&self.0.join(prefix), &mut |path, file| {
            let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with(HIDDEN));
            if let (false, Some(path)) = (hidden, self.name_of(path)) {
                found.push(Stored { path, size: file.len() });
            }
        })?;
        Ok(found)
    }

    /// Removes an object, and the folders that it leaves empty.
    pub fn delete(&self, path: &str) -> Result<()> {
        let target = self.0.join(path);
        match fs::remove_file(&target) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            result => result?,
        }
        let below = target.ancestors().skip(1).take_while(|folder| *folder != self.0 && folder.starts_with(&self.0));
        // Only empty ones can be removed.
        for folder in below {
            if fs::remove_dir(folder).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Removes what crashes have left half written.
    pub fn sweep(&self) -> Result<()> {
        let now = SystemTime::now();
        let mut old = Vec::new();
        self.walk(&self.0, &mut |path, file| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let temporary = name.starts_with(HIDDEN) && name.ends_with(TEMPORARY);
            let age = file.modified().ok().and_then(|written| now.duration_since(written).ok());
            if temporary && age.is_some_and(|age| age > LEFT_OVER) {
                old.push(path.to_path_buf());
            }
        })?;
        old.into_iter().try_for_each(|path| match fs::remove_file(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            result => result,
        })
    }

    /// The path of an object as all stores know it.
    fn name_of(&self, path: &Path) -> Option<String> {
        let parts = path.strip_prefix(&self.0).ok()?.iter().map(|part| part.to_str());
        Some(parts.collect::<Option<Vec<_>>>()?.join("/"))
    }

    /// Calls `each` with the files below `folder`. What goes away meanwhile is not there.
    fn walk(&self, folder: &Path, each: &mut dyn FnMut(&Path, &fs::Metadata)) -> Result<()> {
        let there = |error: &std::io::Error| !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory);
        let items = match fs::read_dir(folder) {
            Err(error) if !there(&error) => return Ok(()),
            items => items?,
        };
        for item in items {
            let path = item?.path();
            match fs::metadata(&path) {
                Ok(file) if file.is_dir() => self.walk(&path, each)?,
                Ok(file) => each(&path, &file),
                Err(error) if !there(&error) => (),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn write_into(folder: &Path, target: &Path, bytes: &[u8], create: bool) -> Result<bool> {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let beside = folder.join(format!("{HIDDEN}{name}.{}{TEMPORARY}", uuid::Uuid::new_v4().simple()));
    let mut written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        match create {
            // Unlike a rename, a link never replaces what is there.
            true => fs::hard_link(&beside, target),
            false => fs::rename(&beside, target),
        }
    })();
    if create || written.is_err() {
        let removed = fs::remove_file(&beside);
        written = written.and(removed);
    }
    match written {
        Err(error) if create && error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
        Ok(()) => sync(folder).map(|()| true),
    }
}

/// Makes a folder and those above it, so that they survive a crash.
fn make(folder: &Path) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let above = folder.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make(above)?;
    make_one(folder, above)
}

fn make_one(folder: &Path, above: &Path) -> Result<()> {
    match fs::create_dir(folder) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        result => result.and_then(|()| sync(above)),
    }
}

fn sync(folder: &Path) -> Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Folder, prefix: &str) -> Vec<String> {
        let mut names: Vec<_> = folder.list(prefix).expect("a list").into_iter().map(|stored| stored.path).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_there_whole_or_not_at_all() {
        let temporary = tempfile::tempdir().expect("a folder");
        let folder = Folder(temporary.path().join("not/there/yet"));
        assert_eq!((names(&folder, ""), folder.read("a/b").expect("nothing")), (vec![], None));
        assert!(folder.write("a/b", b"1", false).is_err() && !folder.0.exists(), "it may have been taken away");
        folder.begin().expect("made");
        assert!(folder.write("a/b", b"1", false).expect("written"));
        // What a crash leaves between writing and renaming, and after the link of a created one.
        fs::write(folder.0.join("a/.b.0123.tmp"), b"hal").expect("left over");
        assert!(folder.write("a/b", b"2", false).expect("replaced"));
        assert!(!folder.write("a/b", b"3", true).expect("there"));
        assert_eq!(folder.read("a/b").expect("read").as_deref(), Some(&b"2"[..]));
        assert!(folder.write("a/c/d", b"4", true).expect("created"));
        assert_eq!(names(&folder, ""), ["a/b", "a/c/d"]);
        assert_eq!(names(&folder, "a/c"), ["a/c/d"]);
        assert_eq!(names(&folder, "a/b"), [""; 0], "a file is no folder");
        let hidden = fs::read_dir(folder.0.join("a")).expect("a folder").flatten().map(|item| item.file_name());
        assert_eq!(hidden.filter(|name| name.to_string_lossy().ends_with(".tmp")).count(), 1, "only the crash's");
    }

    #[test]
    fn left_overs_are_swept_when_nobody_can_be_writing_them() {
        let temporary = tempfile::tempdir().expect("a folder");
        let folder = Folder(temporary.path().to_path_buf());
        folder.write("a/b", b"1", false).expect("written");
        let (old, young) = (folder.0.join("a/.b.1.tmp"), folder.0.join("a/.b.2.tmp"));
        for path in [&old, &young] {
            fs::write(path, b"hal").expect("left over");
        }
        let long_ago = SystemTime::now() - 2 * LEFT_OVER;
        for path in [&old, &folder.0.join("a/b")] {
            File::options().write(true).open(path).and_then(|file| file.set_modified(long_ago)).expect("aged");
        }
        folder.sweep().expect("swept");
        assert_eq!((old.exists(), young.exists(), names(&folder, "").len()), (false, true, 1));
    }

    #[test]
    fn empty_folders_go_with_their_last_file() {
        let temporary = tempfile::tempdir().expect("a folder");
        let folder = Folder(temporary.path().to_path_buf());
        folder.write("a/b/c", b"1", false).expect("written");
        folder.write("a/d", b"1", false).expect("written");
        folder.delete("a/b/c").expect("removed");
        folder.delete("a/b/c").expect("was gone");
        assert_eq!((folder.0.join("a/b").exists(), folder.0.join("a/d").exists()), (false, true));
        folder.delete("a/d").expect("removed");
        assert!(folder.0.exists() && !folder.0.join("a").exists());
    }

    #[test]
    fn of_many_who_create_one_succeeds() {
        let temporary = tempfile::tempdir().expect("a folder");
        let folder = Folder(temporary.path().to_path_buf());
        let create = |i: u8| folder.write("g/1", &[i], true).expect("no failure");
        let created = std::thread::scope(|scope| {
            let all: Vec<_> = (0..8).map(|i| scope.spawn(move || create(i))).collect();
            all.into_iter().filter_map(|one| one.join().ok()).filter(|created| *created).count()
        });
        assert_eq!(created, 1);
    }
}
