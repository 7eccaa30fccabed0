//! What policies promise, one test per promise; the cookbook and random policies have files of their own.

mod agreement;
mod cookbook;
mod costs;
mod explanations;
mod harness;

use super::*;
use crate::caller::Caller;
use crate::kvs::Operation;
use harness::*;
use std::sync::Arc;

/// The example of the design, word for word.
const DESIGN: &str = r#"permit (principal in Group::"guards", action in Action::"View", resource in StreamSet::"lobby")
when { context.mode == "LIVE" || context.start_age <= 86400 };"#;

#[test]
fn the_designs_example_holds_as_it_is_written() {
    let policy = policy(DESIGN);
    let guard = caller("alice", &["guards"]);
    for (who, call, stream, expected) in [
        (&guard, live(), "lobby-1", true),
        (&guard, on_demand(86_400, 80_000), "lobby-1", true),
        (&guard, on_demand(86_401, 80_000), "lobby-1", false),
        (&guard, live_replay(3600), "lobby-1", true),
        (&guard, live_replay(90_000), "lobby-1", false),
        (&guard, images(60, 0), "lobby-1", true),
        (&guard, images(90_000, 89_900), "lobby-1", false),
        (&guard, fragments(86_000, 0), "lobby-1", true),
        (&guard, fragments_by_token(), "lobby-1", false),
        (&guard, clip(60, 0), "lobby-1", false),
        (&guard, live(), "vault-1", false),
        (&guard, live(), "Lobby-1", false),
        (&caller("bob", &["visitors"]), live(), "lobby-1", false),
        (&caller("bob", &[]), live(), "lobby-1", false),
        (&caller("guards", &["Guards"]), live(), "lobby-1", false),
    ] {
        assert_eq!(permits(&policy, who, call(stream), stream), expected, "{} {stream}", who.subject);
    }
}

#[test]
fn nothing_is_allowed_without_a_permit_and_a_forbid_wins() {
    let alice = caller("alice", &["guards"]);
    assert!(!permits(&policy("// nothing"), &alice, live()("lobby-1"), "lobby-1"));
    let both = policy(
        "permit (principal, action, resource);\n@id(\"no 'vault'\")\nforbid (principal, action, resource) when { resource.name like \"vault-*\" };",
    );
    assert!(permits(&both, &alice, live()("lobby-1"), "lobby-1"));
    let denied = both.permit(alice, live()("vault-1"), &context("vault-1")).unwrap_err();
    assert_eq!(denied.reason().policies()[0].as_ref(), "no 'vault' (test.cedar:2)");
    let said = denied.to_string();
    assert_eq!(said, "not authorized to perform kinesisvideo:GetHLSStreamingSessionURL on stream vault-1");
}

#[test]
fn a_permission_that_reads_the_clock_tells_when_it_ends() {
    let night = policy(
        r#"permit (principal in Group::"night-shift", action in Action::"View", resource)
        when { context.now.offset(duration("1h")).toTime() < duration("6h") };
        permit (principal in Group::"guards", action, resource);"#,
    );
    let watch = Question::about(Operation::GetHlsStreamingSessionUrl);
    let ends = |groups: &[&str]| night.ends(&caller("alice", groups), &watch, &context("lobby-1"));
    assert_eq!(ends(&["night-shift"]).unwrap().to_string(), "2026-01-01T05:00:00.000Z");
    assert_eq!(ends(&["night-shift", "guards"]), None);
    assert_eq!(ends(&["visitors"]), None);
}

#[test]
fn a_permit_names_the_policies_behind_it_with_their_lines() {
    let policy = policy(&format!("// one\n\n{DESIGN}\n@id(\"all\") permit (principal, action, resource);"));
    let permit = policy.permit(caller("a", &["guards"]), live()("lobby-1"), &context("lobby-1")).unwrap();
    let by: Vec<&str> = permit.decided_by().iter().map(|label| &**label).collect();
    assert_eq!(by, ["all (test.cedar:5)", "test#1 (test.cedar:3)"]);
    assert_eq!(permit.stream().unwrap().name().as_str(), "lobby-1");
}

