//! Random policies, callers and requests: what is permitted is what Cedar decides on a request that was built
//! another way, from JSON against the schema, with the policies as they are written and all of them in one
//! set.

use super::harness::*;
use crate::caller::{Attribute, Caller};
use crate::kvs::{Operation, StreamArn};
use crate::policy::{
    ExplainedOutcome, Footage, Grant, Policy, Question, Reads, Reason, RequestContext, schema,
};
use cedar_policy::{Authorizer, Context, Decision, Entities, PolicySet, Request, Schema};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

const GROUPS: [&str; 3] = ["guards", "clerks", "\u{1f6a8} \"night\" \\ shift"];
const SUBJECTS: [&str; 3] = ["alice", "bob", "User::\"alice\""];
const STREAMS: [&str; 4] = ["lobby-1", "lobby-2", "vault-1", "Lobby-1"];
const ISSUERS: [&str; 2] = ["https://login.example.com/", "https://other.example.net/"];

/// Conditions that type-check by themselves; what some lack is guarded.
const CONDITIONS: [&str; 35] = [
    "context.local.hour >= 22 || context.local.hour < 6",
    "context.local.minute < 30 && context.local.weekday <= 5",
    r#"context.local.date >= datetime("2026-01-02")"#,
    "context.local_start.hour >= 8 && context.local_end.hour < 18",
    "context.local_start.date == context.local_end.date",
    "context.local_end.minute < 30 || context.local_start.weekday == 4",
    r#"context.start >= datetime("2026-01-01T11:30:00+0100")"#,
    r#"context.end <= datetime("2026-01-01T18:00:00Z")"#,
    r#"context.end.durationSince(context.start) <= duration("20m")"#,
    r#"resource.part has place && resource.part.place == "lobby""#,
    r#"context.mode == "LIVE""#,
    r#"context.mode != "ON_DEMAND""#,
    "context.start_age <= 3600",
    "context.end_age >= 600",
    "context.duration < 1200",
    "context.start_age - context.end_age == context.duration",
    r#"context.mode == "LIVE" || context.start_age <= 86400"#,
    r#"context.source_ip.isInRange(ip("10.0.0.0/8"))"#,
    "context.source_ip.isIpv6()",
    r#"context.now.toTime() >= duration("22h")"#,
    r#"context.now < datetime("2026-01-01T12:00:00Z")"#,
    r#"context.issuer == "https://login.example.com/""#,
    r#"resource.name like "*-1""#,
    r#"resource.region == "eu-west-1""#,
    r#"resource.account == "111122223333""#,
    r#"resource.arn like "*:stream/lobby-*""#,
    r#"resource.tags.contains("site=berlin")"#,
    r#"resource.hasTag("site") && resource.getTag("site") == "berlin""#,
    r#"resource in StreamSet::"lobby""#,
    r#"principal in Group::"clerks""#,
    r#"principal has clearance && principal.clearance > 2"#,
    r#"principal has sites && resource.hasTag("site") && principal.sites.contains(resource.getTag("site"))"#,
    r#"action in Action::"View""#,
    r#"action == Action::"GetClip""#,
    r#"principal == User::"alice""#,
];

