//! `explain`: whether a caller may do something, and why. The decision is the gateway's, in words.

mod text;

use super::setup::ConfigFile;
use super::stream_args::StreamArgs;
use crate::app;
use crate::base::clock;
use crate::caller::Caller;
use crate::config::{Config, ConfigSource, InvalidConfig};
use crate::identity::{ClaimLine, IssuerConfig};
use crate::kvs::{ApiName, Operation, PlaybackMode, TimeRange, Timestamp};
use crate::policy::{ExplainedOutcome, Explanation, Footage, Policy, Question, RequestContext};
use anyhow::{Context, bail};
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use text::{ClaimsText, ExplanationText};

/// Say whether a caller may do something, which policies decide, and what is missing
#[derive(clap::Args)]
#[command(after_help = "\
Exits 0 if permitted, 1 if denied, 2 if the question could not be asked. KVS is not called: where policies
read tags or accounts, give them with --tag and --account.

Examples:
  kvs-edge explain --config kvs-edge.toml --token \"$JWT\" --action GetClip --stream cam-1 \\
      --start 2026-01-01T00:00:00Z --end 2026-01-01T00:05:00Z
  echo '{\"sub\":\"alice\",\"groups\":[\"guards\"]}' > alice.json
  kvs-edge explain --config kvs-edge.toml --claims alice.json --action GetHLSStreamingSessionURL --stream cam-1 --mode LIVE")]
pub struct ExplainArgs {
    #[command(flatten)]
    file: ConfigFile,
    #[command(flatten)]
    who: Who,
    /// AWS's name of the action, such as GetClip or GetHLSStreamingSessionURL
    #[arg(long, value_parser = read_operation)]
    action: Operation,
    #[command(flatten)]
    about: StreamArgs,
    /// First instant of the footage: RFC 3339 or seconds since 1970
    #[arg(long, value_parser = Timestamp::parse)]
    start: Option<Timestamp>,
    /// Last instant of the footage; the present if only --start is given
    #[arg(long, value_parser = Timestamp::parse, requires = "start")]
    end: Option<Timestamp>,
    /// LIVE, LIVE_REPLAY or ON_DEMAND, for session actions; ON_DEMAND if --start is given, else LIVE
    #[arg(long, value_parser = read_mode)]
    mode: Option<PlaybackMode>,
    /// Which API's endpoint, for GetDataEndpoint: GET_CLIP, LIST_FRAGMENTS, ...
    #[arg(long, value_parser = read_api)]
    api_name: Option<ApiName>,
    /// Where the request comes from
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    source_ip: IpAddr,
    /// When it comes; now if not given
    #[arg(long, value_parser = Timestamp::parse)]
    at: Option<Timestamp>,
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
    /// Nobody in particular: a request without a credential (identity.anonymous)
    #[arg(long)]
    anonymous: bool,
}

/// Explains.
///
/// # Errors
/// The configuration is refused, or the token is.
pub fn run(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    // 1 means "denied", so a question that could not be decided needs another code.
    explain(args).or_else(|error| match error.downcast::<InvalidConfig>() {
        Ok(refused) => Err(refused.into()),
        Err(error) => {
            eprintln!("kvs-edge: {error:#}");
            Ok(ExitCode::from(super::setup::REFUSED))
        }
    })
}

fn explain(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    if args.mode == Some(PlaybackMode::Live) && args.start.is_some() {
        bail!("--mode LIVE shows the present: leave --start and --end out, or ask for another mode");
    }
    let (source, config) = args.file.load()?;
    let now = args.at.unwrap_or_else(|| Timestamp::from(clock::now()));
    // Policies are read first: trying out claims needs neither secrets nor key sets.
    let policy = app::policy(&config, &source)?;
    let (caller, claims) = match (&args.who.token, &args.who.claims) {
        (Some(token), _) => verified(&config, &source, token.trim(), now)?,
        (None, Some(path)) => imagined(&config, path, now)?,
        (None, None) if args.who.anonymous => {
            if !config.identity.anonymous {
                bail!("identity.anonymous is off: a request without a credential is 401");
            }
            (Arc::new(Caller::anonymous(args.source_ip, now)), Vec::new())
        }
        (None, None) => bail!("give --token, --claims or --anonymous"),
    };
    let explanation = args.explain(&config, &policy, &caller, now)?;
    print!("{}", ExplanationText(&explanation));
    if !claims.is_empty() {
        print!("\n{}", ClaimsText(&claims));
    }
    if caller.groups_withheld {
        println!("\n{}", text::GROUPS_WITHHELD);
    }
    Ok(ExitCode::from(u8::from(explanation.verdict != ExplainedOutcome::Permitted)))
}

