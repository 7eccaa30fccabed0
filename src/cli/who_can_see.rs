//! `who-can-see`: which groups and users policies let see a stream, and under which conditions.

use super::setup::ConfigFile;
use super::stream_args::StreamArgs;
use crate::app;
use crate::policy::{Grant, Party, Policy, StreamFacts};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::ExitCode;

/// Say which groups and users may see a stream, by the policies that name them
#[derive(clap::Args)]
#[command(after_help = "\
Exits 0 if policies permit somebody something, 1 if nobody anything. KVS is not called: where policies read
tags or accounts, give them with --tag and --account. Conditions on the caller and the request are shown as they
are written and are not tried; who is in a group is known to the identity provider.

Example:
  kvs-edge who-can-see --config kvs-edge.toml --stream cam-1 --tag site=berlin")]
pub struct WhoCanSeeArgs {
    #[command(flatten)]
    file: ConfigFile,
    #[command(flatten)]
    about: StreamArgs,
}

/// Prints who.
///
/// # Errors
/// The configuration is refused, or nothing serves the stream.
pub fn run(args: &WhoCanSeeArgs) -> anyhow::Result<ExitCode> {
    let (source, config) = args.file.load()?;
    let policy = app::policy(&config, &source)?;
    let stream = args.about.facts(&config)?;
    let (text, somebody) = told(&policy, &stream, config.identity.anonymous)?;
    print!("{text}");
    Ok(ExitCode::from(u8::from(!somebody)))
}

/// The answer in words, and whether it names somebody.
fn told(policy: &Policy, stream: &StreamFacts, anonymous: bool) -> anyhow::Result<(String, bool)> {
    let grants = policy.who_sees(stream).map_err(anyhow::Error::msg)?;
    let mut permitted: BTreeMap<&Party, Vec<&Grant>> = BTreeMap::new();
    for grant in grants.iter().filter(|grant| !grant.forbids) {
        for party in &grant.parties {
            permitted.entry(party).or_default().push(grant);
        }
    }
    let mut text = String::new();
    if permitted.is_empty() {
        let _ = writeln!(text, "Nobody: no policy permits anything on {}.", stream.name);
    }
    for (party, grants) in &permitted {
        let _ = writeln!(text, "{}", name_of(party));
        for grant in grants {
            describe(policy, grant, &mut text);
        }
        let _ = writeln!(text);
    }
    let forbidden: Vec<&Grant> = grants.iter().filter(|grant| grant.forbids).collect();
    if !forbidden.is_empty() && !permitted.is_empty() {
        let _ = writeln!(text, "Forbidden, whatever permits it:");
        for grant in forbidden {
            let parties: Vec<_> = grant.parties.iter().map(name_of).collect();
            let _ = writeln!(text, "{}", parties.join(", "));
            describe(policy, grant, &mut text);
        }
        let _ = writeln!(text);
    }
    if grants.iter().any(|grant| grant.unknown == Some("tags")) {
        let _ =
            writeln!(text, "Policies read the stream's tags: say --tag KEY=VALUE or --untagged for less.");
    }
    if anonymous && !permitted.is_empty() {
        let _ = writeln!(
            text,
            "Callers without a credential count as User::\"anonymous\" in Group::\"anonymous\"."
        );
    }
    Ok((text, !permitted.is_empty()))
}

fn name_of(party: &Party) -> String {
    match party {
        Party::Everybody => "Whoever has a token".to_owned(),
        Party::Group(group) => format!("Group::{group:?}"),
        Party::User(user) => format!("User::{user:?}"),
    }
}

fn describe(policy: &Policy, grant: &Grant, text: &mut String) {
    let actions = policy.in_groups(&grant.operations).join(", ");
    let (path, line, id) = (grant.path.display(), grant.line, &grant.id);
    let _ = writeln!(text, "  {actions}\n      {path}:{line}: {id}");
    for condition in &grant.conditions {
        let _ = writeln!(text, "      if {}", condition.replace('\n', "\n         "));
    }
    if let Some(fact) = grant.unknown {
        let _ = writeln!(text, "      (the stream's {fact} is not known here)");
    }
}

#[cfg(test)]
mod tests {
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
        let (text, somebody) = told(&policy, &args.about.facts(&config).unwrap(), false).unwrap();
        (text.replace(&format!("{path}/"), ""), somebody)
    }

    #[test]
    fn groups_and_users_are_listed_with_what_else_must_hold() {
        let (text, somebody) = answer(POLICIES, "--stream lobby-1 --untagged");
        assert!(somebody);
        let clerks =
            "  GetClip\n      test.cedar:6: two groups and one user\n      if context.duration <= 600\n";
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
        let closed = "Forbidden, whatever permits it:\nWhoever has a token\n  View, Download\n      \
                      test.cedar:14: the vault is closed\n      if not (principal in Group::\"owners\")\n";
        assert!(text.contains(closed) && !text.contains("guards"), "{text}");
        let (text, somebody) =
            answer(r#"permit (principal, action, resource in StreamSet::"lobby");"#, "--stream vault-1");
        assert_eq!((text.as_str(), somebody), ("Nobody: no policy permits anything on vault-1.\n", false));
        let (text, somebody) = answer("permit (principal, action, resource);", "--stream vault-1");
        assert!(somebody && text.starts_with("Whoever has a token\n  View, Download, Describe\n"), "{text}");
    }
}
