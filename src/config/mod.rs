//! `tapeflow.toml`: how a process listens, its cluster, its token, its state, its logs. Flags come before `TAPEFLOW_*` in the
//! environment, these before the file, and the file before the defaults. A dataflow file holds none of it.

mod address;
mod state;
mod tls;
mod token;

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub use address::Address;
pub use state::Options;
pub use token::{Token, new_token, same, sign};

use crate::error::{Error, Result};
use crate::runtime::STALL;
use crate::spec::{At, Fields, Findings, FromToml, Mistake};
use crate::tls::TlsFiles;
use crate::words;

/// The file that is read where no other is named.
pub const FILE: &str = "tapeflow.toml";

words! {
    /// How much is logged.
    Level {
        /// What failed.
        Error = "error",
        /// And what looks wrong.
        Warn = "warn",
        /// And what happens.
        Info = "info",
        /// And how.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
}

words! {
    /// How logs are written.
    LogFormat {
        /// For reading.
        Text = "text",
        /// A JSON object a line.
        Json = "json",
    }
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Origin {
    /// Nobody has set it.
    Default,
    /// A line of the file.
    File(PathBuf, usize),
    /// A variable of the environment.
    Environment(String),
    /// A flag of the command line.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(path, line) => write!(f, "{}:{line}", path.display()),
            Origin::Environment(name) => f.write_str(name),
            Origin::Flag(key) => write!(f, "--{}", key.replace('_', "-")),
        }
    }
}

/// A value, and where it comes from.
#[derive(Clone, Debug)]
pub struct Setting<T> {
    /// The value.
    pub value: T,
    /// Where it comes from.
    pub origin: Origin,
}

impl<T> Setting<T> {
    /// The value, where somebody has set it.
    pub fn given(&self) -> Option<&T> {
        (self.origin != Origin::Default).then_some(&self.value)
    }
}

/// The settings of a process.
#[derive(Debug)]
pub struct Config {
    /// The name of the cluster: processes of another are refused.
    pub cluster: Setting<String>,
    /// Where the control plane listens.
    pub http: Setting<Address>,
    /// Where the other processes connect to.
    pub mesh: Setting<Address>,
    /// The host by which others reach this process.
    pub advertise: Setting<Option<String>>,
    /// The file that holds the token.
    pub token_file: Setting<Option<String>>,
    /// What the processes of a cluster and those who submit jobs share.
    pub token: Setting<Option<Token>>,
    /// The file that holds the token of those who may only look.
    pub read_token_file: Setting<Option<String>>,
    /// What those show who may only look.
    pub read_token: Setting<Option<Token>>,
    /// The certificates.
    pub tls: Setting<Option<TlsFiles>>,
    /// Where state is kept: a folder, or the URL of an object store.
    pub state: Setting<Option<String>>,
    /// The options of that object store.
    pub state_options: Setting<Options>,
    /// The file of the key that state is encrypted with.
    pub encryption_key_file: Setting<Option<String>>,
    /// How long a process waits for the others.
    pub join_timeout: Setting<Duration>,
    /// How long it waits for those that were lost; for ever where it is not set.
    pub rejoin_timeout: Setting<Option<Duration>>,
    /// How long it may take to write what was read when a process is asked to end.
    pub drain_timeout: Setting<Duration>,
    /// Input of a node that does not move for so long is told.
    pub stall_timeout: Setting<Duration>,
    /// How much is logged.
    pub log_level: Setting<Level>,
    /// How logs are written.
    pub log_format: Setting<LogFormat>,
}

fn unset<T>() -> Setting<Option<T>> {
    Setting { value: None, origin: Origin::Default }
}

