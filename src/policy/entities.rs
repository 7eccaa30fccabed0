//! A question in Cedar's terms: the three entities it needs, and its context.
//!
//! Only this caller, this stream and this action are handed to Cedar, each with its groups; cost does not
//! grow with streams or users. Identifiers are built from values, never by putting text together.

use super::config::{AttributeType, Attributes, Config};
use super::context_reads::ContextReads;
use super::local_time::{LocalTime, Zone};
use super::question::{Question, RequestContext, StreamFacts};
use crate::caller::{ANONYMOUS, Attribute, Caller};
use crate::kvs::{Operation, Timestamp};
use cedar_policy::{
    Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Request, RestrictedExpression, Schema,
};
use std::collections::HashMap;

/// Makes Cedar's terms; the names and actions are made once.
pub(super) struct Terms {
    user: EntityTypeName,
    group: EntityTypeName,
    stream: EntityTypeName,
    stream_set: EntityTypeName,
    /// In the order of [`Operation::ALL`].
    actions: Vec<Entity>,
    /// The same, and the groups that they are in.
    defined: Entities,
}

/// A value that Cedar cannot express. None is expected, since values are checked where they enter.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NotExpressible(String);

impl NotExpressible {
    pub fn new(problem: impl std::fmt::Display) -> Self {
        Self(problem.to_string())
    }
}

fn not_expressible(error: impl std::fmt::Display) -> NotExpressible {
    NotExpressible::new(error)
}

impl Terms {
    pub fn new(schema: &Schema) -> Result<Self, NotExpressible> {
        let name = |text: &str| text.parse::<EntityTypeName>().map_err(not_expressible);
        let action = name("Action")?;
        let defined = schema.action_entities().map_err(not_expressible)?;
        let actions = Operation::ALL.map(|operation| {
            let uid = EntityUid::from_type_name_and_id(action.clone(), EntityId::new(operation.name()));
            defined.get(&uid).cloned().ok_or_else(|| not_expressible(format!("{uid} is not in the schema")))
        });
        Ok(Self {
            user: name("User")?,
            group: name("Group")?,
            stream: name("Stream")?,
            stream_set: name("StreamSet")?,
            actions: actions.into_iter().collect::<Result<_, _>>()?,
            defined,
        })
    }

    /// The action of an operation, with the groups that it is in.
    pub fn action(&self, operation: Operation) -> &Entity {
        &self.actions[Operation::ALL.iter().position(|known| *known == operation).unwrap_or_default()]
    }

    /// Whether this is a group of callers.
    pub fn is_group(&self, entity: &EntityUid) -> bool {
        *entity.type_name() == self.group
    }

    /// Whether this is the caller without a credential, or its group.
    pub fn is_anonymous(&self, entity: &EntityUid) -> bool {
        let kind = entity.type_name();
        (*kind == self.user || *kind == self.group) && entity.id().unescaped() == ANONYMOUS
    }

    /// True if the operation's action is this one, or in this group of actions.
    pub fn is_in(&self, operation: Operation, group: &EntityUid) -> bool {
        let own = self.action(operation).uid();
        own == *group || self.defined.is_ancestor_of(group, &own)
    }

    /// The same, for a group by its name.
    pub fn is_in_group(&self, operation: Operation, name: &str) -> bool {
        let action = self.action(operation).uid().type_name().clone();
        self.is_in(operation, &EntityUid::from_type_name_and_id(action, EntityId::new(name)))
    }

    /// The principal: its groups, and those of its claims that policies may read.
    pub fn caller(&self, caller: &Caller, attributes: &Attributes) -> Result<Entity, NotExpressible> {
        let id = EntityUid::from_type_name_and_id(self.user.clone(), EntityId::new(caller.policy_subject()));
        let groups = caller
            .groups
            .iter()
            .map(|group| EntityUid::from_type_name_and_id(self.group.clone(), EntityId::new(group)))
            .collect();
        let mut values = HashMap::new();
        for (name, kind) in &attributes.0 {
            if let Some(value) = caller.attributes.get(name) {
                values.insert(name.clone(), claim(name, value, *kind)?);
            }
        }
        Entity::new(id, values, groups).map_err(not_expressible)
    }

    /// The resource: its sets, and what is known of it.
    pub fn stream(&self, stream: &StreamFacts, config: &Config) -> Result<Entity, NotExpressible> {
        let text = |value: &str| RestrictedExpression::new_string(value.to_owned());
        let id = EntityUid::from_type_name_and_id(self.stream.clone(), EntityId::new(stream.name.as_str()));
        let sets = config
            .sets_of(stream.name.as_str())
            .map(|set| EntityUid::from_type_name_and_id(self.stream_set.clone(), EntityId::new(set)))
            .collect();
        let mut values = HashMap::from([
            ("name".to_owned(), text(stream.name.as_str())),
            ("region".to_owned(), text(&stream.region)),
            ("part".to_owned(), self.parts(stream, config)?),
        ]);
        if let Some(account) = &stream.account {
            values.insert("account".into(), text(account));
        }
        if let Some(arn) = &stream.arn {
            values.insert("arn".into(), text(arn.as_str()));
        }
        let Some(tags) = &stream.tags else { return Entity::new(id, values, sets).map_err(not_expressible) };
        let pairs =
            tags.iter().map(|(key, value)| RestrictedExpression::new_string(format!("{key}={value}")));
        values.insert("tags".into(), RestrictedExpression::new_set(pairs));
        let tags = tags.iter().map(|(key, value)| (key.clone(), text(value)));
        Entity::new_with_tags(id, values, sets, tags).map_err(not_expressible)
    }