#[test]
fn every_mistake_has_its_place_and_says_what_to_write() {
    for (text, place, words) in [
        (
            "permit (principal, action, resource)\nwhen { resource.regoin == \"x\" };",
            (2, 8),
            "did you mean `region`",
        ),
        ("permit (principal, action, resource)\n  whem { true };", (2, 3), ""),
        ("permit (principal in Grup::\"x\", action, resource);", (1, 22), "Group"),
        ("permit (principal, action == Action::\"GetClips\", resource);", (1, 30), "GetClip"),
        ("permit (principal, action, resource in StreamSet::\"loby\");", (1, 40), "loby"),
        ("permit (principal, action, resource) when { context.start_age <= \"1d\" };", (1, 66), "Long"),
        (
            "permit (principal, action, resource) when { principal.department == \"x\" };",
            (1, 45),
            "department",
        ),
        (
            "permit (principal, action, resource) when { context.mode == \"live\" };",
            (1, 61),
            "no mode `live`",
        ),
        ("\n permit (principal == ?principal, action, resource);", (2, 2), "templates"),
        (
            "permit (principal, action, resource);\nforbid (principal, action, resource) when { false };",
            (2, 1),
            "never",
        ),
        (
            "@id(\"a\") permit (principal, action, resource);\n@id(\"a\") permit (principal, action, resource);",
            (2, 1),
            "taken",
        ),
        ("permit (principal, action, resource) when { resource.getTag(\"a\") == \"b\" };", (1, 45), "tag"),
        // Wrong for each of the nine actions, told once.
        (
            "permit (principal, action, resource) when { context.mod == \"LIVE\" };",
            (1, 45),
            "attribute `mod` in context not found",
        ),
    ] {
        let mistakes = load(text).err().unwrap_or_default();
        assert_eq!(mistakes.len(), 1, "{text}: {mistakes:?}");
        let crate::setting::MistakePlace::File { line, column, path } = &mistakes[0].place else {
            panic!("{mistakes:?}")
        };
        assert_eq!((*line, *column), place, "{text}: {mistakes:?}");
        assert!(path.ends_with("test.cedar"));
        assert!(mistakes[0].problem.contains(words), "{text}: {mistakes:?}");
        assert!(!mistakes[0].problem.contains("policy0"), "{mistakes:?}");
    }
}

#[test]
fn an_error_while_deciding_is_a_denial_even_beside_a_permit() {
    let policy = policy(
        "permit (principal, action, resource);\n\
         forbid (principal, action, resource) when { context.start_age * 9223372036854775807 == 1 };",
    );
    let alice = caller("alice", &[]);
    assert!(permits(&policy, &alice, live()("lobby-1"), "lobby-1"), "0 does not overflow");
    let denied = policy.permit(alice, clip(60, 0)("lobby-1"), &context("lobby-1")).unwrap_err();
    assert_eq!(denied.reason().as_str(), "policy_failed");
    assert!(denied.reason().policies()[0].starts_with("test#2 (test.cedar:2): "), "{:?}", denied.reason());
}

#[test]
fn absent_for_live_means_that_has_is_false_there() {
    let archive = policy(
        "permit (principal, action, resource) when { context has start_age && context.start_age <= 60 };",
    );
    let alice = caller("alice", &[]);
    assert!(!permits(&archive, &alice, live()("lobby-1"), "lobby-1"));
    assert!(permits(&archive, &alice, on_demand(60, 0)("lobby-1"), "lobby-1"));
    let no_live = policy(
        "permit (principal, action, resource);\nforbid (principal, action, resource) when { !(context has start_age) };",
    );
    assert!(!permits(&no_live, &alice, live()("lobby-1"), "lobby-1"));
    assert!(permits(&no_live, &alice, on_demand(60, 0)("lobby-1"), "lobby-1"));
}

#[test]
fn a_policy_that_reads_a_fact_is_not_decided_without_it() {
    let policy = policy(
        "permit (principal, action, resource);\nforbid (principal, action in Action::\"Download\", resource) when { resource.hasTag(\"private\") || resource.tags.contains(\"site=x\") };",
    );
    assert_eq!(policy.reads(), Reads { tags: true, ..Reads::default() });
    let alice = caller("alice", &[]);
    let mut context = context("lobby-1");
    let reason = |context: &RequestContext| {
        policy
            .permit(alice.clone(), clip(60, 0)("lobby-1"), context)
            .map_err(|denied| denied.reason().as_str())
    };
    assert_eq!(reason(&context).unwrap_err(), "unknown_fact");
    assert!(
        policy.permit(alice.clone(), live()("lobby-1"), &context).is_ok(),
        "no policy for View reads tags"
    );
    let mut tag = |pairs: &[(&str, &str)]| {
        let tags = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        context.stream.as_mut().unwrap().tags = Some(tags);
        reason(&context)
    };
    assert!(tag(&[]).is_ok());
    assert!(tag(&[("site", "y")]).is_ok());
    assert_eq!(tag(&[("site", "x")]).unwrap_err(), "forbidden");
    assert_eq!(tag(&[("private", "")]).unwrap_err(), "forbidden");
}

