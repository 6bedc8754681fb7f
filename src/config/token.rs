//! The token that the processes of a cluster and those who submit jobs share.

use std::fmt;
use std::path::Path;

use super::{Origin, Setting};

/// A shorter one could be guessed.
const SHORTEST: usize = 16;

/// A secret; it shows itself nowhere.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// The secret itself: for proofs and for the header of a request, never for a message.
    pub fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The token: `TAPEFLOW_TOKEN`, or the content of the file.
pub fn find(
    file: &Setting<Option<String>>,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Setting<Option<Token>>, String> {
    let name = "TAPEFLOW_TOKEN";
    let (text, origin) = match (variable(name), &file.value) {
        (Some(text), _) => (text, Origin::Environment(name.to_string())),
        (None, None) => return Ok(Setting { value: None, origin: Origin::Default }),
        (None, Some(path)) => {
            let base = if let Origin::File(settings, _) = &file.origin { settings.parent() } else { None };
            let path = base.unwrap_or(Path::new("")).join(path);
            let cannot = |error| format!("{}: cannot read the token in {}: {error}", file.origin, path.display());
            (std::fs::read_to_string(&path).map_err(cannot)?, file.origin.clone())
        }
    };
    let text = text.trim();
    if text.len() < SHORTEST || text.contains(|c: char| !c.is_ascii_graphic()) {
        return Err(format!(
            "{origin}: a token has at least {SHORTEST} letters, digits and signs; make one with `openssl rand -hex 32`"
        ));
    }
    Ok(Setting { value: Some(Token(text.to_string())), origin })
}
