//! Where state is kept, as the settings say it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use toml::Spanned;
use toml::de::DeValue;

use super::{Config, Origin, Setting};
use crate::error::Result;
use crate::spec::{Findings, FromToml, Named};
use crate::state::Store;

/// The options of an object store, in its own words: `{ aws_region = "eu-central-1" }`; outside of the file
/// `aws_region=eu-central-1,...`. Their values may be secret, and are not shown.
#[derive(Clone, Default, PartialEq)]
pub struct Options(pub BTreeMap<String, String>);

impl Options {
    /// Their names; nothing if there are none.
    pub fn shown(&self) -> Option<String> {
        let names: Vec<String> = self.0.keys().map(|name| format!("{name}=***")).collect();
        (!names.is_empty()).then(|| names.join(","))
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown().unwrap_or_default())
    }
}

impl FromToml for Options {
    fn from_toml(value: &Spanned<DeValue<'_>>, findings: &Findings) -> Option<Self> {
        let Some(text) = value.get_ref().as_str() else {
            let Named(named) = Named::<String>::from_toml(value, findings)?;
            return Some(Options(named.into_iter().map(|(name, value)| (name.value, value.value)).collect()));
        };
        let pair = |pair: &str| pair.split_once('=').map(|(name, value)| (name.trim().into(), value.trim().into()));
        let pairs: Option<BTreeMap<String, String>> = text.split(',').map(pair).collect();
        if pairs.is_none() {
            // Without the text itself, which may hold a secret.
            findings.mistake(&value.span(), "options are a table, or text like name=value,name=value");
        }
        pairs.map(Options)
    }

    fn schema() -> Json {
        Named::<String>::schema()
    }
}

impl Config {
    /// The store of state; none where no place is set.
    pub fn store(&self) -> Result<Option<Store>> {
        let Some(state) = &self.state.value else { return Ok(None) };
        let location = match state.contains("://") {
            true => state.clone(),
            false => beside(&self.state, state).to_string_lossy().into_owned(),
        };
        let key = self.encryption_key_file.value.as_ref().map(|key| beside(&self.encryption_key_file, key));
        Store::open(&location, &self.state_options.value.0, key.as_deref()).map(Some)
    }
}

/// A path in a file is relative to that file's folder.
fn beside<T>(setting: &Setting<T>, path: &str) -> PathBuf {
    match &setting.origin {
        Origin::File(file, _) => file.parent().unwrap_or(Path::new("")).join(path),
        _ => PathBuf::from(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    fn read(text: &str, environment: &[(&str, &str)]) -> Result<Config> {
        let variable =
            |name: &str| environment.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_string());
        Config::read(Path::new("etc/t.toml"), text, &Vec::new(), &variable)
    }

    #[test]
    fn a_place_is_relative_to_the_file_that_names_it() {
        let place = |config: Config| config.store().expect("a store").map(|store| store.to_string());
        assert_eq!(place(read("", &[]).expect("settings")), None);
        assert_eq!(place(read("state = \"state\"", &[]).expect("settings")).as_deref(), Some("etc/state"));
        assert_eq!(place(read("state = \"/state\"", &[]).expect("settings")).as_deref(), Some("/state"));
        assert_eq!(place(read("", &[("TAPEFLOW_STATE", "state")]).expect("settings")).as_deref(), Some("state"));
        assert_eq!(place(read("state = \"memory:///x\"", &[]).expect("settings")).as_deref(), Some("memory:///x"));
        let missing = read("state = \"state\"\nencryption_key_file = \"key\"", &[]).expect("settings").store();
        assert!(matches!(missing, Err(Error::Usage(text)) if text.contains("etc/key")));
    }

    #[test]
    fn options_are_read_and_not_shown() {
        let secret = "0123456789";
        let table = format!("state_options = {{ aws_region = \"x\", aws_secret_access_key = \"{secret}\" }}");
        let text = format!("aws_region=x, aws_secret_access_key={secret}");
        let written = read(&table, &[]).expect("settings");
        let above = read("", &[("TAPEFLOW_STATE_OPTIONS", &text)]).expect("settings");
        for config in [written, above] {
            assert_eq!(config.state_options.value.0.get("aws_secret_access_key").map(String::as_str), Some(secret));
            let shown = format!("{config:?} {:?}", config.shown());
            assert!(shown.contains("aws_region=***") && !shown.contains(secret), "{shown}");
        }
        for wrong in [format!("state_options = \"{secret}\""), "state_options = 7".to_string()] {
            assert!(read(&wrong, &[]).is_err_and(|error| !error.to_string().contains(secret)), "{wrong}");
        }
    }
}