fn policy_text() -> impl Strategy<Value = String> {
    let principal = prop_oneof![
        Just("principal".to_owned()),
        prop::sample::select(&GROUPS[..]).prop_map(|group| format!("principal in Group::{group:?}")),
        prop::sample::select(&SUBJECTS[..]).prop_map(|user| format!("principal == User::{user:?}")),
    ];
    let operation =
        || prop::sample::select(&Operation::ALL[..]).prop_map(|o| format!("Action::\"{}\"", o.name()));
    let group = || {
        prop::sample::select(&["View", "Download", "Describe"][..]).prop_map(|g| format!("Action::\"{g}\""))
    };
    let action = prop_oneof![
        Just("action".to_owned()),
        group().prop_map(|group| format!("action in {group}")),
        operation().prop_map(|only| format!("action == {only}")),
        (group(), operation()).prop_map(|(a, b)| format!("action in [{a}, {b}]")),
    ];
    let resource = prop_oneof![
        Just("resource".to_owned()),
        prop::sample::select(&["lobby", "vault", "all"][..])
            .prop_map(|set| format!("resource in StreamSet::{set:?}")),
        prop::sample::select(&STREAMS[..]).prop_map(|name| format!("resource == Stream::{name:?}")),
    ];
    let condition = || {
        let kind = prop::sample::select(&["when", "unless"][..]);
        let body = prop::collection::vec(prop::sample::select(&CONDITIONS[..]), 1..3);
        (kind, body, prop::sample::select(&[" && ", " || "][..])).prop_map(|(kind, body, joint)| {
            let body: Vec<_> = body.into_iter().map(|term| format!("({term})")).collect();
            format!(" {kind} {{ {} }}", body.join(joint))
        })
    };
    let conditions = prop::collection::vec(condition(), 0..3).prop_map(|all| all.concat());
    // More permits than forbids, or nearly all is denied.
    let effect = prop::sample::select(&["permit", "permit", "permit", "forbid"][..]);
    let composed = (effect, principal, action, resource, conditions)
        .prop_map(|(effect, p, a, r, conditions)| format!("{effect} ({p}, {a}, {r}){conditions};\n"));
    prop_oneof![
        8 => composed,
        1 => Just("permit (principal, action, resource);\n".to_owned()),
        // Fails by overflow for what is older than some 1,000 s.
        1 => Just("forbid (principal, action, resource) when { context.start_age * 9223372036854775 < 0 };\n".to_owned()),
    ]
}

fn any_caller() -> impl Strategy<Value = Caller> {
    let sites = prop::collection::btree_set(
        prop::sample::select(&["berlin", "kiel"][..]).prop_map(str::to_owned),
        0..3,
    );
    (
        prop::sample::select(&SUBJECTS[..]),
        prop::sample::subsequence(&GROUPS[..], 0..=3),
        prop::sample::select(&ISSUERS[..]),
        prop::option::of(0..5_i64),
        prop::option::of(sites),
    )
        .prop_map(|(subject, groups, issuer, clearance, sites)| {
            let mut caller = Caller::clone(&caller(subject, &groups));
            caller.issuer = issuer.into();
            caller.attributes.extend(clearance.map(|n| ("clearance".to_owned(), Attribute::Long(n))));
            caller
                .attributes
                .extend(sites.map(|set| ("sites".to_owned(), Attribute::Texts(set.into_iter().collect()))));
            caller
        })
}

/// A call that shows footage, with the mode and the range that it shows, told apart from [`Question`].
#[derive(Clone, Debug)]
struct GeneratedRequest {
    operation: Operation,
    mode: &'static str,
    range: Option<(u64, u64)>,
}

fn asked() -> impl Strategy<Value = GeneratedRequest> {
    let range = || (0..4000_u64, 0..4000_u64).prop_map(|(end, length)| Some((end + length + 1, end)));
    prop_oneof![
        Just(GeneratedRequest { operation: Operation::GetHlsStreamingSessionUrl, mode: "LIVE", range: None }),
        range().prop_map(|range| GeneratedRequest {
            operation: Operation::GetHlsStreamingSessionUrl,
            mode: "ON_DEMAND",
            range
        }),
        range().prop_map(|range| GeneratedRequest {
            operation: Operation::GetClip,
            mode: "ON_DEMAND",
            range
        }),
        range().prop_map(|range| GeneratedRequest {
            operation: Operation::ListFragments,
            mode: "ON_DEMAND",
            range
        }),
        Just(GeneratedRequest { operation: Operation::DescribeStream, mode: "LIVE", range: None }),
    ]
}

fn any_context() -> impl Strategy<Value = RequestContext> {
    let tags = prop::collection::btree_map(
        prop::sample::select(&["site", "floor"][..]).prop_map(str::to_owned),
        prop::sample::select(&["berlin", "kiel"][..]).prop_map(str::to_owned),
        0..3,
    );
    let ips = ["10.0.0.1", "192.0.2.1", "2001:db8::1", "::ffff:10.9.9.9"];
    (prop::sample::select(&STREAMS[..]), tags, prop::sample::select(ips.to_vec()), 0..86_400_000_u64)
        .prop_map(|(stream, tags, ip, later): (&str, BTreeMap<String, String>, &str, u64)| {
            let mut context = context(stream);
            context.source_ip = ip.parse().unwrap();
            context.now = context.now.plus(std::time::Duration::from_millis(later));
            let facts = context.stream.as_mut().unwrap();
            let arn = format!("arn:aws:kinesisvideo:eu-west-1:111122223333:stream/{stream}/1720751492346");
            facts.account = Some("111122223333".into());
            facts.arn = Some(StreamArn::parse(&arn).unwrap());
            facts.tags = Some(tags);
            context
        })
}