#[test]
fn endpoints_are_for_those_who_may_do_anything_with_the_stream() {
    let policy = policy(
        r#"permit (principal in Group::"guards", action in Action::"View", resource in StreamSet::"lobby") when { context.mode == "ON_DEMAND" && context.end_age >= 3600 };
           permit (principal in Group::"clerks", action == Action::"GetDataEndpoint", resource);
           forbid (principal == User::"eve", action == Action::"GetDataEndpoint", resource);
           forbid (principal == User::"mallory", action == Action::"ListFragments", resource);"#,
    );
    for (who, group, api, stream, expected) in [
        ("alice", "guards", "GET_HLS_STREAMING_SESSION_URL", "lobby-1", true),
        ("alice", "guards", "LIST_FRAGMENTS", "lobby-1", true),
        ("alice", "guards", "GET_CLIP", "lobby-1", true),
        ("alice", "guards", "PUT_MEDIA", "lobby-1", true),
        ("alice", "guards", "LIST_FRAGMENTS", "vault-1", false),
        ("alice", "others", "LIST_FRAGMENTS", "lobby-1", false),
        ("alice", "others", "PUT_MEDIA", "lobby-1", false),
        ("eve", "guards", "GET_CLIP", "lobby-1", false),
        ("alice", "clerks", "GET_CLIP", "vault-1", true),
        ("eve", "guards", "LIST_FRAGMENTS", "lobby-1", false),
        ("mallory", "guards", "LIST_FRAGMENTS", "lobby-1", true),
        ("mallory", "guards", "GET_IMAGES", "lobby-1", true),
    ] {
        let allowed = permits(&policy, &caller(who, &[group]), endpoint(api)(stream), stream);
        assert_eq!(allowed, expected, "{who} {group} {api} {stream}");
    }
}

#[test]
fn a_list_shows_what_may_be_described_and_heeds_who_forbids_listing() {
    let policy = policy(
        r#"permit (principal in Group::"guards", action in Action::"Describe", resource in StreamSet::"lobby");
           permit (principal in Group::"viewers", action in Action::"View", resource);
           forbid (principal == User::"eve", action == Action::"ListStreams", resource);"#,
    );
    let listed = |who: &str, group: &str, stream: &str| {
        let question = Question::about(Operation::ListStreams);
        policy.allows(&caller(who, &[group]), &question, &context(stream))
    };
    assert!(listed("alice", "guards", "lobby-1"));
    assert!(!listed("alice", "guards", "vault-1"));
    assert!(!listed("alice", "viewers", "lobby-1"));
    assert!(!listed("eve", "guards", "lobby-1"));
    let call = request(Operation::ListStreams, "{}");
    assert!(
        policy.permit(caller("nobody", &[]), call, &RequestContext { stream: None, ..context("x") }).is_ok()
    );
}

#[test]
fn facts_of_another_stream_decide_nothing() {
    let policy = policy("permit (principal, action, resource in StreamSet::\"lobby\");");
    let alice = caller("alice", &[]);
    let denied = policy.permit(alice.clone(), live()("vault-1"), &context("lobby-1")).unwrap_err();
    assert_eq!(denied.reason(), &Reason::OtherStream);
    let body = r#"{"StreamARN":"arn:aws:kinesisvideo:us-east-1:111122223333:stream/lobby-1/1720751492346"}"#;
    let by_arn = request(Operation::DescribeStream, body);
    assert_eq!(
        policy.permit(alice.clone(), by_arn.clone(), &context("lobby-1")).unwrap_err().reason().as_str(),
        "other_stream"
    );
    let mut there = context("lobby-1");
    there.stream.as_mut().unwrap().region = "us-east-1".into();
    assert!(policy.permit(alice.clone(), by_arn.clone(), &there).is_ok());
    there.stream.as_mut().unwrap().account = Some("444455556666".into());
    assert!(policy.permit(alice.clone(), by_arn, &there).is_err());
    let nothing = RequestContext { stream: None, ..there };
    assert!(policy.permit(alice, live()("lobby-1"), &nothing).is_err());
}

#[test]
fn fragment_lists_are_as_old_as_their_oldest_fragment() {
    let policy = policy("permit (principal, action, resource) when { context.start_age <= 3600 };");
    let alice = caller("alice", &[]);
    let asks = |numbers: &[&str]| permits(&policy, &alice, fragment_list(numbers)("lobby-1"), "lobby-1");
    let (new, old) = (fragment_number(60), fragment_number(7200));
    assert!(asks(&[&new]));
    assert!(!asks(&[&old]));
    assert!(!asks(&[&new, &old, &new]));
    assert!(!asks(&[&new, "12345"]), "a number of another structure may be of any age");
}

