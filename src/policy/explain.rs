//! Why a decision came out as it did: the policies that made it, and for a denial the permits that came
//! nearest, part by part.
//!
//! Each part of a permit, its scope and the terms of its conditions, is evaluated by Cedar as a policy of its
//! own, so that an explanation cannot disagree with the decision. This is for the command line and is slower
//! than a decision.

use super::context_reads::ContextReads;
use super::decide::Policy;
use super::entities::NotExpressible;
use super::load::Statement;
use super::permit::{Judgement, Reason};
use super::question::{Question, RequestContext};
use super::{syntax, wording};
use crate::caller::{Attribute, Caller};
use crate::kvs::Operation;
use cedar_policy::{Decision, Effect, Entities, Policy as Statute, PolicySet, Request};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// A decision and its reasons.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The decision.
    pub verdict: ExplainedOutcome,
    /// The policies that made it.
    pub decided_by: Vec<Cited>,
    /// For a denial that no `forbid` made: the permits that came nearest, at most three, nearest first.
    pub nearest: Vec<Nearest>,
    /// What the conditions could read, such as `context.start_age`, as Cedar writes it.
    pub facts: BTreeMap<String, String>,
}

/// The decision.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ExplainedOutcome {
    /// It is permitted.
    Permitted,
    /// It is denied, for this reason.
    Denied(Reason),
}

/// A policy and where it is written.
#[derive(Clone, Debug)]
pub struct Cited {
    /// Its id.
    pub id: String,
    /// Its file.
    pub path: Arc<Path>,
    /// Its first line.
    pub line: usize,
    /// As it is written.
    pub text: Arc<str>,
}

/// A permit that did not apply.
#[derive(Clone, Debug)]
pub struct Nearest {
    /// The permit.
    pub policy: Cited,
    /// Its scope and conditions, in order.
    pub parts: Vec<PolicyPart>,
}

/// A part of a policy that must hold.
#[derive(Clone, Debug)]
pub struct PolicyPart {
    /// As Cedar writes it.
    pub text: String,
    /// Whether it holds, or how it failed.
    pub holds: Result<bool, String>,
    /// The facts that it reads, as names of [`Explanation::facts`].
    pub reads: Vec<String>,
}

impl Policy {
    /// Decides, and says why.
    #[must_use]
    pub fn explain(
        &self,
        caller: &Arc<Caller>,
        question: &Question,
        context: &RequestContext,
    ) -> Explanation {
        let judgement = self.judge(caller, question, context);
        let facts = self.facts(caller, question, context);
        let named = |labels: &[Arc<str>]| {
            let of = |s: &&Statement| labels.iter().any(|label| **label == *self.label(s.id()));
            self.statements.iter().filter(of).map(cited).collect()
        };
        match judgement {
            Judgement::Permitted(by) => Explanation {
                verdict: ExplainedOutcome::Permitted,
                decided_by: named(&by),
                nearest: Vec::new(),
                facts,
            },
            Judgement::Refused(reason) => {
                let nearest = match reason {
                    Reason::NoPermit => self.nearest(caller, question, context).unwrap_or_default(),
                    _ => Vec::new(),
                };
                let decided_by = named(reason.policies());
                Explanation { verdict: ExplainedOutcome::Denied(reason), decided_by, nearest, facts }
            }
        }
    }

    fn nearest(
        &self,
        caller: &Arc<Caller>,
        question: &Question,
        context: &RequestContext,
    ) -> Result<Vec<Nearest>, NotExpressible> {
        let operation = judged_as(question.operation);
        // The whole context, since the parts of other operations' policies are evaluated too.
        let all = ContextReads::All;
        let (request, entities) = self.put(caller, operation, question, context, &all)?;
        let counts = |s: &&Statement| s.policy.effect() == Effect::Permit && self.counts_for(s, caller);
        let permits = self.statements.iter().filter(counts);
        let mut all: Vec<Nearest> = permits
            .map(|statement| Nearest {
                policy: cited(statement),
                parts: parts(&statement.est)
                    .into_iter()
                    .map(|(text, est)| {
                        let holds = self.holds(&est, &request, &entities);
                        PolicyPart { text, holds, reads: reads(&est) }
                    })
                    .collect(),
            })
            .collect();
        all.sort_by_key(|near| near.parts.iter().filter(|part| part.holds != Ok(true)).count());
        all.truncate(3);
        Ok(all)
    }

