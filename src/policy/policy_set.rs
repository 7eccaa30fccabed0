//! The policies that decide one kind of question, selected at load, with what they read.

use super::context_reads::ContextReads;
use super::decision_cache::ReadMembers;
use super::entities::Terms;
use super::load::Statement;
use super::reads::Reads;
use super::syntax;
use crate::kvs::Operation;
use cedar_policy::{ActionConstraint, Effect, Policy as Statute, PolicySet, PrincipalConstraint};
use serde_json::Value;

/// Policies that decide together, and what they read of streams and of the context.
pub(super) struct ActionPolicies {
    pub set: PolicySet,
    pub reads: Reads,
    pub context_reads: ContextReads,
    pub members: ReadMembers,
    /// Conditions on the context were taken out.
    pub reach: bool,
}

impl ActionPolicies {
    /// The policies that may decide on an operation.
    ///
    /// # Errors
    /// Cedar does not take them as a set.
    pub fn of(statements: &[Statement], operation: Operation, terms: &Terms) -> Result<Self, String> {
        let own = statements.iter().filter(|s| concerns(&s.policy, operation, terms));
        let reads = own.clone().fold(Reads::default(), |all, s| all.or(syntax::reads(&s.est)));
        let context_reads =
            own.clone().map(|s| ContextReads::of(&s.est)).fold(ContextReads::none(), ContextReads::or);
        let set =
            PolicySet::from_policies(own.map(|s| s.policy.clone())).map_err(|error| error.to_string())?;
        Ok(Self { set, reads, members: ReadMembers::of(&context_reads), context_reads, reach: false })
    }

    /// All policies without what depends on the context: permits lose those conditions, and a `forbid` that
    /// has any is left out.
    ///
    /// # Errors
    /// As [`ActionPolicies::of`].
    pub fn reach(statements: &[Statement], reads: Reads) -> Result<Self, String> {
        let set = without(statements, syntax::reads_context)?;
        let context_reads = ContextReads::none();
        Ok(Self { set, reads, members: ReadMembers::of(&context_reads), context_reads, reach: true })
    }

    /// All policies without what depends on the context or on facts that are fetched: what these refuse is
    /// refused whatever a stream's tags, ARN and account are, and at any time.
    ///
    /// # Errors
    /// As [`ActionPolicies::of`].
    pub fn outlook(statements: &[Statement]) -> Result<Self, String> {
        let varies = |body: &Value| syntax::reads_context(body) || syntax::reads(body) != Reads::default();
        let (set, context_reads) = (without(statements, varies)?, ContextReads::none());
        let members = ReadMembers::of(&context_reads);
        Ok(Self { set, reads: Reads::default(), members, context_reads, reach: true })
    }

    /// As if the whole context were read: the reference that tests compare with.
    #[cfg(test)]
    pub fn read_everything(&mut self) {
        self.context_reads = ContextReads::All;
        self.members = ReadMembers::of(&self.context_reads);
    }
}

/// The policies that count for a kind of caller, arranged by what they decide.
pub(super) struct Arranged {
    /// In the order of [`Operation::ALL`], the policies whose scope includes the operation.
    by_operation: Vec<ActionPolicies>,
    /// Decides who may get an operation in some context or other.
    pub reach: ActionPolicies,
    /// Decides who may get an operation on a stream of this name if all other facts about it fit.
    pub outlook: ActionPolicies,
    /// What all of them read.
    pub reads: Reads,
}

impl Arranged {
    /// Arranges policies.
    ///
    /// # Errors
    /// As [`ActionPolicies::of`].
    pub fn new(statements: &[Statement], terms: &Terms) -> Result<Self, String> {
        let of = |operation| ActionPolicies::of(statements, operation, terms);
        let by_operation = Operation::ALL.into_iter().map(of).collect::<Result<Vec<_>, _>>()?;
        let reads = by_operation.iter().fold(Reads::default(), |all, policies| all.or(policies.reads));
        let reach = ActionPolicies::reach(statements, reads)?;
        Ok(Self { by_operation, reach, outlook: ActionPolicies::outlook(statements)?, reads })
    }

    /// The policies that may decide on an operation.
    pub fn of(&self, operation: Operation) -> &ActionPolicies {
        let index = Operation::ALL.iter().position(|known| *known == operation).unwrap_or_default();
        &self.by_operation[index]
    }

    /// As if the whole context were read: the reference that tests compare with.
    #[cfg(test)]
    pub fn read_everything(&mut self) {
        for policies in self.by_operation.iter_mut().chain([&mut self.reach]) {
            policies.read_everything();
        }
    }
}

/// Whether a policy counts for callers without a credential: every `forbid` does, and a permit whose scope
/// names `User::"anonymous"` or `Group::"anonymous"`. A permit for everybody is one for everybody with a
/// token.
pub(super) fn counts_for_anonymous(statement: &Statement, terms: &Terms) -> bool {
    let policy = &statement.policy;
    let names_it = match policy.principal_constraint() {
        PrincipalConstraint::Eq(one) => terms.is_anonymous(&one),
        PrincipalConstraint::In(group) | PrincipalConstraint::IsIn(_, group) => terms.is_anonymous(&group),
        PrincipalConstraint::Any | PrincipalConstraint::Is(_) => false,
    };
    names_it || policy.effect() == Effect::Forbid
}

/// True unless the policy's scope rules this operation out. What is left out could not have applied.
pub(super) fn concerns(policy: &Statute, operation: Operation, terms: &Terms) -> bool {
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
        let mut pieces = syntax::pieces(&statement.est);
        let all = pieces.len();
        pieces.retain(|piece| !such(&piece.body));
        if pieces.len() < all && statement.policy.effect() == Effect::Forbid {
            continue;
        }
        let est = syntax::with_conditions(&statement.est, &pieces);
        let policy =
            Statute::from_json(Some(statement.id().clone()), est).map_err(|error| error.to_string())?;
        set.add(policy).map_err(|error| error.to_string())?;
    }
    Ok(set)
}
