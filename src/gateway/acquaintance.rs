//! What the last request on a connection established. Most connections carry one caller who asks for like things, so that
//! the next request costs a few comparisons where it would cost hashes and look-ups.
//!
//! Nothing here is believed: each memory belongs to the room that filled it, and that room says whether it still holds.

use crate::identity::LastToken;
use crate::policy::LastDecision;
use crate::telemetry::audit::Repeats;

/// What is remembered of a connection.
#[derive(Default)]
pub struct Acquaintance {
    /// Whose token came last.
    pub token: LastToken,
    /// What he was then permitted or refused.
    pub decision: LastDecision,
    /// How often that was told.
    pub told: Repeats,
}
