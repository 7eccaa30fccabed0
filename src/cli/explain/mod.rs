//! `explain`: may they, and why; the same decision as the gateway's, in words.

mod told;

use super::ConfigFile;
use crate::app;
use crate::caller::Caller;
use crate::kvs::{Operation, PlaybackMode, StreamArn, StreamName, StreamRef, TimeRange, Timestamp};
use crate::policy::{Footage, Question, Scene, StreamFacts, Verdict};
use anyhow::{Context, bail};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::ExitCode;
use told::Told;

/// Say whether a caller may do something, which policies decide, and what is missing
#[derive(clap::Args)]
#[command(after_help = "\
Exits 0 if permitted, 1 if denied. No stream is looked up: give --tag and --account where policies read them.

Examples:
  kvs-edge explain --config kvs-edge.toml --token \"$JWT\" --action GetClip --stream cam-1 \\
      --start 2026-01-01T00:00:00Z --end 2026-01-01T00:05:00Z
  kvs-edge explain --config kvs-edge.toml --claims alice.json --action GetHLSStreamingSessionURL --stream cam-1 --mode LIVE")]
pub struct Args {
    #[command(flatten)]
    file: ConfigFile,
    #[command(flatten)]
    who: Who,
    /// AWS's name of the action, such as GetClip or GetHLSStreamingSessionURL
    #[arg(long, value_parser = read_operation)]
    action: Operation,
    /// The stream, by name or ARN
    #[arg(long, value_parser = read_stream)]
    stream: StreamRef,
    /// First instant of the footage: RFC 3339 or seconds since 1970
    #[arg(long, value_parser = Timestamp::parse)]
    start: Option<Timestamp>,
    /// Last instant of the footage
    #[arg(long, value_parser = Timestamp::parse, requires = "start")]
    end: Option<Timestamp>,
    /// LIVE, LIVE_REPLAY or ON_DEMAND, for session actions
    #[arg(long, value_parser = read_mode)]
    mode: Option<PlaybackMode>,
    /// Where the request comes from
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    source_ip: IpAddr,
    /// When it comes; now if not given
    #[arg(long, value_parser = Timestamp::parse)]
    at: Option<Timestamp>,
    /// A tag of the stream
    #[arg(long, value_name = "KEY=VALUE", value_parser = read_tag)]
    tag: Vec<(String, String)>,
    /// The stream's account
    #[arg(long)]
    account: Option<String>,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct Who {
    /// A token, verified like the gateway would
    #[arg(long, value_name = "JWT")]
    token: Option<String>,
    /// The claims of an imagined token, as JSON; `iss` chooses the issuer, the first one if it is missing
    #[arg(long, value_name = "FILE")]
    claims: Option<PathBuf>,
}

fn read_operation(text: &str) -> Result<Operation, String> {
    let all = || Operation::ALL.map(Operation::name).join(", ");
    Operation::from_name(text).ok_or_else(|| format!("the actions are {}", all()))
}

fn read_stream(text: &str) -> Result<StreamRef, &'static str> {
    if text.starts_with("arn:") { StreamArn::parse(text).map(StreamRef::Arn) } else { StreamName::parse(text).map(StreamRef::Name) }
}

fn read_mode(text: &str) -> Result<PlaybackMode, &'static str> {
    let modes = [PlaybackMode::Live, PlaybackMode::LiveReplay, PlaybackMode::OnDemand];
    modes.into_iter().find(|mode| mode.as_str() == text).ok_or("the modes are LIVE, LIVE_REPLAY, ON_DEMAND")
}

fn read_tag(text: &str) -> Result<(String, String), &'static str> {
    text.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned())).ok_or("write KEY=VALUE")
}

/// Explains.
///
/// # Errors
/// The configuration is refused, or the token is.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (source, config) = args.file.load()?;
    super::runtime()?.block_on(async {
        let gateway = app::offline(&config, &source).await?;
        let now = args.at.unwrap_or_else(Timestamp::now);
        let caller = match (&args.who.token, &args.who.claims) {
            (Some(token), _) => gateway.identity.verify(token.trim(), now).await?.as_ref().clone(),
            (None, Some(path)) => imagined(&config, path, now)?,
            (None, None) => bail!("give --token or --claims"),
        };
        let located = gateway.upstream.locate(&args.stream)?;
        let facts = StreamFacts {
            name: args.stream.name().clone(),
            region: located.region.clone(),
            account: args.account.as_deref().map(Into::into).or(located.account.clone()),
            arn: args.stream.arn().cloned(),
            tags: Some(args.tag.iter().cloned().collect::<BTreeMap<_, _>>()),
        };
        let range = args.start.map(|start| TimeRange { start, end: args.end });
        let mode = args.mode.or_else(|| default_mode(args.action, range.is_some()));
        let question = Question {
            operation: args.action,
            endpoint_of: None,
            mode,
            footage: Footage::of(args.action, mode, range),
        };
        let scene = Scene { now, source_ip: args.source_ip, stream: Some(facts) };
        let explanation = gateway.policy.explain(&caller, &question, &scene);
        print!("{}", Told(&explanation));
        Ok(ExitCode::from(u8::from(explanation.verdict != Verdict::Permitted)))
    })
}

/// Session actions without a mode: LIVE without a range, ON_DEMAND with one.
fn default_mode(action: Operation, range: bool) -> Option<PlaybackMode> {
    let session = matches!(action, Operation::GetHlsStreamingSessionUrl | Operation::GetDashStreamingSessionUrl);
    session.then_some(if range { PlaybackMode::OnDemand } else { PlaybackMode::Live })
}

/// The caller that an issuer's claim map makes of these claims.
fn imagined(config: &crate::config::Config, path: &std::path::Path, now: Timestamp) -> anyhow::Result<Caller> {
    let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let claims: Value = serde_json::from_slice(&text).with_context(|| format!("{} is not JSON", path.display()))?;
    let named = claims.get("iss").and_then(Value::as_str);
    let issuer = config.issuer.iter().find(|issuer| named.is_none_or(|name| name == issuer.issuer));
    let issuer = issuer.with_context(|| format!("no [[issuer]] is called {}", named.unwrap_or_default()))?;
    Ok(issuer.imagine(&claims, now)?)
}
