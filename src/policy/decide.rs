//! The decision: from a caller, a request and its context to a permit, or to the reason of a denial.

use super::config::{Attributes, Config};
use super::context_reads::ContextReads;
use super::decision_cache::{About, DecisionCache, KeyRef};
use super::entities::{NotExpressible, Terms};
use super::load::{self, Statement};
use super::note::Note;
use super::permit::{Denied, Judgement, Permit, Reason};
use super::policy_set::{ActionPolicies, Arranged, counts_for_anonymous};
use super::question::{self, Footage, Question, RequestContext};
use super::reads::Reads;
use super::version::version;
use crate::caller::Caller;
use crate::kvs::{ApiName, Operation, PlaybackMode, Request, TimeRange, Timestamp};
use crate::setting::Mistake;
use cedar_policy::{Authorizer, Decision, Effect, Entities, PolicyId};
use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

/// A set of policies in force. A reload makes another one.
pub struct Policy {
    pub(super) config: Config,
    pub(super) attributes: Attributes,
    pub(super) terms: Terms,
    pub(super) authorizer: Authorizer,
    pub(super) statements: Vec<Statement>,
    /// All policies, for callers with a token.
    all: Arranged,
    /// Those that count for callers without a credential.
    anonymous: Arranged,
    /// Whether some stream may be described without a credential, so that there is a list to ask for.
    anonymous_lists: bool,
    /// `id (file:line)` of each policy.
    labels: HashMap<PolicyId, Arc<str>>,
    /// What their authors say of them, by label; without those that say nothing.
    notes: HashMap<Arc<str>, Note>,
    /// Whether a `forbid` names ListStreams itself.
    forbids_listing: bool,
    version: Arc<str>,
    files: Vec<PathBuf>,
    warnings: Vec<Mistake>,
    /// The groups that policies name.
    groups: BTreeSet<Arc<str>>,
    decisions: DecisionCache,
}

impl Policy {
    /// Reads and checks the policies.
    ///
    /// # Errors
    /// Every mistake that was found, those in policies with file, line and column.
    pub fn load(config: &Config, attributes: &Attributes) -> Result<Self, Vec<Mistake>> {
        let loaded = load::load(config, attributes)?;
        let internal = |error: &dyn std::fmt::Display| vec![Mistake::at("policy", error.to_string())];
        let terms = Terms::new(&loaded.schema).map_err(|error| internal(&error))?;
        let arrange =
            |statements: &[Statement]| Arranged::new(statements, &terms).map_err(|error| internal(&error));
        let counts = |s: &&Statement| counts_for_anonymous(s, &terms);
        let for_anonymous: Vec<_> = loaded.statements.iter().filter(counts).cloned().collect();
        let anonymous = arrange(&for_anonymous)?;
        let described = &anonymous.of(Operation::DescribeStream).set;
        let anonymous_lists = described.policies().any(|policy| policy.effect() == Effect::Permit);
        let listing = terms.action(Operation::ListStreams).uid();
        Ok(Self {
            all: arrange(&loaded.statements)?,
            anonymous,
            anonymous_lists,
            labels: loaded.statements.iter().map(|s| (s.id().clone(), label(s))).collect(),
            notes: loaded
                .statements
                .iter()
                .filter(|s| s.note != Note::default())
                .map(|s| (label(s), s.note.clone()))
                .collect(),
            forbids_listing: loaded.statements.iter().any(|s| {
                s.policy.effect() == Effect::Forbid && s.policy.entity_literals().contains(&listing)
            }),
            groups: named_groups(&loaded.statements, &terms),
            version: version(config, &loaded).into(),
            files: loaded.files.into_iter().map(|(path, _)| path).collect(),
            warnings: loaded.warnings,
            statements: loaded.statements,
            authorizer: Authorizer::new(),
            config: config.clone(),
            attributes: attributes.clone(),
            decisions: DecisionCache::new(),
            terms,
        })
    }

    /// Twelve characters that differ where policies, stream sets, name patterns, the time zone or claims
    /// differ.
    #[must_use]
    pub fn version(&self) -> &Arc<str> {
        &self.version
    }

    /// Which facts about streams must be known to decide anything.
    #[must_use]
    pub fn reads(&self) -> Reads {
        self.all.reads
    }