/// The decision on the same facts, by way of JSON. `None` where a policy fails to evaluate.
fn independently(
    text: &str,
    schema: &Schema,
    caller: &Caller,
    asked: &GeneratedRequest,
    context: &RequestContext,
) -> Option<Decision> {
    let facts = context.stream.as_ref().unwrap();
    let uid = |kind: &str, id: &str| json!({"type": kind, "id": id});
    let mut attributes = serde_json::Map::new();
    for (name, value) in &caller.attributes {
        attributes.insert(
            name.clone(),
            match value {
                Attribute::Long(n) => json!(n),
                Attribute::Texts(set) => json!(set),
                other => panic!("{other:?}"),
            },
        );
    }
    let tags = facts.tags.clone().unwrap();
    let sets: Vec<Value> = [
        ("lobby", facts.name.as_str().starts_with("lobby-")),
        ("vault", facts.name.as_str().starts_with("vault-")),
        ("all", true),
    ]
    .into_iter()
    .filter(|(_, member)| *member)
    .map(|(set, _)| uid("StreamSet", set))
    .collect();
    let entities = json!([
        {"uid": uid("User", &caller.subject), "attrs": attributes, "parents": caller.groups.iter().map(|g| uid("Group", g)).collect::<Vec<_>>()},
        {"uid": uid("Stream", facts.name.as_str()), "parents": sets, "tags": tags, "attrs": {
            "part": {"place": facts.name.as_str().split('-').next().unwrap(), "number": facts.name.as_str().split('-').nth(1).unwrap()},
            "name": facts.name.as_str(), "region": &*facts.region, "account": facts.account.as_deref().unwrap(),
            "arn": facts.arn.as_ref().unwrap().as_str(),
            "tags": tags.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>(),
        }},
    ]);
    let now = context.now.millis() as i64;
    let instant = |millis: i64| {
        let text = crate::kvs::Timestamp::from_millis(millis as u64).to_string();
        json!({"__extn": {"fn": "datetime", "arg": text}})
    };
    // In winter, Berlin is an hour ahead; 2026 begins with a Thursday.
    let calendar = |at: i64| {
        let berlin = (at - NOW.millis() as i64).div_euclid(1000) + 3600;
        json!({"hour": berlin.div_euclid(3600).rem_euclid(24), "minute": berlin.div_euclid(60).rem_euclid(60),
            "weekday": (3 + berlin.div_euclid(86_400)).rem_euclid(7) + 1,
            "date": instant(NOW.millis() as i64 + berlin.div_euclid(86_400) * 86_400_000)})
    };
    let age = |seconds: u64| (now - (context.now.millis() as i64 - seconds as i64 * 1000)) / 1000;
    let (start, end) = asked.range.unwrap_or((0, 0));
    let context = json!({
        "mode": asked.mode, "start_age": age(start), "end_age": age(end), "duration": start - end,
        "source_ip": {"__extn": {"fn": "ip", "arg": context.source_ip.to_canonical().to_string()}},
        "now": {"__extn": {"fn": "datetime", "arg": context.now.to_string()}},
        "issuer": &*caller.issuer,
        "start": instant(now - start as i64 * 1000), "end": instant(now - end as i64 * 1000),
        "local": calendar(now), "local_start": calendar(now - start as i64 * 1000),
        "local_end": calendar(now - end as i64 * 1000),
    });
    let action = format!("Action::\"{}\"", asked.operation.name()).parse().unwrap();
    let context = Context::from_json_value(context, Some((schema, &action))).unwrap();
    let entity = |kind: &str, id: &str| cedar_policy::EntityUid::from_json(uid(kind, id)).unwrap();
    let request = Request::new(
        entity("User", &caller.subject),
        action,
        entity("Stream", facts.name.as_str()),
        context,
        Some(schema),
    );
    // With a schema, this adds the actions and their groups and checks every type.
    let entities = Entities::from_json_value(entities, Some(schema)).unwrap();
    let policies: PolicySet = text.parse().unwrap();
    let response = Authorizer::new().is_authorized(&request.unwrap(), &policies, &entities);
    let failed = response.diagnostics().errors().next().is_some();
    (!failed).then_some(response.decision())
}