#[test]
fn a_session_does_not_open_the_archive_by_fragment_numbers() {
    let live_only = policy("permit (principal, action, resource) when { context.mode == \"LIVE\" };");
    let day = policy("permit (principal, action, resource) when { context.start_age <= 86400 };");
    let alice = caller("alice", &[]);
    let asks = |policy: &Policy, session, number: &str| {
        permits(policy, &alice, playback(session, segment(number))("lobby-1"), "lobby-1")
    };
    let (new, hours, old) = (fragment_number(20), fragment_number(7200), fragment_number(90_000));
    assert!(asks(&live_only, live_session(), &new));
    assert!(!asks(&live_only, live_session(), &hours));
    assert!(asks(&day, live_session(), &hours), "who may see the archive may see this fragment of it");
    assert!(!asks(&day, live_session(), &old));
    assert!(asks(&day, session(86_000, 7000), &hours));
    assert!(!asks(&day, session(86_000, 7000), &old));
    assert!(asks(&live_only, live_session(), "7"), "numbers of another structure are left to the session");
}

#[test]
fn playback_is_decided_for_the_moment_of_each_request() {
    let policy = policy("permit (principal, action, resource) when { context.start_age <= 86400 };");
    let alice = caller("alice", &["guards"]);
    let ask = |after: u64, who: &std::sync::Arc<crate::caller::Caller>| {
        let mut context = context("lobby-1");
        context.now = context.now.plus(std::time::Duration::from_secs(after));
        policy
            .permit(
                who.clone(),
                playback(session(86_398, 86_000), crate::kvs::Resource::MasterPlaylist)("lobby-1"),
                &context,
            )
            .is_ok()
    };
    assert!(ask(0, &alice));
    assert!(ask(2, &alice), "86,400 s old now");
    assert!(!ask(3, &alice));
    assert!(!ask(3, &caller("alice", &["guards", "more"])));
    assert!(ask(0, &alice), "a clock set back is the moment that counts");
}

#[test]
fn versions_differ_where_decisions_may() {
    let one = policy(DESIGN);
    assert_eq!(one.version().len(), 12);
    assert_eq!(one.version(), policy(DESIGN).version());
    assert_ne!(one.version(), policy(&format!("{DESIGN} ")).version());
}

#[test]
fn addresses_and_times_are_what_policies_compare() {
    let policy = policy(
        r#"permit (principal, action, resource)
           when { context.source_ip.isInRange(ip("10.0.0.0/8")) && context.now.toTime() >= duration("22h") };"#,
    );
    let alice = caller("alice", &[]);
    let at = |ip: &str, time: &str| {
        let mut context = context("lobby-1");
        context.source_ip = ip.parse().unwrap();
        context.now = crate::kvs::Timestamp::parse(time).unwrap();
        policy.permit(alice.clone(), live()("lobby-1"), &context).is_ok()
    };
    assert!(at("10.1.2.3", "2026-01-01T22:00:00Z"));
    assert!(at("::ffff:10.1.2.3", "2026-01-01T23:59:59.999Z"));
    assert!(!at("10.1.2.3", "2026-01-01T21:59:59.999Z"));
    assert!(!at("11.1.2.3", "2026-01-01T22:00:00Z"));
    assert!(!at("::1", "2026-01-01T22:00:00Z"));
}

#[test]
fn a_refusal_shows_the_reasons_of_policies_and_keeps_their_names_to_the_log() {
    let policy = policy(
        r#"permit (principal, action, resource in StreamSet::"all");
           @id("vault") @reason("the vault is closed") @severity("medium")
           forbid (principal, action, resource in StreamSet::"vault");
           @id("eve") @reason("ask the security desk, +49 30 1234") @severity("high")
           forbid (principal == User::"eve", action, resource);
           @id("eve again") @reason("the vault is closed")
           forbid (principal == User::"eve", action, resource in StreamSet::"vault");"#,
    );
    let refused = |subject: &str, stream: &str| {
        policy.permit(caller(subject, &[]), live()(stream), &context(stream)).unwrap_err()
    };
    let said = "not authorized to perform kinesisvideo:GetHLSStreamingSessionURL on stream";
    assert_eq!(refused("alice", "vault-1").to_string(), format!("{said} vault-1: the vault is closed"));
    assert_eq!(refused("alice", "vault-1").severity(), Some(Severity::Medium));
    let eve = refused("eve", "vault-1");
    let both = "ask the security desk, +49 30 1234; the vault is closed";
    assert_eq!(eve.to_string(), format!("{said} vault-1: {both}"));
    assert_eq!(eve.severity(), Some(Severity::High));
    assert!(eve.for_log().contains("forbidden by eve (test.cedar:4), eve again"), "{}", eve.for_log());
    let permitted = policy.permit(caller("alice", &[]), live()("lobby-1"), &context("lobby-1")).unwrap();
    assert_eq!(permitted.severity(), None);
}

