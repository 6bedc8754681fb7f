//! What is wrong with a dataflow file: every mistake at once, each with its place and the nearest right word.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Bytes of the dataflow file.
pub type Span = Range<usize>;

/// A value and where it stands in the dataflow file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Its place.
    pub span: Span,
}

impl<T> At<T> {
    /// `value`, found at `span`.
    pub fn new(value: T, span: Span) -> Self {
        At { value, span }
    }
}

impl<T> std::ops::Deref for At<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

/// Collects mistakes while a file is read and planned.
#[derive(Default)]
pub struct Findings {
    base: PathBuf,
    mistakes: RefCell<Vec<(Span, String)>>,
    warnings: RefCell<Vec<(Span, String)>>,
}

impl Findings {
    /// Of a file whose relative paths begin at `base`.
    pub fn below(base: PathBuf) -> Self {
        Findings { base, ..Findings::default() }
    }

    /// Where relative paths begin.
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// Notes a mistake at `span`.
    pub fn mistake(&self, span: &Span, message: impl Into<String>) {
        push_once(&self.mistakes, span, message.into());
    }

    /// Notes something that is allowed but probably not meant.
    pub fn warning(&self, span: &Span, message: impl Into<String>) {
        push_once(&self.warnings, span, message.into());
    }

    /// How many mistakes there are.
    pub fn len(&self) -> usize {
        self.mistakes.borrow().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.mistakes.borrow().is_empty()
    }

    /// The mistakes, in the order of the file, with their lines.
    pub fn mistakes(&self, path: &Path, text: &str) -> Mistakes {
        Mistakes { list: locate(&self.mistakes, path, text) }
    }

    /// The warnings, likewise.
    pub fn warnings(&self, path: &Path, text: &str) -> Mistakes {
        Mistakes { list: locate(&self.warnings, path, text) }
    }
}

// A file may be planned twice (see `plan`), which finds the same things twice.
fn push_once(list: &RefCell<Vec<(Span, String)>>, span: &Span, message: String) {
    let found = (span.clone(), message);
    let mut list = list.borrow_mut();
    if !list.contains(&found) {
        list.push(found);
    }
}

fn locate(list: &RefCell<Vec<(Span, String)>>, path: &Path, text: &str) -> Vec<Mistake> {
    let mut found = list.borrow().clone();
    found.sort_by_key(|(span, _)| span.start);
    found.into_iter().map(|(span, message)| Mistake::new(path, text, span, message)).collect()
}

/// One mistake and its place.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Mistake {
    /// The dataflow file.
    pub path: PathBuf,
    /// Line, from 1.
    pub line: usize,
    /// Column, in characters from 1.
    pub column: usize,
    /// What is wrong, and what would be right.
    pub message: String,
    /// The line as it is written.
    #[serde(default)]
    source: String,
    /// How many characters of it are meant.
    #[serde(default)]
    width: usize,
}

impl Mistake {
    fn new(path: &Path, text: &str, span: Span, message: String) -> Self {
        let start = floor_boundary(text, span.start.min(text.len()));
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let source = text[line_start..].lines().next().unwrap_or_default().to_string();
        let column = text[line_start..start].chars().count() + 1;
        let end = floor_boundary(text, span.end.clamp(start, line_start + source.len().max(start - line_start)));
        Mistake {
            path: path.to_path_buf(),
            line: text[..start].matches('\n').count() + 1,
            column,
            message,
            width: text[start..end].chars().count().max(1),
            source,
        }
    }
}

fn floor_boundary(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// All mistakes of a file; shown one after the other, each with its line.
#[derive(Clone, Debug, Default)]
pub struct Mistakes {
    /// In the order of the file.
    pub list: Vec<Mistake>,
}

impl Mistakes {
    /// One mistake that has no place of its own in the file.
    pub fn of_file(path: &Path, message: impl Into<String>) -> Self {
        Mistakes { list: vec![Mistake::new(path, "", 0..0, message.into())] }
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, mistake) in self.list.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            let Mistake { path, line, column, message, source, width } = mistake;
            write!(f, "{}:{line}:{column}: {message}", path.display())?;
            if !source.is_empty() {
                let gutter = line.to_string();
                let (pad, indent) = (" ".repeat(gutter.len()), " ".repeat(column - 1));
                write!(f, "\n  {gutter} | {source}\n  {pad} | {indent}{}", "^".repeat(*width))?;
            }
        }
        Ok(())
    }
}

/// The nearest of `words`, where one is near.
pub fn nearest<'a>(word: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |known: &str| strsim::damerau_levenshtein(&word.to_lowercase(), &known.to_lowercase());
    let near = words.into_iter().map(|known| (distance(known), known)).min_by_key(|(distance, _)| *distance);
    near.filter(|(distance, known)| *distance <= 1 + known.len().min(word.len()) / 3).map(|(_, known)| known)
}

/// `; did you mean "nearest"?` where one of `words` is near, else the list of them.
pub fn did_you_mean<'a>(word: &str, words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<&str> = words.into_iter().collect();
    match nearest(word, words.iter().copied()) {
        Some(known) => format!("; did you mean `{known}`?"),
        None if words.is_empty() => String::new(),
        None if words.len() <= 24 => format!("; known: {}", words.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_offered() {
        assert_eq!(did_you_mean("pice", ["price", "volume"]), "; did you mean `price`?");
        assert_eq!(did_you_mean("zzz", ["price", "volume"]), "; known: price, volume");
    }

    #[test]
    fn a_mistake_shows_its_line() {
        let findings = Findings::default();
        let text = "a = 1\nb = \"é\" # c\n";
        findings.mistake(&(10..14), "wrong");
        let shown = findings.mistakes(Path::new("x.toml"), text).to_string();
        assert_eq!(shown, "x.toml:2:5: wrong\n  2 | b = \"é\" # c\n    |     ^^^");
    }
}
