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
Exits 0 if policies permit anyone anything, 1 if not. KVS is not called: where policies read
tags or accounts, give them with --tag and --account. Conditions on the caller and the request are shown as
they are written and are not tried; who is in a group is known to the identity provider.

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
    let (text, is_anyone) = listing(&policy, &stream, config.identity.anonymous)?;
    print!("{text}");
    Ok(ExitCode::from(u8::from(!is_anyone)))
}

/// The answer in words, and whether anyone is permitted anything.
fn listing(policy: &Policy, stream: &StreamFacts, anonymous: bool) -> anyhow::Result<(String, bool)> {
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
            // A `forbid` counts without a token too.
            let name = |party: &Party| match party {
                Party::Everybody => "Everybody".to_owned(),
                _ => name_of(party),
            };
            let parties: Vec<String> = grant.parties.iter().map(name).collect();
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
#[path = "tests/who_can_see.rs"]
mod tests;
