//! From the text of a dataflow file to a [`Spec`] (what was written), and from there to a [`Plan`] (checked and typed).

mod expand;
mod explain;
pub mod expression;
mod fields;
mod masks;
mod mistakes;
mod plan;
mod read;
pub mod schema;
mod select;
mod template;
mod url;
mod values;

pub use explain::{Format, explain};
pub use fields::{Addresses, Field, Fields, FromToml, Named, OneOrMany, Raw, Secret, expected};
pub use masks::masked;
pub use mistakes::{At, Findings, Mistake, Mistakes, Span, did_you_mean, nearest};
pub use plan::{
    Check, DELETE, Edge, EdgeKind, INSERT, Input, JobPlan, OP, Plan, PlannedNode, Port, REPLACE, REVISION, Role,
};
pub use read::{DeadLettersTo, Files, JobSpec, NodeSpec, Spec, TestSpec};
pub use select::{Projection, Refused, Select, surviving};
pub use template::{Part, Template, split};
pub use url::Url;
pub use values::{Size, nanoseconds};
