//! What a source says of messages: which trade each is about, and what is to be done with it; or why that cannot be done.

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow::util::display::array_value_to_string;

use super::CorrectionsPlan;
use super::trades::Refusal;
use crate::error::Result;
use crate::spec::expression::Scalar;

/// What a message is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Trade,
    Retract,
    Replace,
}

/// What the expressions say of messages.
pub struct Said {
    pub id: Vec<ArrayRef>,
    pub target: Vec<ArrayRef>,
    retract: BooleanArray,
    replace: BooleanArray,
}

impl Said {
    /// Of the messages `data`.
    pub fn of(plan: &CorrectionsPlan, data: &RecordBatch) -> Result<Said> {
        let all = |scalars: &[Scalar]| scalars.iter().map(|scalar| scalar.evaluate(data)).collect::<Result<Vec<_>>>();
        let (retract, replace) = (plan.is(&plan.retract, data)?, plan.is(&plan.replace, data)?);
        Ok(Said { id: all(&plan.id)?, target: all(&plan.target)?, retract, replace })
    }

    /// What the message in this row is.
    pub fn kind(&self, row: usize) -> Kind {
        match (self.retract.value(row), self.replace.value(row)) {
            (true, _) => Kind::Retract,
            (false, true) => Kind::Replace,
            (false, false) => Kind::Trade,
        }
    }

    /// Whether a message has no id.
    pub fn is_null(&self, row: usize) -> bool {
        self.id.iter().any(|id| id.is_null(row))
    }

    /// Whether a message does not say which trade it is about.
    pub fn has_none(&self, kind: Kind, row: usize) -> bool {
        match kind {
            Kind::Trade => self.is_null(row),
            Kind::Retract | Kind::Replace => self.target.iter().any(|id| id.is_null(row)),
        }
    }
}

/// Why a message is refused.
pub enum Reason {
    NoId,
    TooLate,
    Trade(Refusal),
}

impl Reason {
    /// Whether there is no such trade, or none any more.
    pub fn is_unmatched(&self) -> bool {
        matches!(self, Reason::Trade(Refusal::Unknown | Refusal::Cancelled))
    }
}

impl From<Refusal> for Reason {
    fn from(refusal: Refusal) -> Self {
        Reason::Trade(refusal)
    }
}

impl CorrectionsPlan {
    /// The same for the dead letters.
    pub fn words(&self, reason: Reason, kind: Kind, said: &Said, row: usize) -> String {
        let show = |ids: &[ArrayRef]| {
            let one = |id: &ArrayRef| array_value_to_string(id, row).unwrap_or_default();
            ids.iter().map(one).collect::<Vec<_>>().join(", ")
        };
        let (id, target, horizon) = (show(&said.id), show(&said.target), self.horizon());
        match (reason, kind) {
            (Reason::NoId, Kind::Trade) => format!("it has no id ({})", self.text),
            (Reason::NoId, _) => "it does not say which trade it is about".to_string(),
            (Reason::TooLate, _) => {
                format!("the trade `{id}` came more than {horizon} (the horizon of corrections) behind event time")
            }
            (Reason::Trade(Refusal::Unknown), _) => format!(
                "of its key there is no trade `{target}` that it could be about: none came, or more than {horizon} (the \
                 horizon of corrections) ago"
            ),
            (Reason::Trade(Refusal::Cancelled), Kind::Trade) => {
                format!("the trade `{id}` came before, and was cancelled")
            }
            (Reason::Trade(Refusal::Cancelled), _) => format!("the trade `{target}` was cancelled before"),
            (Reason::Trade(Refusal::Repeated), _) => {
                format!("the trade `{id}` came before: an id is that of one trade for {horizon} (the horizon)")
            }
        }
    }
}