impl ExplainArgs {
    fn explain(
        &self,
        config: &Config,
        policy: &Policy,
        caller: &Arc<Caller>,
        now: Timestamp,
    ) -> anyhow::Result<Explanation> {
        let context =
            RequestContext { now, source_ip: self.source_ip, stream: Some(self.about.facts(config)?) };
        Ok(policy.explain(caller, &self.question(now), &context))
    }

    fn question(&self, now: Timestamp) -> Question {
        let mode = self.mode.or_else(|| default_mode(self.action, self.start.is_some()));
        // Only LIVE_REPLAY may go on without an end.
        let end = self.end.or_else(|| (mode != Some(PlaybackMode::LiveReplay)).then_some(now));
        let range = self.start.map(|start| TimeRange { start, end });
        let footage = Footage::of(self.action, mode, range);
        Question { operation: self.action, endpoint_of: self.api_name, mode, footage }
    }
}

/// The caller that the gateway would authenticate, and what became of each claim. Of a token that is refused
/// this is printed at once.
fn verified(
    config: &Config,
    source: &ConfigSource,
    token: &str,
    now: Timestamp,
) -> anyhow::Result<(Arc<Caller>, Vec<ClaimLine>)> {
    super::setup::runtime()?.block_on(async {
        let identity = app::identity(config, source).await?;
        let lines = identity.report(token)?;
        match identity.verify(token, now).await {
            Ok(caller) => Ok((caller, lines)),
            Err(refused) => {
                print!("{}", ClaimsText(&lines));
                Err(refused.into())
            }
        }
    })
}

fn read_operation(text: &str) -> Result<Operation, String> {
    let all = || Operation::ALL.map(Operation::name).join(", ");
    Operation::from_name(text).ok_or_else(|| format!("the actions are {}", all()))
}

fn read_mode(text: &str) -> Result<PlaybackMode, &'static str> {
    let modes = [PlaybackMode::Live, PlaybackMode::LiveReplay, PlaybackMode::OnDemand];
    modes.into_iter().find(|mode| mode.as_str() == text).ok_or("the modes are LIVE, LIVE_REPLAY, ON_DEMAND")
}

fn read_api(text: &str) -> Result<ApiName, String> {
    let all = || ApiName::ALL.map(ApiName::as_str).join(", ");
    ApiName::ALL.into_iter().find(|api| api.as_str() == text).ok_or_else(|| format!("the APIs are {}", all()))
}

/// Session actions without a mode: LIVE without a range, ON_DEMAND with one.
fn default_mode(action: Operation, range: bool) -> Option<PlaybackMode> {
    let session =
        matches!(action, Operation::GetHlsStreamingSessionUrl | Operation::GetDashStreamingSessionUrl);
    session.then_some(if range { PlaybackMode::OnDemand } else { PlaybackMode::Live })
}

/// The caller that an issuer's claim map makes of these claims, and what became of each.
fn imagined(config: &Config, path: &Path, now: Timestamp) -> anyhow::Result<(Arc<Caller>, Vec<ClaimLine>)> {
    let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let claims: Value =
        serde_json::from_slice(&text).with_context(|| format!("{} is not JSON", path.display()))?;
    let named = claims.get("iss").and_then(Value::as_str);
    let called = |issuer: &&IssuerConfig| {
        named.is_none_or(|name| issuer.issuer.as_slice().iter().any(|one| one == name))
    };
    let issuer = config.issuer.iter().find(called);
    let issuer = issuer.with_context(|| format!("no [[issuer]] is called {}", named.unwrap_or_default()))?;
    let caller = issuer.imagine(&claims, now)?;
    Ok((Arc::new(caller), issuer.report(&claims)))
}

#[cfg(test)]
mod tests;
