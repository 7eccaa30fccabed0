//! What `who-can-see` prints.

use super::*;
use crate::config::{Config, ConfigSource};
use clap::Parser;

const CONFIG: &str = r#"
[[aws]]
name = "main"
region = "eu-west-1"
account = "111122223333"
streams = ["*"]
[[issuer]]
issuer = "https://login.example.com/"
audience = ["kvs-edge"]
algorithms = ["RS256"]
jwks = "https://login.example.com/jwks.json"
[policy]
files = ["test.cedar"]
stream_sets = { lobby = ["lobby-*"], vault = ["vault-*"] }
stream_names = ["{place}-{number}"]
[playback]
keys = ["env:KVS_EDGE_PLAYBACK_KEY"]
"#;

const POLICIES: &str = r#"@id("guards see the lobby")
permit (principal in Group::"guards", action in Action::"View", resource in StreamSet::"lobby")
when { context.mode == "LIVE" && resource.part has place && resource.part.place == "lobby" }
unless { principal == User::"eve" };

@id("two groups and one user")
permit (principal, action == Action::"GetClip", resource)
when { (principal in [Group::"clerks", Group::"police"] || principal == User::"bob") && context.duration <= 600 };

@id("tagged")
permit (principal in Group::"berlin", action, resource)
when { resource.hasTag("site") && resource.getTag("site") == "berlin" };

@id("the vault is closed")
forbid (principal, action in [Action::"View", Action::"Download"], resource in StreamSet::"vault")
unless { principal in Group::"owners" };
"#;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: WhoCanSeeArgs,
}

fn answer(policies: &str, line: &str) -> (String, bool) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("edge.toml"), CONFIG).unwrap();
    std::fs::write(folder.path().join("test.cedar"), policies).unwrap();
    let path = folder.path().display();
    let line = format!("who-can-see --config {path}/edge.toml {line}");
    let Line { args } = Line::try_parse_from(line.split(' ')).unwrap();
    let source = ConfigSource::read(&args.file.config, std::iter::empty()).unwrap();
    let config = Config::load(&source).unwrap();
    let policy = app::policy(&config, &source).unwrap();
    let (text, somebody) = listing(&policy, &args.about.facts(&config).unwrap(), false).unwrap();
    (text.replace(&format!("{path}/"), ""), somebody)
}

#[test]
fn groups_and_users_are_listed_with_what_else_must_hold() {
    let (text, somebody) = answer(POLICIES, "--stream lobby-1 --untagged");
    assert!(somebody);
    let clerks = "  GetClip\n      test.cedar:6: two groups and one user\n      if context.duration <= 600\n";
    let expected = format!(
        "Group::\"clerks\"\n{clerks}\n\
         Group::\"guards\"\n  View\n      test.cedar:1: guards see the lobby\n      \
         if context.mode == \"LIVE\"\n      if not (principal == User::\"eve\")\n\n\
         Group::\"police\"\n{clerks}\nUser::\"bob\"\n{clerks}\n"
    );
    assert_eq!(text, expected);
}

#[test]
fn what_tags_decide_is_decided_where_they_are_known() {
    let berlin = "Group::\"berlin\"\n  View, Download, Describe\n      test.cedar:10: tagged\n";
    let (known, _) = answer(POLICIES, "--stream lobby-1 --tag site=berlin");
    assert!(known.contains(&format!("{berlin}\n")) && !known.contains("--untagged"), "{known}");
    let (elsewhere, _) = answer(POLICIES, "--stream lobby-1 --tag site=kiel");
    assert!(!elsewhere.contains("berlin"), "{elsewhere}");
    let (unknown, _) = answer(POLICIES, "--stream lobby-1");
    let shown = format!("{berlin}      if resource.hasTag(\"site\")\n");
    assert!(unknown.contains(&shown) && unknown.contains("--untagged"), "{unknown}");
}

#[test]
fn what_is_forbidden_is_told() {
    let (text, _) = answer(POLICIES, "--stream vault-1 --untagged");
    let closed = "Forbidden, whatever permits it:\nEverybody\n  View, Download\n      \
                  test.cedar:14: the vault is closed\n      if not (principal in Group::\"owners\")\n";
    assert!(text.contains(closed) && !text.contains("guards"), "{text}");
    let (text, somebody) =
        answer(r#"permit (principal, action, resource in StreamSet::"lobby");"#, "--stream vault-1");
    assert_eq!((text.as_str(), somebody), ("Nobody: no policy permits anything on vault-1.\n", false));
    let (text, somebody) = answer("permit (principal, action, resource);", "--stream vault-1");
    assert!(somebody && text.starts_with("Whoever has a token\n  View, Download, Describe\n"), "{text}");
}
