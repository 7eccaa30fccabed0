//! What is read of the context, and how far it matters.

use super::*;
use cedar_policy::Policy;

fn json(text: &str) -> Value {
    text.parse::<Policy>().unwrap().to_json().unwrap()
}

#[test]
fn circumstances_are_found_however_they_are_read() {
    let named = |text: &str| match ContextReads::of(&json(&format!(
        "permit (principal in Group::\"now\", action, resource) when {{ {text} }};"
    ))) {
        ContextReads::All => "all".to_owned(),
        ContextReads::Named(names) => names.into_keys().collect::<Vec<_>>().join(" "),
    };
    for (text, expected) in [
        ("true", ""),
        (r#"resource.name == "context.now" && principal.mode"#, ""),
        (r#"context.mode == "LIVE" || context.start_age <= 5"#, "mode start_age"),
        (r#"context["source_ip"].isInRange(ip("10.0.0.0/8"))"#, "source_ip"),
        (r#"context has now && !(context has "issuer")"#, "issuer now"),
        (r#"if context.duration > 1 then [context.end_age].contains(1) else true"#, "duration end_age"),
        (r#"context == {mode: "LIVE"}"#, "all"),
        ("[context].isEmpty()", "all"),
        ("{it: context}.it.now < context.now", "all"),
        ("(if true then context else context).now == context.now", "all"),
        ("context has now.more", "all"),
        ("context.local.hour < 6 && context.local.weekday != 7", "local.hour local.weekday"),
        ("context.local == context.local", "local"),
        ("context.local has hour && context.local.hour < 6", "local local.hour"),
        ("resource.local.hour < 6", ""),
        ("context.local_start.hour >= 8 && context.local_end.hour < 18", "local_end.hour local_start.hour"),
        ("context.local_start.date == context.local_end.date", "local_end.date local_start.date"),
        ("context.local_end == context.local", "local local_end"),
    ] {
        let found = named(text);
        // `has a.b` is `has a && a has b`: read by name as well.
        assert!(found == expected || (text.contains("has now.more") && found == "now"), "{text}: {found}");
    }
}

#[test]
fn an_instant_that_is_only_compared_matters_as_far_as_that() {
    let reading = |text: &str, name: &str| {
        let policy = json(&format!("permit (principal, action, resource) when {{ {text} }};"));
        ContextReads::of(&policy).reading(name).cloned()
    };
    let noon = 1_767_268_800_000;
    for text in [
        r#"context.now < datetime("2026-01-01T12:00:00Z")"#,
        r#"datetime("2026-01-01T14:00:00.000+0200") == context.now"#,
        r#"context.now >= datetime("2026-01-01T06:30:00-0530")"#,
    ] {
        assert_eq!(reading(text, "now"), Some(ReadAs::Against(vec![noon])), "{text}");
    }
    let day = r#"context.local.date == datetime("2026-01-02")"#;
    assert_eq!(reading(day, "local.date"), Some(ReadAs::Against(vec![noon + 12 * 3_600_000])));
    assert_eq!(reading("context.local.hour < 6", "local.hour"), Some(ReadAs::Against(vec![6])));
    let footage = "context.local_end.hour < 18";
    assert_eq!(reading(footage, "local_end.hour"), Some(ReadAs::Against(vec![18])));
    assert_eq!(reading(footage, "local_start.hour"), None);
    assert_eq!(reading(footage, "local.hour"), None);
    let one_day = "context.local_start.date == context.local_end.date";
    assert_eq!(reading(one_day, "local_end.date"), Some(ReadAs::Wholly));
    for (text, name) in [
        (r#"context.now.toTime() < duration("6h")"#, "now"),
        (r#"context.now < datetime("1969-01-01")"#, "now"),
        (r#"context.now < datetime("2026-01-01").offset(duration("1h"))"#, "now"),
        ("context.local.hour < 6 && context.local has hour", "local.hour"),
        ("context.local.hour < principal.until", "local.hour"),
    ] {
        assert_eq!(reading(text, name), Some(ReadAs::Wholly), "{text}");
    }
}

#[test]
fn a_number_that_is_only_compared_matters_as_far_as_that() {
    let reading = |text: &str| {
        let policy = json(&format!("permit (principal, action, resource) when {{ {text} }};"));
        ContextReads::of(&policy).reading("start_age").cloned()
    };
    let against = |numbers: &[i64]| Some(ReadAs::Against(numbers.to_vec()));
    for (text, expected) in [
        ("context.start_age <= 5", against(&[5])),
        ("7 < context.start_age && context.start_age != 5", against(&[5, 7])),
        (r#"context["start_age"] >= 0 || principal.x == context.end_age"#, against(&[0])),
        ("context.start_age <= 5 && context.start_age < context.end_age", Some(ReadAs::Wholly)),
        ("context.start_age + 1 <= 5", Some(ReadAs::Wholly)),
        ("[5].contains(context.start_age)", Some(ReadAs::Wholly)),
        ("context.start_age == principal.limit", Some(ReadAs::Wholly)),
        ("context.end_age <= 5", None),
    ] {
        assert_eq!(reading(text), expected, "{text}");
    }
    let steps = |numbers: &[i64]| (0..=9).map(|n| against(numbers).unwrap().of(n)).collect::<Vec<_>>();
    assert_eq!(steps(&[3, 6]), [0, 0, 0, 1, 2, 2, 3, 4, 4, 4]);
    assert_eq!(ReadAs::Wholly.of(6), 6);
}