fn request_of(asked: &GeneratedRequest, context: &RequestContext) -> crate::kvs::Request {
    let stream = context.stream.as_ref().unwrap().name.as_str();
    let ago =
        |seconds: u64| serde_json::Number::from_f64((context.now.millis() - seconds * 1000) as f64 / 1000.0);
    let mut body = json!({"StreamName": stream});
    let (member, mode) = match asked.operation {
        Operation::GetHlsStreamingSessionUrl => ("HLSFragmentSelector", Some(asked.mode)),
        Operation::GetClip => ("ClipFragmentSelector", None),
        _ => ("FragmentSelector", None),
    };
    if let Some(mode) = mode {
        body["PlaybackMode"] = mode.into();
    }
    if let Some((start, end)) = asked.range {
        body[member] = json!({"FragmentSelectorType": "SERVER_TIMESTAMP", "TimestampRange":
            {"StartTimestamp": ago(start), "EndTimestamp": ago(end)}});
    }
    let call = crate::kvs::Call::read(asked.operation, body.to_string().as_bytes(), context.now);
    crate::kvs::Request::Call(call.map_err(|e| format!("{body} {e:?}")).unwrap())
}

fn loaded(policies: &[String]) -> Option<(Policy, String)> {
    let text = policies.concat();
    // Some combinations can never apply and are refused; they are no policies.
    load(&text).ok().map(|policy| (policy, text))
}

#[test]
fn what_is_permitted_is_what_cedar_decides() {
    let policies = prop::collection::vec(policy_text(), 1..5);
    let tries = prop::collection::vec((any_caller(), asked(), any_context()), 8);
    let (permitted, denied) = (Cell::new(0), Cell::new(0));
    let config = ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() };
    let agreed = TestRunner::new(config).run(&(policies, tries), |(policies, tries)| {
        let Some((policy, text)) = loaded(&policies) else { return Ok(()) };
        let (schema, _) = schema::build(&policy.config, &policy.attributes).unwrap();
        for (caller, asked, context) in tries {
            let expected = independently(&text, &schema, &caller, &asked, &context) == Some(Decision::Allow);
            agrees(&policy, Arc::new(caller), &asked, &context, expected)
                .map_err(|what| TestCaseError::fail(format!("{what}: {text} {asked:?} {context:?}")))?;
            let count = if expected { &permitted } else { &denied };
            count.set(count.get() + 1);
        }
        Ok(())
    });
    agreed.unwrap();
    assert!(permitted.get() > 20 && denied.get() > 100, "{permitted:?} {denied:?}: this tries too little");
}

fn agrees(
    policy: &Policy,
    caller: Arc<Caller>,
    asked: &GeneratedRequest,
    context: &RequestContext,
    expected: bool,
) -> Result<(), &'static str> {
    let same = |found: bool, what| if found == expected { Ok(()) } else { Err(what) };
    let request = request_of(asked, context);
    same(policy.permit(caller.clone(), request.clone(), context).is_ok(), "permit")?;
    let question = Question::of(&request, context.now);
    same(policy.allows(&caller, &question, context), "allows")?;
    same(policy.explain(&caller, &question, context).verdict == ExplainedOutcome::Permitted, "explain")?;
    // Nobody who is permitted something is missing where it is listed who may see a stream.
    let grants = policy.who_sees(context.stream.as_ref().unwrap()).map_err(|_| "who sees")?;
    let gives = |grant: &Grant| {
        let party = grant.parties.iter().any(|party| party.includes(&caller));
        !grant.forbids && party && grant.operations.contains(&asked.operation)
    };
    if expected && !grants.iter().any(gives) {
        return Err("who sees");
    }
    // Playback of a session is what opening it is, remembered or not.
    if let crate::kvs::Request::Call(call) = &request
        && let Some(session) = call.session()
    {
        let play = playback(session.clone(), crate::kvs::Resource::MasterPlaylist);
        for what in ["playback", "remembered playback"] {
            let play = play(context.stream.as_ref().unwrap().name.as_str());
            same(policy.permit(caller.clone(), play, context).is_ok(), what)?;
        }
    }
    Ok(())
}