    /// Which of them must be known to answer this operation. Descriptions also list what else the caller may
    /// do, and an endpoint is for callers that may do something there.
    #[must_use]
    pub fn reads_for(&self, operation: Operation) -> Reads {
        match operation {
            Operation::DescribeStream | Operation::ListStreams | Operation::GetDataEndpoint => self.all.reads,
            operation => self.all.of(operation).reads,
        }
    }

    /// Whether some policy names this group. Membership in any other decides nothing under this version.
    #[must_use]
    pub fn names_group(&self, group: &str) -> bool {
        self.groups.contains(group)
    }

    /// The files that were read.
    #[must_use]
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// How many policies are in force.
    #[must_use]
    pub fn len(&self) -> usize {
        self.statements.len()
    }

    /// True if there are no policies, so that nothing is permitted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.statements.is_empty()
    }

    /// What is suspicious in the policies and still allowed, such as texts in mixed scripts.
    #[must_use]
    pub fn warnings(&self) -> &[Mistake] {
        &self.warnings
    }

    /// True if no fact that is still unknown could lead to a permit. Then none needs to be fetched, and the
    /// answer does not reveal whether there is such a stream.
    #[must_use]
    pub fn is_denied_whatever_the_facts(
        &self,
        caller: &Arc<Caller>,
        request: &Request,
        context: &RequestContext,
    ) -> bool {
        let judgement = self.judge_request(caller, request, context);
        matches!(judgement, Judgement::Refused(reason) if !matches!(reason, Reason::Unknown(_)))
    }

    /// Decides. The same question is put to Cedar once.
    ///
    /// # Errors
    /// Not permitted, or forbidden, or not decidable; [`Denied::reason`] says which.
    pub fn permit(
        &self,
        caller: Arc<Caller>,
        request: impl Into<Box<Request>>,
        context: &RequestContext,
    ) -> Result<Permit, Denied> {
        let request = request.into();
        match self.judge_request(&caller, &request, context) {
            Judgement::Permitted(by) => {
                let (_, severity) = Note::all(self.notes_of(&by));
                Ok(Permit::new(caller, request, by, severity))
            }
            Judgement::Refused(reason) => Err(self.denied(caller, request, reason)),
        }
    }

    /// Decides on the fragment that a permitted request for a packaged segment leads to, by the fragment's
    /// own time.
    ///
    /// # Errors
    /// Not permitted.
    pub fn permit_fragment(
        &self,
        permit: &Permit,
        time: Timestamp,
        context: &RequestContext,
    ) -> Result<(), Denied> {
        let (caller, request) = (permit.caller(), permit.request());
        let footage = Footage::Range(TimeRange { start: time, end: Some(time) });
        let question = Question { footage, ..Question::of(request, context.now) };
        match self.judge(caller, &question, context) {
            Judgement::Permitted(_) => Ok(()),
            Judgement::Refused(reason) => Err(self.denied(caller.clone(), Box::new(request.clone()), reason)),
        }
    }

    fn denied(&self, caller: Arc<Caller>, request: Box<Request>, reason: Reason) -> Denied {
        let policies: Vec<Arc<str>> = reason.policies().to_vec();
        Denied::new(caller, request, reason, self.notes_of(&policies))
    }

    fn notes_of<'a>(&'a self, labels: &'a [Arc<str>]) -> impl Iterator<Item = &'a Note> {
        labels.iter().filter_map(|label| self.notes.get(label))
    }

    /// True if the caller may. For [`Operation::ListStreams`] with a stream in the context: may the caller
    /// see it in a list, which needs DescribeStream and no `forbid` of ListStreams.
    #[must_use]
    pub fn allows(&self, caller: &Arc<Caller>, question: &Question, context: &RequestContext) -> bool {
        matches!(self.judge(caller, question, context), Judgement::Permitted(_))
    }

    fn judge_request(&self, caller: &Arc<Caller>, request: &Request, context: &RequestContext) -> Judgement {
        let other = Judgement::Refused(Reason::OtherStream);
        match (request.stream(), &context.stream) {
            (Some(named), Some(facts)) if !facts.describe(named) => return other,
            (Some(_), None) => return other,
            (None, _) => return self.judge_list(caller),
            (Some(_), Some(_)) => {}
        }
        let question = Question::of(request, context.now);
        if let Some(footage) = question::stray(request, context.now) {
            let mode = Some(PlaybackMode::OnDemand);
            let judgement = self.judge(caller, &Question { footage, mode, ..question }, context);
            if matches!(judgement, Judgement::Refused(_)) {
                return judgement;
            }
        }
        self.judge(caller, &question, context)
    }

    /// Decides a question.
    pub(super) fn judge(
        &self,
        caller: &Arc<Caller>,
        question: &Question,
        context: &RequestContext,
    ) -> Judgement {
        let decided = match question.operation {
            Operation::ListStreams if context.stream.is_none() => return self.judge_list(caller),
            Operation::ListStreams => self.judge_listing(caller, question, context),
            Operation::GetDataEndpoint => self.judge_endpoint(caller, question, context),
            operation => self.ask(self.arranged(caller).of(operation), caller, operation, question, context),
        };
        decided
            .unwrap_or_else(|error| Judgement::Refused(Reason::Failed(Arc::new([error.to_string().into()]))))
    }

    /// May a stream be seen in a list? DescribeStream decides, and a `forbid` that names ListStreams counts.
    fn judge_listing(
        &self,
        caller: &Arc<Caller>,
        question: &Question,
        context: &RequestContext,
    ) -> Result<Judgement, NotExpressible> {
        if self.forbids_listing {
            let operation = Operation::ListStreams;
            // A `forbid` that reads an unknown fact counts: no permit is needed here, so nothing else would
            // refuse.
            let lacks = |stream| self.arranged(caller).of(operation).reads.missing(stream);
            if let Some(fact) = context.stream.as_ref().and_then(lacks) {
                return Ok(Judgement::Refused(Reason::Unknown(fact)));
            }
            let listing =
                self.ask(self.arranged(caller).of(operation), caller, operation, question, context)?;
            if matches!(&listing, Judgement::Refused(reason) if *reason != Reason::NoPermit) {
                return Ok(listing);
            }
        }
        let operation = Operation::DescribeStream;
        self.ask(self.arranged(caller).of(operation), caller, operation, question, context)
    }

    /// May the caller learn an endpoint, which is our own address? SDKs request it before every call, and old
    /// ones with another `APIName` than that of the call they make. So callers that may make any call about
    /// the stream in some context may have it, besides those that may call GetDataEndpoint itself.
    fn judge_endpoint(
        &self,
        caller: &Arc<Caller>,
        question: &Question,
        context: &RequestContext,
    ) -> Result<Judgement, NotExpressible> {
        let operation = Operation::GetDataEndpoint;
        let mut refused =
            self.ask(self.arranged(caller).of(operation), caller, operation, question, context)?;
        if !matches!(refused, Judgement::Refused(Reason::NoPermit)) {
            return Ok(refused);
        }
        // The API that is asked for comes first: nearly always it decides.
        let asked = question.endpoint_of.and_then(operation_behind);
        let others =
            Operation::ALL.into_iter().filter(|other| is_about_a_stream(*other) && Some(*other) != asked);
        for behind in asked.into_iter().chain(others) {
            match self.ask(&self.arranged(caller).reach, caller, behind, question, context)? {
                permitted @ Judgement::Permitted(_) => return Ok(permitted),
                // The fact may permit it once it is known.
                unknown @ Judgement::Refused(Reason::Unknown(_)) => refused = unknown,
                Judgement::Refused(_) => {}
            }
        }
        Ok(refused)
    }

    /// The policies that count for a caller.
    pub(super) fn arranged(&self, caller: &Caller) -> &Arranged {
        if caller.is_anonymous() { &self.anonymous } else { &self.all }
    }

    /// Whether a policy counts for a caller.
    pub(super) fn counts_for(&self, statement: &Statement, caller: &Caller) -> bool {
        !caller.is_anonymous() || counts_for_anonymous(statement, &self.terms)
    }

    /// Whoever has a token may ask for lists, which show what may be described. Without one there must be
    /// something that could be shown.
    fn judge_list(&self, caller: &Caller) -> Judgement {
        if caller.is_anonymous() && !self.anonymous_lists {
            return Judgement::Refused(Reason::NoPermit);
        }
        Judgement::Permitted(Arc::new([]))
    }

    /// The decision of these policies, from the cache or by Cedar.
    fn ask(
        &self,
        policies: &ActionPolicies,
        caller: &Arc<Caller>,
        operation: Operation,
        question: &Question,
        context: &RequestContext,
    ) -> Result<Judgement, NotExpressible> {
        let cedar = || self.ask_cedar(policies, caller, operation, question, context);
        let Some(values) = policies.members.of_question(question, context, &self.config.time_zone) else {
            return cedar();
        };
        let about =
            if policies.reach { About::Reach(operation, values) } else { About::Request(operation, values) };
        let key = KeyRef { caller, about, stream: context.stream.as_ref() };
        self.decisions.get_or_decide(&key, cedar)
    }

    /// Asks Cedar. Any error is a refusal, since Cedar leaves out a `forbid` that fails.
    pub(super) fn ask_cedar(
        &self,
        policies: &ActionPolicies,
        caller: &Arc<Caller>,
        operation: Operation,
        question: &Question,
        context: &RequestContext,
    ) -> Result<Judgement, NotExpressible> {
        let Some(stream) = &context.stream else { return Ok(Judgement::Refused(Reason::OtherStream)) };
        if let Some(fact) = policies.reads.missing(stream) {
            let outlook =
                self.ask_cedar(&self.arranged(caller).outlook, caller, operation, question, context)?;
            let hopeless = matches!(outlook, Judgement::Refused(Reason::NoPermit | Reason::Forbidden(_)));
            return Ok(if hopeless { outlook } else { Judgement::Refused(Reason::Unknown(fact)) });
        }
        let (request, entities) = self.put(caller, operation, question, context, &policies.context_reads)?;
        let response = self.authorizer.is_authorized(&request, &policies.set, &entities);
        let diagnostics = response.diagnostics();
        let errors: Arc<[Arc<str>]> = diagnostics
            .errors()
            .map(|error| match error {
                cedar_policy::AuthorizationError::PolicyEvaluationError(inner) => {
                    format!("{}: {}", self.label(inner.policy_id()), inner.inner()).into()
                }
            })
            .collect();
        if !errors.is_empty() {
            return Ok(Judgement::Refused(Reason::Failed(errors)));
        }
        let mut by: Vec<Arc<str>> = diagnostics.reason().map(|id| self.label(id)).collect();
        by.sort();
        Ok(match (response.decision(), by.is_empty()) {
            (Decision::Allow, _) => Judgement::Permitted(by.into()),
            (Decision::Deny, true) => Judgement::Refused(Reason::NoPermit),
            (Decision::Deny, false) => Judgement::Refused(Reason::Forbidden(by.into())),
        })
    }

    /// A question in Cedar's terms, with the members of the context that are read.
    pub(super) fn put(
        &self,
        caller: &Arc<Caller>,
        operation: Operation,
        question: &Question,
        context: &RequestContext,
        reads: &ContextReads,
    ) -> Result<(cedar_policy::Request, Entities), NotExpressible> {
        let stream =
            context.stream.as_ref().ok_or_else(|| NotExpressible::new("there is no stream to judge"))?;
        self.terms.request(
            self.terms.caller(caller, &self.attributes)?,
            operation,
            self.terms.stream(stream, &self.config)?,
            self.terms.context(caller, question, context, reads, &self.config.time_zone)?,
        )
    }

    /// Gives Cedar the whole context, read or not, and caches nothing: the reference that tests compare with.
    #[cfg(test)]
    pub(super) fn with_whole_context(mut self) -> Self {
        self.all.read_everything();
        self.anonymous.read_everything();
        self
    }

    pub(super) fn label(&self, id: &PolicyId) -> Arc<str> {
        self.labels.get(id).cloned().unwrap_or_else(|| AsRef::<str>::as_ref(id).into())
    }
}

/// The operation that an API name stands for, if kvs-edge answers it.
fn operation_behind(api: ApiName) -> Option<Operation> {
    Operation::ALL.into_iter().find(|operation| operation.api_name() == Some(api))
}

/// Whether an operation is about one stream, and GetDataEndpoint may lead to it.
fn is_about_a_stream(operation: Operation) -> bool {
    !matches!(operation, Operation::GetDataEndpoint | Operation::ListStreams)
}

fn label(statement: &Statement) -> Arc<str> {
    let file = statement.path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    format!("{} ({file}:{})", statement.name(), statement.line).into()
}

/// The groups that policies name, in scopes and in conditions.
fn named_groups(statements: &[Statement], terms: &Terms) -> BTreeSet<Arc<str>> {
    let literals = statements.iter().flat_map(|statement| statement.policy.entity_literals());
    let groups = literals.filter(|literal| terms.is_group(literal));
    groups.map(|group| group.id().unescaped().into()).collect()
}
