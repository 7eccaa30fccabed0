//! May they: decisions by Cedar policies.
//!
//! [`Policy::permit`] turns a caller and a request into a [`Permit`], which owns both, or into [`Denied`],
//! which gives the reason to the audit log and not to the caller. A permit is made nowhere else, so what was
//! permitted is what is served. Nothing is allowed unless a policy permits it, any `forbid` wins, and an
//! error while deciding is a denial.
//!
//! `docs/POLICIES.md` describes the model: `User` in `Group`, `Stream` in `StreamSet`, nine actions in three
//! groups and the context of a request. The gateway fetches the facts about streams that [`Policy::reads`]
//! names.

mod config;
mod context_reads;
mod decide;
mod decision_cache;
mod entities;
mod expiry;
mod explain;
mod load;
mod local_time;
mod name_pattern;
mod note;
mod permit;
mod policy_set;
mod question;
mod reach;
mod reads;
mod schema;
mod syntax;
mod text;
mod version;
mod wording;

pub use config::{AttributeType, Attributes, Config};
pub use decide::Policy;
pub use explain::{Cited, ExplainedOutcome, Explanation, Nearest, PolicyPart};
pub use local_time::Zone;
pub use name_pattern::NamePattern;
pub use note::Severity;
pub use permit::{Denied, Permit, Reason};
pub use question::{Footage, Question, RequestContext, StreamFacts, named_by_number};
pub use reach::{Grant, Party};
pub use reads::Reads;

#[cfg(test)]
mod tests;
