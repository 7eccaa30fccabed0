//! Who may see a stream, as far as policies name groups and users: the question the other way round.
//!
//! What depends on the stream alone is evaluated by Cedar; what depends on the caller or the request is given
//! as it is written and not tried. So a list holds everybody who may see the stream in some context, and
//! maybe more; nobody who is permitted something is missing.

use super::context_reads::ContextReads;
use super::decide::Policy;
use super::load::Statement;
use super::policy_set::concerns;
use super::question::{Question, RequestContext, StreamFacts};
use super::reads::Reads;
use super::{syntax, wording};
use crate::caller::Caller;
use crate::kvs::{Operation, Timestamp};
use cedar_policy::{Effect, Entities, EntityUid, PrincipalConstraint, Request};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

/// What one policy gives or takes on a stream.
#[derive(Clone, Debug)]
pub struct Grant {
    /// For whom it counts: any of these.
    pub parties: BTreeSet<Party>,
    /// True for a `forbid`.
    pub forbids: bool,
    /// Which operations.
    pub operations: Vec<Operation>,
    /// What else must hold, as it is written; all of it.
    pub conditions: Vec<String>,
    /// The fact about the stream that a condition reads and that is not known.
    pub unknown: Option<&'static str>,
    /// Its id.
    pub id: String,
    /// Its file.
    pub path: Arc<Path>,
    /// Its first line.
    pub line: usize,
}

/// Whom a policy names.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Party {
    /// Whoever has a token.
    Everybody,
    /// The members of a group.
    Group(String),
    /// One user.
    User(String),
}

impl Party {
    /// Whether a caller is one of them.
    #[must_use]
    pub fn includes(&self, caller: &Caller) -> bool {
        match self {
            Self::Everybody => !caller.is_anonymous(),
            Self::Group(group) => caller.groups.iter().any(|own| own == group),
            Self::User(user) => caller.policy_subject() == user,
        }
    }
}

impl Policy {
    /// What policies give and take on a stream, in the order in which they are written.
    ///
    /// # Errors
    /// The stream cannot be put to Cedar, in words.
    pub fn who_sees(&self, stream: &StreamFacts) -> Result<Vec<Grant>, String> {
        // Stands in for any caller: no part that reads the caller is evaluated.
        let nobody =
            Arc::new(Caller::anonymous(IpAddr::V4(Ipv4Addr::UNSPECIFIED), Timestamp::from_millis(0)));
        let context = RequestContext {
            now: Timestamp::from_millis(0),
            source_ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            stream: Some(stream.clone()),
        };
        let (operation, none) = (Operation::DescribeStream, ContextReads::none());
        let put = self.put(&nobody, operation, &Question::about(operation), &context, &none);
        let (request, entities) = put.map_err(|error| error.to_string())?;
        let about = |statement| self.grant(statement, stream, &request, &entities);
        Ok(self.statements.iter().filter_map(about).collect())
    }

    /// What one policy does; `None` if it is not about this stream.
    fn grant(
        &self,
        statement: &Statement,
        stream: &StreamFacts,
        request: &Request,
        entities: &Entities,
    ) -> Option<Grant> {
        let bare = syntax::without_scope(&statement.est);
        let mut resource = syntax::with_conditions(&bare, &[]);
        resource["resource"] = statement.est["resource"].clone();
        if self.holds(&resource, request, entities) == Ok(false) {
            return None;
        }
        let mut parties = self.parties_of_scope(statement);
        let (mut conditions, mut unknown) = (Vec::new(), None);
        for piece in syntax::pieces(&statement.est) {
            let alone = syntax::with_conditions(&bare, std::slice::from_ref(&piece));
            let reads = syntax::reads(&piece.body);
            let missing = (reads != Reads::default()).then(|| reads.missing(stream)).flatten();
            if missing.is_none() && reads_only_resource(&piece.body) {
                match self.holds(&alone, request, entities) {
                    Ok(true) => continue,
                    Ok(false) => return None,
                    Err(_) => {}
                }
            }
            let named = if piece.unless || parties.is_some() { None } else { named(&piece.body) };
            if let Some(named) = named {
                parties = Some(named);
                continue;
            }
            unknown = unknown.or(missing);
            let text = wording::expression(&piece.body).unwrap_or_else(|| statement.text.to_string());
            conditions.push(if piece.unless { format!("not ({text})") } else { text });
        }
        let operations = Operation::ALL.into_iter().filter(|o| concerns(&statement.policy, *o, &self.terms));
        Some(Grant {
            parties: parties.unwrap_or_else(|| [Party::Everybody].into()),
            forbids: statement.policy.effect() == Effect::Forbid,
            operations: operations.collect(),
            conditions,
            unknown,
            id: statement.name().to_owned(),
            path: statement.path.clone(),
            line: statement.line,
        })
    }

    /// Whom the scope names; `None` if it takes anybody.
    fn parties_of_scope(&self, statement: &Statement) -> Option<BTreeSet<Party>> {
        let party = |entity: &EntityUid| match self.terms.is_group(entity) {
            true => Party::Group(entity.id().unescaped().into()),
            false => Party::User(entity.id().unescaped().into()),
        };
        match statement.policy.principal_constraint() {
            PrincipalConstraint::Any | PrincipalConstraint::Is(_) => None,
            PrincipalConstraint::Eq(one)
            | PrincipalConstraint::In(one)
            | PrincipalConstraint::IsIn(_, one) => Some([party(&one)].into()),
        }
    }

    /// The groups of actions that these operations are all of, and what is left by itself.
    #[must_use]
    pub fn in_groups(&self, operations: &[Operation]) -> Vec<&'static str> {
        let mut left = operations.to_vec();
        let mut names = Vec::new();
        for group in ["View", "Download", "Describe"] {
            let mut members = Operation::ALL.into_iter().filter(|o| self.terms.is_in_group(*o, group));
            if members.all(|member| operations.contains(&member)) {
                left.retain(|operation| !self.terms.is_in_group(*operation, group));
                names.push(group);
            }
        }
        names.extend(left.iter().map(|operation| operation.name()));
        names
    }
}

fn reads_only_resource(body: &Value) -> bool {
    let mut only = true;
    syntax::attributes(body, &mut |variable, _| only &= variable == "resource");
    only
}

/// Whom a condition names that is about nothing else: `principal in Group::"a" || principal == User::"b"`.
fn named(body: &Value) -> Option<BTreeSet<Party>> {
    if let Some(sides) = body.get("||") {
        let mut both = named(&sides["left"])?;
        both.append(&mut named(&sides["right"])?);
        return Some(both);
    }
    let sides = body.get("in").or_else(|| body.get("=="))?;
    if sides["left"] != json!({"Var": "principal"}) {
        return None;
    }
    match sides["right"].get("Set").and_then(Value::as_array) {
        Some(several) => several.iter().map(literal).collect(),
        None => Some([literal(&sides["right"])?].into()),
    }
}

fn literal(node: &Value) -> Option<Party> {
    let entity = node.get("Value")?.get("__entity")?;
    let id = entity["id"].as_str()?.to_owned();
    match entity["type"].as_str()? {
        "Group" => Some(Party::Group(id)),
        "User" => Some(Party::User(id)),
        _ => None,
    }
}
