//! What can go wrong, and the exit code that says so.

use std::fmt;

use crate::spec::Mistakes;

/// The result of everything that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error a user sees: each kind has an exit code of its own.
#[derive(Debug, Clone)]
pub enum Error {
    /// The job failed while running (exit code 1).
    Run(String),
    /// The command line or the settings are wrong (exit code 2).
    Usage(String),
    /// The dataflow file is wrong (exit code 3).
    Dataflow(Box<Mistakes>),
    /// A server, file or port could not be reached (exit code 4).
    Connect(String),
    /// It took longer than allowed (exit code 6).
    TimedOut(String),
    /// There is no such job, or one of that name is there already (exit code 7).
    Job(String),
    /// Ended by a signal (exit code 128 + its number).
    Signal(u8),
}

impl Error {
    /// The exit code of the process that ends with this error.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Run(_) => 1,
            Error::Usage(_) => 2,
            Error::Dataflow(_) => 3,
            Error::Connect(_) => 4,
            Error::TimedOut(_) => 6,
            Error::Job(_) => 7,
            Error::Signal(number) => 128 + number,
        }
    }

    /// A failure while running.
    pub fn run(message: impl fmt::Display) -> Self {
        Error::Run(message.to_string())
    }

    /// The error of a running node, by its name. A closed pipe is no failure, and stays what it is.
    pub fn of_node(self, name: &str) -> Self {
        match self {
            Error::Signal(number) => Error::Signal(number),
            error => Error::Run(format!("`{name}`: {error}")),
        }
    }

    /// The same, and of what it is.
    pub fn of(self, what: &str) -> Self {
        self.told_as(|message| format!("{what}: {message}"))
    }

    /// Several errors as one, of the kind of the first.
    pub fn together(errors: Vec<Error>) -> Option<Error> {
        let all = errors.iter().map(Error::to_string).collect::<Vec<_>>().join("\n");
        errors.into_iter().next().map(|first| first.told_as(|_| all))
    }

    fn told_as(self, tell: impl FnOnce(String) -> String) -> Self {
        match self {
            Error::Run(message) => Error::Run(tell(message)),
            Error::Usage(message) => Error::Usage(tell(message)),
            Error::Connect(message) => Error::Connect(tell(message)),
            Error::TimedOut(message) => Error::TimedOut(tell(message)),
            Error::Job(message) => Error::Job(tell(message)),
            other @ (Error::Dataflow(_) | Error::Signal(_)) => other,
        }
    }

    /// Something that could not be reached.
    pub fn connect(message: impl fmt::Display) -> Self {
        Error::Connect(message.to_string())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Run(message)
            | Error::Usage(message)
            | Error::Connect(message)
            | Error::TimedOut(message)
            | Error::Job(message) => f.write_str(message),
            Error::Dataflow(mistakes) => mistakes.fmt(f),
            Error::Signal(number) => write!(f, "ended by signal {number}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<arrow::error::ArrowError> for Error {
    fn from(error: arrow::error::ArrowError) -> Self {
        Error::Run(error.to_string())
    }
}

impl From<datafusion_common::DataFusionError> for Error {
    fn from(error: datafusion_common::DataFusionError) -> Self {
        Error::Run(error.strip_backtrace())
    }
}
