//! The policies that one question is put to, sorted out at load: those whose scope names the action, with what they read.

use super::Reads;
use super::decisions::Readings;
use super::entities::Terms;
use super::est::{self, Circumstances};
use super::load::Statement;
use crate::kvs::Operation;
use cedar_policy::{ActionConstraint, Effect, Policy as Statute, PolicySet};
use serde_json::Value;

/// Policies to ask, and what they read of streams and circumstances.
pub(super) struct Book {
    pub set: PolicySet,
    pub reads: Reads,
    pub circumstances: Circumstances,
    pub readings: Readings,
    /// The policies without their circumstances.
    pub reach: bool,
}

impl Book {
    /// The policies that may decide on an operation.
    ///
    /// # Errors
    /// Cedar does not take them as a set.
    pub fn of(statements: &[Statement], operation: Operation, terms: &Terms) -> Result<Self, String> {
        let own = statements.iter().filter(|s| concerns(&s.policy, operation, terms));
        let reads = own.clone().fold(Reads::default(), |all, s| all.or(est::reads(&s.est)));
        let circumstances =
            own.clone().map(|s| Circumstances::of(&s.est)).fold(Circumstances::none(), Circumstances::or);
        let set =
            PolicySet::from_policies(own.map(|s| s.policy.clone())).map_err(|error| error.to_string())?;
        Ok(Self { set, reads, readings: Readings::of(&circumstances), circumstances, reach: false })
    }

    /// All policies without what depends on circumstances: permits lose those conditions, and a `forbid` that has any is
    /// left out.
    ///
    /// # Errors
    /// As [`Book::of`].
    pub fn reach(statements: &[Statement], reads: Reads) -> Result<Self, String> {
        let set = without(statements, est::reads_context)?;
        let circumstances = Circumstances::none();
        Ok(Self { set, reads, readings: Readings::of(&circumstances), circumstances, reach: true })
    }

    /// All policies without what depends on circumstances or on facts that are fetched: what they refuse, they refuse whatever a
    /// stream's tags, ARN and account are, and whenever it is asked.
    ///
    /// # Errors
    /// As [`Book::of`].
    pub fn outlook(statements: &[Statement]) -> Result<Self, String> {
        let varies = |body: &Value| est::reads_context(body) || est::reads(body) != Reads::default();
        let (set, circumstances) = (without(statements, varies)?, Circumstances::none());
        let readings = Readings::of(&circumstances);
        Ok(Self { set, reads: Reads::default(), readings, circumstances, reach: true })
    }

    /// As if every circumstance were read: what tests compare with.
    #[cfg(test)]
    pub fn read_everything(&mut self) {
        self.circumstances = Circumstances::All;
        self.readings = Readings::of(&self.circumstances);
    }
}

/// True unless the policy's scope rules this operation out. What is left out could not have applied.
fn concerns(policy: &Statute, operation: Operation, terms: &Terms) -> bool {
    match policy.action_constraint() {
        ActionConstraint::Any => true,
        ActionConstraint::Eq(only) => terms.is_in(operation, &only),
        ActionConstraint::In(groups) => groups.iter().any(|group| terms.is_in(operation, group)),
    }
}

/// The policies without such conditions; a `forbid` that has one is left out.
fn without(statements: &[Statement], such: impl Fn(&Value) -> bool) -> Result<PolicySet, String> {
    let mut set = PolicySet::new();
    for statement in statements {
        let mut pieces = est::pieces(&statement.est);
        let all = pieces.len();
        pieces.retain(|piece| !such(&piece.body));
        if pieces.len() < all && statement.policy.effect() == Effect::Forbid {
            continue;
        }
        let est = est::with_conditions(&statement.est, &pieces);
        let policy =
            Statute::from_json(Some(statement.id().clone()), est).map_err(|error| error.to_string())?;
        set.add(policy).map_err(|error| error.to_string())?;
    }
    Ok(set)
}
