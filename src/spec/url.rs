//! The URL of a server: what follows the address of the server may be a secret, and is shown nowhere.

use std::fmt;

use serde_json::Value as Json;
use toml::Spanned;
use toml::de::DeValue;

use super::fields::{FromToml, Secret};
use super::masks;
use super::mistakes::Findings;

/// A piece of a URL that is shorter may be any word.
const SHORTEST_SECRET: usize = 12;

/// What begins with `http://` or `https://`. It is shown as far as the address goes, and in plans as it was written.
#[derive(Clone, Default)]
pub struct Url {
    whole: String,
    address: String,
}

impl Url {
    fn of(text: &str) -> Option<Self> {
        let url = reqwest::Url::parse(text).ok().filter(|url| ["http", "https"].contains(&url.scheme()))?;
        let port = url.port().map_or(String::new(), |port| format!(":{port}"));
        Some(Url { whole: text.to_string(), address: format!("{}://{}{port}", url.scheme(), url.host_str()?) })
    }

    /// What came from outside of the file is not shown, nor are pieces of it.
    fn hide(&self) {
        let shown = masks::masked(&self.whole).into_owned();
        if !shown.starts_with(&self.address) {
            masks::note(&self.address, &shown, true);
        }
        let hidden = self.secrets().into_iter().filter(|secret| !shown.contains(secret));
        hidden.for_each(|secret| masks::note(&secret, &shown, false));
    }

    /// The pieces of which a server may quote one: long ones, which are no words.
    fn secrets(&self) -> Vec<String> {
        let Ok(url) = reqwest::Url::parse(&self.whole) else { return Vec::new() };
        let segments = url.path_segments().into_iter().flatten().map(str::to_string);
        let values = url.query_pairs().map(|(_, value)| value.into_owned());
        let password = url.password().map(str::to_string);
        let secret = |piece: &String| piece.len() >= SHORTEST_SECRET;
        segments.chain(values).chain(password).filter(secret).chain([url.path().to_string()]).collect()
    }

    /// All of it: not to be shown.
    pub fn whole(&self) -> &str {
        &self.whole
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

impl FromToml for Url {
    fn from_toml(value: &Spanned<DeValue<'_>>, findings: &Findings) -> Option<Self> {
        let Secret(text) = Secret::from_toml(value, findings)?;
        let url = Url::of(&text);
        match &url {
            Some(url) => url.hide(),
            None => findings.mistake(&value.span(), "this is no URL: it begins with https:// and the name of a server"),
        }
        url
    }
    fn schema() -> Json {
        String::schema()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_from_outside_is_hidden_and_what_is_written_in_the_file_is_not() {
        let hide = |whole: &str| Url::of(whole).expect("a URL").hide();
        masks::note("https://whole.example/T9/B9-of-the-whole", "${file:whole}", false);
        hide("https://whole.example/T9/B9-of-the-whole");
        masks::note("token-of-the-part", "${PART}", false);
        hide("https://part.example/a-long-segment/token-of-the-part");
        hide("https://plain.example/a-plain-segment");
        let text = "https://whole.example: no /T9/B9-of-the-whole, no B9-of-the-whole, no token-of-the-part";
        let masked = "https://whole.example: no ${file:whole}, no ${file:whole}, no ${PART}";
        assert_eq!(masks::masked(text), masked);
        assert_eq!(masks::as_written("POST to https://whole.example"), "POST to ${file:whole}");
        let visible = "https://part.example/a-long-segment https://plain.example/a-plain-segment";
        assert_eq!(masks::as_written(visible), visible);
    }

    #[test]
    fn what_follows_the_server_is_not_shown() {
        for (whole, shown) in [
            ("https://user:hunter2@hooks.example/services/T0/B0?key=x#y", "https://hooks.example"),
            ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
            ("https://[::1]:9", "https://[::1]:9"),
        ] {
            let url = Url::of(whole).expect("a URL");
            assert_eq!(
                (url.whole(), url.to_string(), format!("{url:?}")),
                (whole, shown.to_string(), shown.to_string())
            );
        }
        let url = Url::of("https://me:hunter2hunter2@hooks.example/services/T0/B0-hidden-value?key=012345678901&x=y")
            .expect("a URL");
        let secrets = ["B0-hidden-value", "012345678901", "hunter2hunter2", "/services/T0/B0-hidden-value"];
        assert_eq!(url.secrets(), secrets);
        for text in ["", "hooks.example/x", "ftp://hooks.example", "https://", "/x", "mailto:a@b.example"] {
            assert!(Url::of(text).is_none(), "{text}");
        }
    }
}