/// Before facts are fetched: a refusal that needs none is the one that would follow, a permit too, and all
/// else is unknown.
#[test]
fn what_is_decided_without_facts_is_what_any_facts_would_decide() {
    let policies = prop::collection::vec(policy_text(), 1..5);
    let tries = prop::collection::vec((any_caller(), asked(), any_context()), 8);
    let (unknown, hopeless) = (Cell::new(0), Cell::new(0));
    let config = ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() };
    let agreed = TestRunner::new(config).run(&(policies, tries), |(policies, tries)| {
        let Some((policy, text)) = loaded(&policies) else { return Ok(()) };
        let (schema, _) = schema::build(&policy.config, &policy.attributes).unwrap();
        for (caller, asked, context) in tries {
            let expected = independently(&text, &schema, &caller, &asked, &context) == Some(Decision::Allow);
            let mut blind = context.clone();
            let facts = blind.stream.as_mut().unwrap();
            (facts.tags, facts.arn, facts.account) = (None, None, None);
            let (caller, request) = (Arc::new(caller), request_of(&asked, &context));
            let refused = policy.is_denied_whatever_the_facts(&caller, &request, &blind);
            let listed = |context: &RequestContext| {
                policy.allows(&caller, &Question::about(Operation::ListStreams), context)
            };
            prop_assert!(!listed(&blind) || listed(&context), "{} {:?}", text, context);
            match policy.permit(caller, request, &blind) {
                Ok(_) => prop_assert!(expected && !refused, "{} {:?} {:?}", text, asked, context),
                Err(denied) if matches!(denied.reason(), Reason::Unknown(_)) => {
                    prop_assert!(!refused);
                    unknown.set(unknown.get() + 1);
                }
                Err(_) => {
                    prop_assert!(!expected && refused, "{} {:?} {:?}", text, asked, context);
                    hopeless.set(hopeless.get() + usize::from(policy.reads() != Reads::default()));
                }
            }
        }
        Ok(())
    });
    agreed.unwrap();
    assert!(unknown.get() > 20 && hopeless.get() > 50, "{unknown:?} {hopeless:?}: this tries too little");
}

#[test]
fn leaving_out_what_no_policy_reads_and_remembering_the_rest_changes_no_decision_and_no_reason() {
    let policies = prop::collection::vec(policy_text(), 1..5);
    let tries = prop::collection::vec((any_caller(), asked(), any_context()), 8);
    let trimmed = Cell::new(0);
    let config = ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() };
    let same = TestRunner::new(config).run(&(policies, tries), |(policies, tries)| {
        let Some((policy, text)) = loaded(&policies) else { return Ok(()) };
        let whole = loaded(&policies).unwrap().0.with_whole_context();
        for (caller, asked, context) in tries {
            let request = request_of(&asked, &context);
            let (question, caller) = (Question::of(&request, context.now), Arc::new(caller));
            let other = whole.judge(&caller, &question, &context);
            for _ in 0..2 {
                // The decision, the policies that made it, and what failed.
                let one = policy.judge(&caller, &question, &context);
                prop_assert_eq!(&one, &other, "{} {:?} {:?}", text, asked, context);
            }
            trimmed.set(trimmed.get() + usize::from(!text.contains("context.now")));
        }
        Ok(())
    });
    same.unwrap();
    assert!(trimmed.get() > 100, "{trimmed:?}: this tries too little");
}