    /// The named pieces of the stream's name.
    fn parts(&self, stream: &StreamFacts, config: &Config) -> Result<RestrictedExpression, NotExpressible> {
        let pieces = config.parts_of(stream.name.as_str()).into_iter();
        let pieces =
            pieces.map(|(name, piece)| (name.to_owned(), RestrictedExpression::new_string(piece.to_owned())));
        RestrictedExpression::new_record(pieces).map_err(not_expressible)
    }

    /// The members of `context` that conditions read, and no others: Cedar makes `ip` and `datetime` values
    /// from text only, with a parser and regular expressions, which costs more than the rest of a decision.
    pub fn context(
        &self,
        caller: &Caller,
        question: &Question,
        context: &RequestContext,
        reads: &ContextReads,
        zone: &Zone,
    ) -> Result<Context, NotExpressible> {
        let text = |value: &str| RestrictedExpression::new_string(value.to_owned());
        let ages = question.footage.ages(context.now);
        let (start, end) = question.footage.bounds(context.now);
        let instant = |at: Timestamp| RestrictedExpression::new_datetime(at.to_string());
        // Behind a dual-stack listener an IPv4 client is `::ffff:a.b.c.d`; policies name it a.b.c.d.
        let address = || RestrictedExpression::new_ip(context.source_ip.to_canonical().to_string());
        let members: [(&str, &dyn Fn() -> RestrictedExpression); 9] = [
            ("mode", &|| text(question.mode().as_str())),
            ("start_age", &|| RestrictedExpression::new_long(ages.start)),
            ("end_age", &|| RestrictedExpression::new_long(ages.end)),
            ("duration", &|| RestrictedExpression::new_long(ages.duration)),
            ("source_ip", &address),
            ("now", &|| instant(context.now)),
            ("start", &|| instant(start)),
            ("end", &|| instant(end)),
            ("issuer", &|| text(&caller.issuer)),
        ];
        let read = members.iter().filter(|(name, _)| reads.holds(name));
        let mut read: Vec<_> = read.map(|(name, value)| ((*name).to_owned(), value())).collect();
        for (name, at) in [("local", context.now), ("local_start", start), ("local_end", end)] {
            if reads.holds(name) {
                read.push((name.to_owned(), local(zone.local(at))?));
            }
        }
        Context::from_pairs(read).map_err(not_expressible)
    }

    /// Everything that Cedar needs to decide.
    pub fn request(
        &self,
        caller: Entity,
        operation: Operation,
        stream: Entity,
        context: Context,
    ) -> Result<(Request, Entities), NotExpressible> {
        let action = self.action(operation).clone();
        let request = Request::new(caller.uid(), action.uid(), stream.uid(), context, None);
        let request = request.map_err(not_expressible)?;
        let entities = Entities::from_entities([caller, action, stream], None).map_err(not_expressible)?;
        Ok((request, entities))
    }
}

/// `context.local`, `local_start` or `local_end`.
fn local(time: LocalTime) -> Result<RestrictedExpression, NotExpressible> {
    let number = RestrictedExpression::new_long;
    let members = [
        ("hour", number(time.hour)),
        ("minute", number(time.minute)),
        ("weekday", number(time.weekday)),
        ("date", RestrictedExpression::new_datetime(time.date())),
    ];
    RestrictedExpression::new_record(members.map(|(name, value)| (name.to_owned(), value)))
        .map_err(not_expressible)
}

fn claim(name: &str, value: &Attribute, kind: AttributeType) -> Result<RestrictedExpression, NotExpressible> {
    Ok(match (value, kind) {
        (Attribute::Text(text), AttributeType::String) => RestrictedExpression::new_string(text.clone()),
        (Attribute::Texts(texts), AttributeType::Set) => RestrictedExpression::new_set(
            texts.iter().map(|text| RestrictedExpression::new_string(text.to_owned())),
        ),
        (Attribute::Long(number), AttributeType::Long) => RestrictedExpression::new_long(*number),
        (Attribute::Bool(truth), AttributeType::Bool) => RestrictedExpression::new_bool(*truth),
        (Attribute::Ip(network), AttributeType::Ip) => RestrictedExpression::new_ip(network),
        (Attribute::Datetime(at), AttributeType::Datetime) => {
            RestrictedExpression::new_datetime(at.to_string())
        }
        // A capability made before a reload may hold the claim in its former type. Without the claim, a
        // `forbid` that reads it would not apply.
        _ => {
            return Err(not_expressible(format!(
                "the caller's `{name}` is not of the type {}",
                kind.in_cedar()
            )));
        }
    })
}
