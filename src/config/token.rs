//! The token that the processes of a cluster and those who submit jobs share.

use std::fmt;
use std::path::Path;

use sha2::{Digest, Sha256};
use uuid::Uuid;

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

    /// Whether `given` is the token. It takes as long for any that is not.
    pub fn is(&self, given: &str) -> bool {
        same(&Sha256::digest(given), &Sha256::digest(&self.0))
    }
}

/// A new secret that nobody can guess.
pub fn new_token() -> String {
    // Two of them hold 244 random bits, from the system.
    [Uuid::new_v4(), Uuid::new_v4()].map(|part| part.simple().to_string()).concat()
}

/// HMAC-SHA256 of `message`: only who knows the token can make it. Without a token anybody can.
pub fn sign(token: Option<&Token>, message: &[u8]) -> [u8; 32] {
    const BLOCK: usize = 64;
    let secret = token.map_or("", Token::secret).as_bytes();
    let mut key = [0; BLOCK];
    match secret.len() {
        0..=BLOCK => key[..secret.len()].copy_from_slice(secret),
        _ => key[..32].copy_from_slice(&Sha256::digest(secret)),
    }
    let (inner, outer) = (key.map(|byte| byte ^ 0x36), key.map(|byte| byte ^ 0x5c));
    let digest = Sha256::new().chain_update(inner).chain_update(message).finalize();
    Sha256::new().chain_update(outer).chain_update(digest).finalize().into()
}

/// Whether two digests are equal; where they differ does not show in the time it takes.
pub fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A token: the variable `name`, or the content of the file.
pub fn find(
    name: &str,
    file: &Setting<Option<String>>,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Setting<Option<Token>>, String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_rfc_4231() {
        let hex = |digest: [u8; 32]| digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let signed = sign(Some(&Token("Jefe".to_string())), b"what do ya want for nothing?");
        assert_eq!(hex(signed), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        // A key longer than a block, of letters (the test vectors of the RFC are no text): Python's hmac.
        let signed = sign(Some(&Token("k".repeat(131))), b"message");
        assert_eq!(hex(signed), "bf7c7ea93af6117b4f6f7dd0b8aac62097cd835b9df2ca81010858ebe0d2cabd");
    }

    #[test]
    fn only_the_token_is_the_token() {
        let token = Token("0123456789abcdef".to_string());
        assert!(token.is("0123456789abcdef"));
        ["", "0123456789abcde", "0123456789abcdefg", "0123456789abcdeF"]
            .iter()
            .for_each(|other| assert!(!token.is(other)));
    }
}
