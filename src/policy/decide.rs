//! The decision: a caller, a request and a scene in; a permit or the reason why not out.

use super::Reads;
use super::book::Book;
use super::config::{Attributes, Config};
use super::decisions::{About, Asked, DecisionCache};
use super::entities::{Terms, Unspeakable};
use super::est::Circumstances;
use super::load::{self, Loaded, Statement};
use super::permit::{Denied, Permit, Reason};
use super::question::{self, Question, Scene};
use crate::caller::Caller;
use crate::kvs::{ApiName, Operation, PlaybackMode, Request};
use crate::setting::Mistake;
use aws_lc_rs::digest;
use cedar_policy::{Authorizer, Decision, Effect, Entities, PolicyId};
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A set of policies in force. A reload makes another one.
pub struct Policy {
    pub(super) config: Config,
    pub(super) attributes: Attributes,
    pub(super) terms: Terms,
    pub(super) authorizer: Authorizer,
    pub(super) statements: Vec<Statement>,
    /// Per operation, in the order of [`Operation::ALL`], the policies whose scope names it.
    by_operation: Vec<Book>,
    /// Who may get an operation under some circumstances or other.
    reach: Book,
    /// Who may get an operation on a stream of this name if all else about it is right.
    outlook: Book,
    /// `id (file:line)` of each policy.
    labels: HashMap<PolicyId, Arc<str>>,
    /// Some `forbid` names ListStreams itself.
    forbids_listing: bool,
    reads: Reads,
    version: Arc<str>,
    files: Vec<PathBuf>,
    warnings: Vec<Mistake>,
    /// The groups that some policy names.
    groups: BTreeSet<Arc<str>>,
    decisions: DecisionCache,
}