    /// Whether a policy that stands alone permits, or why it cannot be evaluated.
    pub(super) fn holds(&self, est: &Value, request: &Request, entities: &Entities) -> Result<bool, String> {
        let policy = Statute::from_json(None, est.clone()).map_err(|error| error.to_string())?;
        let set = PolicySet::from_policies([policy]).map_err(|error| error.to_string())?;
        let response = self.authorizer.is_authorized(request, &set, entities);
        match response.diagnostics().errors().next() {
            Some(cedar_policy::AuthorizationError::PolicyEvaluationError(error)) => {
                Err(error.inner().to_string())
            }
            None => Ok(response.decision() == Decision::Allow),
        }
    }

    fn facts(
        &self,
        caller: &Arc<Caller>,
        question: &Question,
        context: &RequestContext,
    ) -> BTreeMap<String, String> {
        let quoted = |text: &str| format!("{text:?}");
        let list =
            |items: &mut dyn Iterator<Item = String>| format!("[{}]", items.collect::<Vec<_>>().join(", "));
        let ages = question.footage.ages(context.now);
        let (start, end) = question.footage.bounds(context.now);
        let zone = &self.config.time_zone;
        let local = |at| {
            let local = zone.local(at);
            format!(
                "{{hour: {}, minute: {}, weekday: {}, date: datetime(\"{}\")}} in {}",
                local.hour,
                local.minute,
                local.weekday,
                local.date(),
                zone.name()
            )
        };
        let operation = judged_as(question.operation);
        let groups = ["View", "Download", "Describe"]
            .into_iter()
            .filter(|group| self.terms.is_in_group(operation, group))
            .map(|group| format!("Action::{group:?}"));
        let mut facts = BTreeMap::from([
            ("action".to_owned(), within(format!("Action::{:?}", operation.name()), groups)),
            (
                "principal".to_owned(),
                within(
                    format!("User::{:?}", caller.policy_subject()),
                    caller.groups.iter().map(|group| format!("Group::{group:?}")),
                ),
            ),
            ("context.mode".to_owned(), quoted(question.mode().as_str())),
            ("context.start_age".to_owned(), ages.start.to_string()),
            ("context.end_age".to_owned(), ages.end.to_string()),
            ("context.duration".to_owned(), ages.duration.to_string()),
            ("context.source_ip".to_owned(), format!("ip(\"{}\")", context.source_ip.to_canonical())),
            ("context.now".to_owned(), format!("datetime(\"{}\")", context.now)),
            ("context.local".to_owned(), local(context.now)),
            ("context.local_start".to_owned(), local(start)),
            ("context.local_end".to_owned(), local(end)),
            ("context.start".to_owned(), format!("datetime(\"{start}\")")),
            ("context.end".to_owned(), format!("datetime(\"{end}\")")),
            ("context.issuer".to_owned(), quoted(&caller.issuer)),
        ]);
        for name in self.attributes.0.keys() {
            let value = caller.attributes.get(name).map(|value| match value {
                Attribute::Bool(truth) => truth.to_string(),
                Attribute::Long(number) => number.to_string(),
                Attribute::Text(text) => quoted(text),
                Attribute::Texts(texts) => list(&mut texts.iter().map(quoted)),
                Attribute::Ip(network) => format!("ip({network:?})"),
                Attribute::Datetime(at) => format!("datetime(\"{at}\")"),
            });
            facts.insert(format!("principal.{name}"), value.unwrap_or_else(|| "absent".into()));
        }
        if let Some(stream) = &context.stream {
            let unknown = || "not known".to_owned();
            let sets = self.config.sets_of(stream.name.as_str()).map(|set| format!("StreamSet::{set:?}"));
            let resource = within(format!("Stream::{:?}", stream.name.as_str()), sets);
            facts.insert("resource".into(), resource);
            facts.insert("resource.name".into(), quoted(stream.name.as_str()));
            let parts = self.config.parts_of(stream.name.as_str());
            let parts: Vec<_> = parts.iter().map(|(name, piece)| format!("{name}: {piece:?}")).collect();
            facts.insert("resource.part".into(), format!("{{{}}}", parts.join(", ")));
            facts.insert("resource.region".into(), quoted(&stream.region));
            let account = stream.account.as_deref().map_or_else(unknown, quoted);
            facts.insert("resource.account".into(), account);
            let arn = stream.arn.as_ref().map_or_else(unknown, |arn| quoted(arn.as_str()));
            facts.insert("resource.arn".into(), arn);
            let tags = stream.tags.as_ref().map_or_else(unknown, |tags| {
                list(&mut tags.iter().map(|(key, value)| format!("\"{key}={value}\"")))
            });
            facts.insert("resource.tags".into(), tags);
        }
        facts
    }
}