/// Conditions on the clock, the calendar and the footage's own times.
const CLOCKS: [&str; 20] = [
    "context.local.hour >= 22 || context.local.hour < 6",
    "context.local.hour == 2 && context.local.minute >= 30",
    "context.local.minute < 1",
    "context.local.weekday >= 6",
    "[6, 7].contains(context.local.weekday)",
    r#"context.local.date == datetime("2026-03-29")"#,
    r#"context.local.date < datetime("2026-10-26") && context.local.date != datetime("2026-03-29")"#,
    r#"context.local.date.toDate() == datetime("2026-10-25")"#,
    "context.local == context.local && context.local.hour > 1",
    "context.local_start.hour >= 2 && context.local_end.hour < 18",
    "context.local_start.date == context.local_end.date",
    "context.local_end.minute < 1 || context.local_start.minute == 59",
    r#"context.local_start.weekday == 7 && context.local_end.date != datetime("2026-10-25")"#,
    "context has local_end && context.local_end.hour == 2",
    "context.local_start == context.local",
    r#"context.now < datetime("2026-03-29T03:00:00+0200")"#,
    r#"context.now.toTime() < duration("1h")"#,
    r#"context.start >= datetime("2026-10-25T02:30:00+0200")"#,
    r#"context.end <= datetime("2026-10-25T02:30:00+0100")"#,
    r#"context has start && context.start != datetime("2026-03-29T00:00:00Z")"#,
];

/// Instants around the changes of clocks in Berlin and around midnights, at full minutes and beside them.
fn about_a_change() -> impl Strategy<Value = u64> {
    let changes =
        ["2026-03-29T01:00:00Z", "2026-10-25T01:00:00Z", "2026-03-28T23:00:00Z", "2026-10-25T23:00:00Z"];
    let millis = |at: &str| crate::kvs::Timestamp::parse(at).unwrap().millis();
    let beside = prop_oneof![Just(0_i64), Just(-1), Just(1), -60_000..60_000_i64];
    (prop::sample::select(changes.map(millis).to_vec()), -300..300_i64, beside)
        .prop_map(|(change, minutes, beside)| change.saturating_add_signed(minutes * 60_000 + beside))
}

/// Decisions from the cache are those that Cedar makes, whatever clocks show, in whatever order times come.
#[test]
fn a_decision_from_the_cache_is_cedars_whatever_clocks_show() {
    let condition = prop::collection::vec(prop::sample::select(&CLOCKS[..]), 1..3).prop_map(|terms| {
        let terms: Vec<_> = terms.into_iter().map(|term| format!("({term})")).collect();
        terms.join(" && ")
    });
    let policies = prop::collection::vec((prop::bool::weighted(0.2), condition), 1..4);
    let times = prop::collection::vec((about_a_change(), prop::option::of((1..7200_u64, 0..7200_u64))), 60);
    let (permitted, denied) = (Cell::new(0), Cell::new(0));
    let config = ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() };
    let agreed = TestRunner::new(config).run(&(policies, times), |(policies, times)| {
        let effect = |forbid: bool| if forbid { "forbid" } else { "permit" };
        let statement = |(forbid, when): &(bool, String)| {
            format!("{} (principal, action, resource) when {{ {when} }};\n", effect(*forbid))
        };
        let text: String = policies.iter().map(statement).collect();
        let Ok(policy) = load(&text) else { return Ok(()) };
        let reference = load(&text).unwrap().with_whole_context();
        let alice = caller("alice", &[]);
        for (millis, range) in times {
            let now = crate::kvs::Timestamp::from_millis(millis);
            let context = RequestContext { now, ..context("lobby-1") };
            let ago = |seconds| now.minus(std::time::Duration::from_secs(seconds));
            let range = range.map(|(length, end)| crate::kvs::TimeRange {
                start: ago(end + length),
                end: (end > 60).then(|| ago(end)),
            });
            let footage = range.map_or(Footage::Now, Footage::Range);
            let question = Question { footage, ..Question::about(Operation::GetClip) };
            let expected = reference.allows(&alice, &question, &context);
            prop_assert_eq!(policy.allows(&alice, &question, &context), expected, "{} {:?}", text, question);
            let count = if expected { &permitted } else { &denied };
            count.set(count.get() + 1);
        }
        Ok(())
    });
    agreed.unwrap();
    assert!(permitted.get() > 200 && denied.get() > 200, "{permitted:?} {denied:?}: this tries too little");
}