/// What Cedar said.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Judgement {
    Permitted(Arc<[Arc<str>]>),
    Refused(Reason),
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
        let of = |operation| Book::of(&loaded.statements, operation, &terms);
        let by_operation = Operation::ALL.into_iter().map(of).collect::<Result<Vec<_>, _>>();
        let by_operation = by_operation.map_err(|error| internal(&error))?;
        let reads = by_operation.iter().fold(Reads::default(), |all, book| all.or(book.reads));
        let listing = terms.action(Operation::ListStreams).uid();
        Ok(Self {
            by_operation,
            reach: Book::reach(&loaded.statements, reads).map_err(|error| internal(&error))?,
            outlook: Book::outlook(&loaded.statements).map_err(|error| internal(&error))?,
            labels: loaded.statements.iter().map(|s| (s.id().clone(), label(s))).collect(),
            forbids_listing: loaded.statements.iter().any(|s| {
                s.policy.effect() == Effect::Forbid && s.policy.entity_literals().contains(&listing)
            }),
            groups: named_groups(&loaded.statements, &terms),
            reads,
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

    /// Twelve characters that differ where policies, stream sets or claims differ.
    #[must_use]
    pub fn version(&self) -> &Arc<str> {
        &self.version
    }

    /// Which facts about streams must be known to decide anything.
    #[must_use]
    pub fn reads(&self) -> Reads {
        self.reads
    }

    /// Which must be known to answer this operation. Descriptions also tell what else the caller may do, and an
    /// endpoint is for whoever may do something there.
    #[must_use]
    pub fn reads_for(&self, operation: Operation) -> Reads {
        match operation {
            Operation::DescribeStream | Operation::ListStreams | Operation::GetDataEndpoint => self.reads,
            operation => self.policies_of(operation).reads,
        }
    }

    /// Whether some policy names this group: belonging to any other decides nothing under this version.
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

    /// True if nobody may do anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.statements.is_empty()
    }

    /// What is strange in the policies and still allowed, such as texts in mixed scripts.
    #[must_use]
    pub fn warnings(&self) -> &[Mistake] {
        &self.warnings
    }

    /// True if no fact that is not known yet could lead to a permit: then nobody needs to be asked for it, and whether there is
    /// such a stream remains untold.
    #[must_use]
    pub fn is_hopeless(&self, caller: &Arc<Caller>, request: &Request, scene: &Scene) -> bool {
        let judgement = self.judge_request(caller, request, scene);
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
        scene: &Scene,
    ) -> Result<Permit, Denied> {
        let request = request.into();
        match self.judge_request(&caller, &request, scene) {
            Judgement::Permitted(by) => Ok(Permit::new(caller, request, by)),
            Judgement::Refused(reason) => Err(Denied::new(caller, request, reason)),
        }
    }

    /// True if the caller may. For [`Operation::ListStreams`] with a stream in the scene: may the caller see it in
    /// a list, which needs DescribeStream and no `forbid` of ListStreams.
    #[must_use]
    pub fn allows(&self, caller: &Arc<Caller>, question: &Question, scene: &Scene) -> bool {
        matches!(self.judge(caller, question, scene), Judgement::Permitted(_))
    }

    fn judge_request(&self, caller: &Arc<Caller>, request: &Request, scene: &Scene) -> Judgement {
        let other = Judgement::Refused(Reason::OtherStream);
        match (request.stream(), &scene.stream) {
            (Some(named), Some(facts)) if !facts.describe(named) => return other,
            (Some(_), None) => return other,
            // Whoever is authenticated may ask; the answer is filtered.
            (None, _) => return Judgement::Permitted(Arc::new([])),
            (Some(_), Some(_)) => {}
        }
        let question = Question::of(request, scene.now);
        if let Some(footage) = question::stray(request, scene.now) {
            let mode = Some(PlaybackMode::OnDemand);
            let judgement = self.judge(caller, &Question { footage, mode, ..question }, scene);
            if matches!(judgement, Judgement::Refused(_)) {
                return judgement;
            }
        }
        self.judge(caller, &question, scene)
    }

    /// Decides a question about a caller, whoever it came from.
    pub(super) fn judge(&self, caller: &Arc<Caller>, question: &Question, scene: &Scene) -> Judgement {
        let decided = match question.operation {
            Operation::ListStreams if scene.stream.is_none() => return Judgement::Permitted(Arc::new([])),
            Operation::ListStreams => self.judge_listing(caller, question, scene),
            Operation::GetDataEndpoint => self.judge_endpoint(caller, question, scene),
            operation => self.ask(self.policies_of(operation), caller, operation, question, scene),
        };
        decided
            .unwrap_or_else(|error| Judgement::Refused(Reason::Failed(Arc::new([error.to_string().into()]))))
    }

    /// May a stream be seen in a list: DescribeStream decides, and whoever forbids ListStreams by name is heard.
    fn judge_listing(
        &self,
        caller: &Arc<Caller>,
        question: &Question,
        scene: &Scene,
    ) -> Result<Judgement, Unspeakable> {
        if self.forbids_listing {
            let operation = Operation::ListStreams;
            // A `forbid` that cannot be asked yet is heard: nothing here needs a permit, so its book cannot tell.
            let lacks = |stream| self.policies_of(operation).reads.missing(stream);
            if let Some(fact) = scene.stream.as_ref().and_then(lacks) {
                return Ok(Judgement::Refused(Reason::Unknown(fact)));
            }
            let listing = self.ask(self.policies_of(operation), caller, operation, question, scene)?;
            if matches!(&listing, Judgement::Refused(reason) if *reason != Reason::NoPermit) {
                return Ok(listing);
            }
        }
        let operation = Operation::DescribeStream;
        self.ask(self.policies_of(operation), caller, operation, question, scene)
    }

    /// May the caller learn an endpoint: our own address. SDKs ask for it ahead of every call, so whoever may make
    /// that call under some circumstances may ask, beside those who may GetDataEndpoint itself.
    fn judge_endpoint(
        &self,
        caller: &Arc<Caller>,
        question: &Question,
        scene: &Scene,
    ) -> Result<Judgement, Unspeakable> {
        let operation = Operation::GetDataEndpoint;
        let own = self.ask(self.policies_of(operation), caller, operation, question, scene)?;
        match (&own, question.endpoint_of.and_then(operation_behind)) {
            (Judgement::Refused(Reason::NoPermit), Some(behind)) => {
                self.ask(&self.reach, caller, behind, question, scene)
            }
            _ => Ok(own),
        }
    }

    pub(super) fn policies_of(&self, operation: Operation) -> &Book {
        let index = Operation::ALL.iter().position(|known| *known == operation).unwrap_or_default();
        &self.by_operation[index]
    }

    /// What these policies say: what Cedar said when it was put the very same to them, or says now.
    fn ask(
        &self,
        book: &Book,
        caller: &Arc<Caller>,
        operation: Operation,
        question: &Question,
        scene: &Scene,
    ) -> Result<Judgement, Unspeakable> {
        let cedar = || self.ask_cedar(book, caller, operation, question, scene);
        let Some(told) = book.readings.told(question, scene) else { return cedar() };
        let about = if book.reach { About::Reach(operation, told) } else { About::Told(operation, told) };
        let asked = Asked { caller, about, stream: scene.stream.as_ref() };
        self.decisions.get_or_decide(&asked, cedar)
    }

    /// Puts it to Cedar. Any error is a refusal, since Cedar leaves out a `forbid` that fails.
    pub(super) fn ask_cedar(
        &self,
        book: &Book,
        caller: &Arc<Caller>,
        operation: Operation,
        question: &Question,
        scene: &Scene,
    ) -> Result<Judgement, Unspeakable> {
        let Some(stream) = &scene.stream else { return Ok(Judgement::Refused(Reason::OtherStream)) };
        if let Some(fact) = book.reads.missing(stream) {
            let outlook = self.ask_cedar(&self.outlook, caller, operation, question, scene)?;
            let hopeless = matches!(outlook, Judgement::Refused(Reason::NoPermit | Reason::Forbidden(_)));
            return Ok(if hopeless { outlook } else { Judgement::Refused(Reason::Unknown(fact)) });
        }
        let (request, entities) = self.put(caller, operation, question, scene, &book.circumstances)?;
        let response = self.authorizer.is_authorized(&request, &book.set, &entities);
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

    /// A question in Cedar's terms, as far as these circumstances are read.
    pub(super) fn put(
        &self,
        caller: &Arc<Caller>,
        operation: Operation,
        question: &Question,
        scene: &Scene,
        reads: &Circumstances,
    ) -> Result<(cedar_policy::Request, Entities), Unspeakable> {
        let stream = scene.stream.as_ref().ok_or_else(|| Unspeakable::new("there is no stream to judge"))?;
        self.terms.request(
            self.terms.caller(caller, &self.attributes)?,
            operation,
            self.terms.stream(stream, &self.config)?,
            self.terms.context(caller, question, scene, reads)?,
        )
    }

    /// Puts every circumstance to Cedar, read or not, and remembers nothing: what tests compare with.
    #[cfg(test)]
    pub(super) fn with_every_circumstance(mut self) -> Self {
        for book in self.by_operation.iter_mut().chain([&mut self.reach]) {
            book.read_everything();
        }
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

fn label(statement: &Statement) -> Arc<str> {
    let file = statement.path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    format!("{} ({file}:{})", statement.name(), statement.line).into()
}

fn version(config: &Config, loaded: &Loaded) -> String {
    let mut hash = digest::Context::new(&digest::SHA256);
    let mut part = |text: &str| {
        hash.update(&(text.len() as u64).to_be_bytes());
        hash.update(text.as_bytes());
    };
    part(&loaded.schema_text);
    for (name, patterns) in &config.stream_sets {
        part(name);
        patterns.iter().for_each(|pattern| part(pattern));
        part("");
    }
    for (path, text) in &loaded.files {
        // The name, not the folder: replicas may keep the same policies in different places.
        part(&Path::new(path).file_name().map(|name| name.to_string_lossy()).unwrap_or_default());
        part(text);
    }
    hash.finish().as_ref()[..6].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The groups that policies name, in scopes and in conditions.
fn named_groups(statements: &[Statement], terms: &Terms) -> BTreeSet<Arc<str>> {
    let literals = statements.iter().flat_map(|statement| statement.policy.entity_literals());
    let groups = literals.filter(|literal| terms.is_group(literal));
    groups.map(|group| group.id().unescaped().into()).collect()
}
