//! `${NAME}`, `${NAME:-default}`, `${file:/path}` in the strings of a dataflow file; `$$` is a dollar.

use std::path::Path;

/// Replaces every reference in `text`. `variable` looks a name up in the environment; relative paths begin at `base`.
///
/// Errors name the missing variable or file; they never show a value.
pub fn expand(text: &str, base: &Path, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            let end = after.find('}').ok_or("`${` is not closed by `}`")?;
            out.push_str(&look_up(&after[..end], base, variable)?);
            rest = &after[end + 1..];
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    Ok(out)
}

fn look_up(reference: &str, base: &Path, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    if let Some(path) = reference.strip_prefix("file:") {
        let path = base.join(path);
        let cannot = |error| format!("cannot read {}: {error}", path.display());
        let content = std::fs::read_to_string(&path).map_err(cannot)?;
        return Ok(content.trim_end_matches(['\n', '\r']).to_string());
    }
    let (name, default) = match reference.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (reference, None),
    };
    variable(name)
        .or_else(|| default.map(str::to_string))
        .ok_or_else(|| format!("the environment variable {name} is not set; set it, or write ${{{name}:-default}}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(name: &str) -> Option<String> {
        (name == "HOST").then(|| "db".to_string())
    }

    #[test]
    fn references_are_replaced_and_dollars_kept() {
        for (text, expected) in [
            ("${HOST}:9042", "db:9042"),
            ("${PORT:-9042}", "9042"),
            ("a$$b $c", "a$b $c"),
            ("${HOST}${HOST:-x}", "dbdb"),
        ] {
            assert_eq!(expand(text, Path::new(""), &environment).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn a_missing_name_is_an_error() {
        let expand = |text| expand(text, Path::new(""), &environment);
        assert!(expand("${PORT}").is_err_and(|error| error.contains("PORT")));
        assert!(expand("${PORT").is_err());
        assert!(expand("${file:/does/not/exist}").is_err());
    }

    #[test]
    fn files_are_found_beside_the_dataflow_file() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("key"), "opened\n").expect("written");
        assert_eq!(expand("${file:key}", folder.path(), &environment).as_deref(), Ok("opened"));
    }
}