/// What flags have set, by key.
pub type Flags = Vec<(&'static str, String)>;

impl Config {
    /// Reads the file at `path` (`tapeflow.toml` here, if there is one) and what stands above it.
    pub fn load(path: Option<&Path>, flags: &Flags) -> Result<Config> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let named = path.map(Path::to_path_buf).or_else(|| variable("TAPEFLOW_CONFIG").map(PathBuf::from));
        let path = named.clone().unwrap_or_else(|| PathBuf::from(FILE));
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => {
                return Err(Error::Usage(format!("cannot read the settings in {}: {error}", path.display())));
            }
        };
        Config::read(&path, &text, flags, &variable)
    }

    /// Reads `text`, the content of `path`. All mistakes come at once.
    pub fn read(path: &Path, text: &str, flags: &Flags, variable: &dyn Fn(&str) -> Option<String>) -> Result<Config> {
        let findings = Findings::default();
        let (root, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            findings.mistake(&error.span().unwrap_or(0..0), error.message().trim().to_string());
        }
        let fields = Fields::new("this file", root.get_ref(), 0..0, &findings);
        let mut sources = Sources { fields, path, text, flags, variable, wrong: Vec::new() };
        let mut config = Config {
            cluster: sources.setting("cluster", "the name of the cluster", "tapeflow".to_string()),
            http: sources.setting("http", "where the control plane listens", Address::loopback(7070)),
            mesh: sources.setting("mesh", "where the other processes connect to", Address::loopback(7071)),
            advertise: sources.optional("advertise", "the host by which others reach this process"),
            token_file: sources.optional("token_file", "the file that holds the token"),
            token: unset(),
            read_token_file: sources.optional("read_token_file", "the file that holds the token of those who may look"),
            read_token: unset(),
            tls: unset(),
            state: sources.optional("state", "where state is kept: a folder, or the URL of an object store"),
            state_options: sources.setting("state_options", "the options of that object store", Options::default()),
            encryption_key_file: sources.optional("encryption_key_file", "the file of the key that encrypts state"),
            join_timeout: sources.setting("join_timeout", "how long it waits for the others", Duration::from_secs(60)),
            rejoin_timeout: sources.optional("rejoin_timeout", "how long it waits for those that were lost"),
            drain_timeout: sources.setting("drain_timeout", "how long its jobs may drain", Duration::from_secs(60)),
            stall_timeout: sources.setting("stall_timeout", "what does not move for so long is told", STALL),
            log_level: sources.setting("log_level", "how much is logged", Level::Info),
            log_format: sources.setting("log_format", "how logs are written", LogFormat::Text),
        };
        match token::find("TAPEFLOW_TOKEN", &config.token_file, variable) {
            Ok(token) => config.token = token,
            Err(message) => sources.wrong.push(message),
        }
        match token::find("TAPEFLOW_READ_TOKEN", &config.read_token_file, variable) {
            Ok(token) => config.read_token = token,
            Err(message) => sources.wrong.push(message),
        }
        match tls::find(sources.written("tls", "the certificates: { ca, cert, key }"), flags, variable) {
            Ok(tls) => config.tls = tls,
            Err(message) => sources.wrong.push(message),
        }
        let Sources { fields, mut wrong, .. } = sources;
        fields.finish();
        // Without the lines themselves: one of them may hold a secret, and this may end in a log.
        let mistakes = findings.mistakes(path, text).list.into_iter();
        let place = |at: &Mistake| format!("{}:{}:{}", at.path.display(), at.line, at.column);
        wrong.splice(0..0, mistakes.map(|at| format!("{}: {}", place(&at), at.message)));
        if wrong.is_empty() { Ok(config) } else { Err(Error::Usage(wrong.join("\n"))) }
    }

    /// Every key with its value, fit to be shown, and where it comes from.
    pub fn shown(&self) -> Vec<(&'static str, Option<String>, &Origin)> {
        fn shown<'a, T>(
            key: &'static str,
            setting: &'a Setting<T>,
            show: impl Fn(&T) -> Option<String>,
        ) -> (&'static str, Option<String>, &'a Origin) {
            (key, show(&setting.value), &setting.origin)
        }
        let address = |address: &Address| Some(address.to_string());
        let span = |span: &Duration| Some(humantime::format_duration(*span).to_string());
        vec![
            shown("cluster", &self.cluster, |name| Some(name.clone())),
            shown("http", &self.http, address),
            shown("mesh", &self.mesh, address),
            shown("advertise", &self.advertise, Clone::clone),
            shown("token_file", &self.token_file, Clone::clone),
            shown("token", &self.token, |token| token.as_ref().map(|_| "***".to_string())),
            shown("read_token_file", &self.read_token_file, Clone::clone),
            shown("read_token", &self.read_token, |token| token.as_ref().map(|_| "***".to_string())),
            shown("tls", &self.tls, |tls| tls.as_ref().map(ToString::to_string)),
            shown("state", &self.state, |place| place.as_deref().map(crate::state::shown)),
            shown("state_options", &self.state_options, Options::shown),
            shown("encryption_key_file", &self.encryption_key_file, Clone::clone),
            shown("join_timeout", &self.join_timeout, span),
            shown("rejoin_timeout", &self.rejoin_timeout, |wait| wait.as_ref().and_then(span)),
            shown("drain_timeout", &self.drain_timeout, span),
            shown("stall_timeout", &self.stall_timeout, span),
            shown("log_level", &self.log_level, |level| Some(level.to_string())),
            shown("log_format", &self.log_format, |format| Some(format.to_string())),
        ]
    }
}

/// Where a setting is looked for.
struct Sources<'a> {
    fields: Fields<'a>,
    path: &'a Path,
    text: &'a str,
    flags: &'a Flags,
    variable: &'a dyn Fn(&str) -> Option<String>,
    /// Mistakes outside the file.
    wrong: Vec<String>,
}