/// Which streams a list shows is decided as DescribeStream.
fn judged_as(operation: Operation) -> Operation {
    if operation == Operation::ListStreams { Operation::DescribeStream } else { operation }
}

fn within(own: String, groups: impl Iterator<Item = String>) -> String {
    let groups: Vec<String> = groups.collect();
    if groups.is_empty() { own } else { format!("{own} in {}", groups.join(", ")) }
}

fn cited(statement: &Statement) -> Cited {
    Cited {
        id: statement.name().to_owned(),
        path: statement.path.clone(),
        line: statement.line,
        text: statement.text.clone(),
    }
}

/// The parts of a policy, each with its text and as a policy that holds where the part does.
fn parts(policy: &Value) -> Vec<(String, Value)> {
    let anything = json!({"op": "All"});
    let bare = syntax::without_scope(policy);
    let mut parts = Vec::new();
    for slot in ["principal", "action", "resource"] {
        if policy[slot] != anything {
            let mut alone = bare.clone();
            alone[slot] = policy[slot].clone();
            let text = wording::scope(policy, slot).unwrap_or_else(|| scope_text(&alone, slot));
            parts.push((text, alone));
        }
    }
    for piece in syntax::pieces(policy) {
        let alone = syntax::with_conditions(&bare, std::slice::from_ref(&piece));
        let text = wording::expression(&piece.body).unwrap_or_else(|| condition_text(&alone));
        parts.push((if piece.unless { format!("not ({text})") } else { text }, alone));
    }
    parts
}

fn written(est: &Value) -> String {
    Statute::from_json(None, est.clone()).ok().and_then(|policy| policy.to_cedar()).unwrap_or_default()
}

/// `principal in Group::"guards"` of a policy that has nothing else.
fn scope_text(alone: &Value, slot: &str) -> String {
    let text = written(alone);
    let line = text.lines().map(str::trim).find(|line| line.starts_with(slot));
    line.map_or_else(|| slot.to_owned(), |line| line.trim_end_matches(',').to_owned())
}

/// The condition of a policy that has one.
fn condition_text(alone: &Value) -> String {
    let text = written(alone);
    let inner =
        text.split_once('{').and_then(|(_, rest)| rest.rsplit_once('}')).map(|(inner, _)| inner.trim());
    inner.unwrap_or(&text).to_owned()
}

/// The facts that a part reads: attributes by name, or the variable itself for its scope.
fn reads(est: &Value) -> Vec<String> {
    let mut names: Vec<String> = ["principal", "action", "resource"]
        .into_iter()
        .filter(|slot| est[slot] != json!({"op": "All"}))
        .map(str::to_owned)
        .collect();
    syntax::attributes(&est["conditions"], &mut |variable, attribute| {
        let name = match attribute {
            Some(attribute) => format!("{variable}.{attribute}"),
            None => variable.to_owned(),
        };
        if !names.contains(&name) {
            names.push(name);
        }
    });
    names
}