#[test]
fn a_permits_severity_is_in_the_permit_and_odd_annotations_are_mistakes() {
    let glass = policy(r#"@severity("critical") permit (principal, action, resource);"#);
    let permitted = glass.permit(caller("alice", &[]), live()("lobby-1"), &context("lobby-1")).unwrap();
    assert_eq!(permitted.severity(), Some(Severity::Critical));
    for (text, words) in [
        (r#"@severity("urgent") permit (principal, action, resource);"#, r#"write "low", "medium""#),
        (r#"@reason("so") permit (principal, action, resource);"#, "a permit refuses nobody"),
        (r#"@reason(" ") forbid (principal, action, resource);"#, "a text of one line"),
        (r#"@reason("a\nb") forbid (principal, action, resource);"#, "a text of one line"),
    ] {
        let mistakes = format!("{:?}", load(text).err().unwrap());
        assert!(mistakes.contains(&words.replace('"', "\\\"")), "{text}: {mistakes}");
    }
}

#[test]
fn another_time_zone_and_other_name_patterns_are_another_version() {
    let text = "permit (principal, action, resource);";
    let version = |config: Config| load_with(text, config, &Attributes::default()).unwrap().version().clone();
    let (plain, zone) = (config(), Zone::utc());
    assert_ne!(version(plain.clone()), version(Config { time_zone: zone, ..plain.clone() }));
    assert_ne!(version(plain.clone()), version(Config { stream_names: Vec::new(), ..plain }));
}

/// Whoever has no credential gets what policies permit to it by name, and nothing of what is for everybody.
#[test]
fn anonymous_callers_have_what_names_them() {
    let policy = policy(
        r#"permit (principal == User::"anonymous", action in [Action::"View", Action::"Describe"],
                   resource in StreamSet::"lobby") when { context.mode == "LIVE" };
           permit (principal in Group::"anonymous", action == Action::"GetImages", resource == Stream::"yard");
           permit (principal, action, resource in StreamSet::"vault");
           permit (principal is User, action, resource in StreamSet::"vault");
           permit (principal in Group::"guards", action, resource) when { principal in Group::"anonymous" };
           forbid (principal, action, resource == Stream::"lobby-9");"#,
    );
    let nobody = |address: &str| Arc::new(Caller::anonymous(address.parse().unwrap(), NOW));
    let (one, two) = (nobody("192.0.2.1"), nobody("2001:db8::1"));
    for caller in [&one, &two] {
        assert!(permits(&policy, caller, live()("lobby-1"), "lobby-1"));
        assert!(permits(&policy, caller, describe()("lobby-1"), "lobby-1"));
        assert!(permits(&policy, caller, endpoint("GET_CLIP")("lobby-1"), "lobby-1"));
        assert!(permits(&policy, caller, images(60, 0)("yard"), "yard"));
        assert!(permits(
            &policy,
            caller,
            playback(live_session(), crate::kvs::Resource::MasterPlaylist)("lobby-1"),
            "lobby-1"
        ));
        for (ask, stream) in [
            (on_demand(60, 0), "lobby-1"),
            (clip(60, 0), "lobby-1"),
            (live(), "vault-1"),
            (describe(), "vault-1"),
            (endpoint("GET_CLIP"), "vault-1"),
            (live(), "lobby-9"),
            (describe(), "yard"),
        ] {
            assert!(!permits(&policy, caller, ask(stream), stream), "{stream}");
        }
    }
    let alice = caller("alice", &["guards"]);
    assert!(permits(&policy, &alice, clip(60, 0)("vault-1"), "vault-1"));
    assert!(!permits(&policy, &alice, live()("lobby-1"), "lobby-1"), "a token is not anonymous");
}

#[test]
fn anonymous_callers_list_only_where_something_can_be_shown() {
    let nobody = Arc::new(Caller::anonymous("192.0.2.1".parse().unwrap(), NOW));
    let lists =
        |text: &str| permits(&policy(text), &nobody, request(Operation::ListStreams, "{}"), "lobby-1");
    assert!(!lists("permit (principal, action, resource);"));
    assert!(!lists(r#"permit (principal == User::"anonymous", action in Action::"View", resource);"#));
    assert!(lists(r#"permit (principal == User::"anonymous", action in Action::"Describe", resource);"#));
}