impl Sources<'_> {
    fn setting<T: FromToml>(&mut self, key: &'static str, doc: &'static str, default: T) -> Setting<T> {
        self.find(key, doc).unwrap_or(Setting { value: default, origin: Origin::Default })
    }

    fn optional<T: FromToml>(&mut self, key: &'static str, doc: &'static str) -> Setting<Option<T>> {
        let found = self.find::<T>(key, doc);
        found.map_or(unset(), |found| Setting { value: Some(found.value), origin: found.origin })
    }

    fn find<T: FromToml>(&mut self, key: &'static str, doc: &'static str) -> Option<Setting<T>> {
        // The file is always read, so that its mistakes are found also where something stands above it.
        let written = self.fields.get::<T>(key, doc).optional();
        let flag = self.flags.iter().find(|(flag, _)| *flag == key).map(|(_, value)| value.clone());
        let name = format!("TAPEFLOW_{}", key.to_uppercase());
        let above = match (flag, (self.variable)(&name)) {
            (Some(value), _) => Some((value, Origin::Flag(key))),
            (None, Some(value)) => Some((value, Origin::Environment(name))),
            (None, None) => None,
        };
        match above {
            Some((value, origin)) => self.parse(value, origin),
            None => written.map(|at| self.at(at)),
        }
    }

    /// What only the file can hold as it is.
    fn written<T: FromToml>(&mut self, key: &'static str, doc: &'static str) -> Option<Setting<T>> {
        let written = self.fields.get::<T>(key, doc).optional();
        written.map(|at| self.at(at))
    }

    fn at<T>(&self, at: At<T>) -> Setting<T> {
        let line = self.text[..at.span.start.min(self.text.len())].matches('\n').count() + 1;
        Setting { value: at.value, origin: Origin::File(self.path.to_path_buf(), line) }
    }

    /// A flag or a variable means the same as that text in the file.
    fn parse<T: FromToml>(&mut self, value: String, origin: Origin) -> Option<Setting<T>> {
        let findings = Findings::default();
        let read = T::from_toml(&Spanned::new(0..0, DeValue::String(Cow::Owned(value))), &findings);
        self.wrong.extend(findings.mistakes(Path::new(""), "").list.into_iter().map(|mistake| {
            let message = mistake.message;
            format!("{origin}: {message}")
        }));
        read.map(|value| Setting { value, origin })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, flags: &[(&'static str, &str)], environment: &[(&str, &str)]) -> Result<Config> {
        let flags = flags.iter().map(|(key, value)| (*key, (*value).to_string())).collect();
        let variable =
            |name: &str| environment.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_string());
        Config::read(Path::new("t.toml"), text, &flags, &variable)
    }

    #[test]
    fn flags_come_before_the_environment_and_that_before_the_file() {
        let text = "cluster = \"file\"\nhttp = \"127.0.0.1:1\"\nmesh = \"127.0.0.1:2\"\n";
        let environment = [("TAPEFLOW_HTTP", "127.0.0.1:3"), ("TAPEFLOW_MESH", "127.0.0.1:4")];
        let config = read(text, &[("mesh", "127.0.0.1:5")], &environment).expect("settings");
        assert_eq!((config.cluster.value.as_str(), config.cluster.origin.to_string()), ("file", "t.toml:1".into()));
        assert_eq!((config.http.value.port, config.http.origin.to_string()), (3, "TAPEFLOW_HTTP".into()));
        assert_eq!((config.mesh.value.port, config.mesh.origin.to_string()), (5, "--mesh".into()));
        assert_eq!((config.join_timeout.value.as_secs(), config.join_timeout.given()), (60, None));
    }

    #[test]
    fn all_mistakes_come_at_once() {
        let text = "htp = \"127.0.0.1:1\"\njoin_timeout = \"soon\"\n";
        let error = read(text, &[("http", "nowhere")], &[("TAPEFLOW_LOG_LEVEL", "loud")]).expect_err("mistakes");
        let shown = error.to_string();
        let found = ["t.toml:1:1: ", "did you mean `http`?", "t.toml:2:16: ", "--http: ", "TAPEFLOW_LOG_LEVEL: `loud`"];
        for part in found {
            assert!(shown.contains(part), "{part} in {shown}");
        }
        assert_eq!(error.exit_code(), 2);
    }

    #[test]
    fn a_token_is_not_shown_and_not_written_in_the_file() {
        let secret = "0123456789abcdef";
        let config = read("", &[], &[("TAPEFLOW_TOKEN", secret)]).expect("settings");
        assert_eq!(config.token.value.as_ref().map(Token::secret), Some(secret));
        assert!(!format!("{config:?} {:?}", config.shown()).contains(secret));
        let error = read(&format!("token = \"{secret}\""), &[], &[]).expect_err("no such key");
        assert!(error.to_string().contains("token_file") && !error.to_string().contains(secret), "{error}");
        assert!(
            read("", &[], &[("TAPEFLOW_TOKEN", "short")]).is_err_and(|error| !error.to_string().contains("short\""))
        );
        assert!(read("token_file = \"/does/not/exist\"", &[], &[]).is_err());
    }
}
