//! `kvs-edge credentials`: hands a JWT to AWS SDKs as a session token, and a new one whenever they ask.
//!
//! Two ways, both standard in the SDKs: the output of a `credential_process`, or a loopback endpoint that looks like
//! the container credentials of ECS and EKS (`serve`). The keys beside the JWT are dummies; kvs-edge checks no AWS
//! signature.
//!
//! boto3 and the AWS CLI ask before every call once less than 15 minutes remain, JS once less than 5 (measured,
//! `HARDENING.md`). With tokens that never live longer, every call runs the process; the endpoint answers such a
//! question in a millisecond, and `--renews-ahead` moves the reported end instead.

mod renewal;
mod serve;

use crate::kvs::Timestamp;
use crate::setting::Span;
use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use std::fmt;
use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

/// Give AWS SDKs a JWT as their session token, and renew it.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    source: Source,
    /// Serve a container-credentials endpoint on this loopback address instead of printing once
    #[arg(long, value_name = "127.0.0.1:PORT")]
    serve: Option<SocketAddr>,
    /// With --serve: where to write what the SDKs must show in `Authorization`
    #[arg(long, value_name = "FILE", requires = "serve")]
    authorization_file: Option<PathBuf>,
    /// Report an end this much later than the token's, less a minute: for an SDK that renews this far ahead, when
    /// tokens live hardly longer. boto3 and AWS CLI: 15m; JS: 5m. Other SDKs would then use a token that has ended
    #[arg(long, value_name = "TIME", value_parser = Span::parse, default_value = "0s")]
    renews_ahead: Span,
}

/// Where tokens come from.
#[derive(Clone, Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(super) struct Source {
    /// Read the JWT from this file each time, such as a projected Kubernetes service-account token
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Run this (by `sh -c`) and read the JWT from its output
    #[arg(long, value_name = "CMD")]
    token_command: Option<String>,
}

const EXAMPLES: &str = "\
Examples:
  In ~/.aws/config, for every SDK; the process runs when the SDK needs a token:
    [profile edge]
    region = eu-west-1
    endpoint_url = https://kvs-edge.example.com
    credential_process = kvs-edge credentials --token-command \"my-login print-token\"

  A loopback endpoint, for tokens that live less than 20 minutes or are slow to get:
    kvs-edge credentials --token-file /var/run/secrets/tokens/kvs-edge --serve 127.0.0.1:9911
  It prints the two variables that SDKs need.

  boto3 with tokens of 10 minutes, without an endpoint:
    kvs-edge credentials --token-command 'my-login print-token' --renews-ahead 15m";

/// How long a token command may take.
const COMMAND_DEADLINE: Duration = Duration::from_secs(60);

/// Runs the command; with `--serve`, until it is interrupted.
///
/// # Errors
/// No token, one that is no JWT or has ended, or an address that cannot be served.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    if let Some(address) = args.serve {
        serve::run(address, args.authorization_file, args.source, args.renews_ahead.0).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let now = Timestamp::now();
    let token = args.source.token(now).await?;
    if std::io::stdout().is_terminal() && token.remaining(now) < Duration::from_secs(20 * 60) {
        eprintln!(
            "note: this token ends in {} s; see --help about tokens that live less than 20 minutes",
            token.remaining(now).as_secs()
        );
    }
    let mut answer = json!({
        "Version": 1,
        "AccessKeyId": DUMMY,
        "SecretAccessKey": DUMMY,
        "Expiration": token.reported_end(args.renews_ahead.0, now),
    });
    answer["SessionToken"] = token.text.into();
    println!("{answer}");
    Ok(ExitCode::SUCCESS)
}

/// Access key id and secret key; they prove nothing and are the same everywhere.
const DUMMY: &str = "kvsedge";

/// A JWT and when it ends; shows only the latter.
#[derive(Clone)]
pub(super) struct Jwt {
    text: String,
    ends: Timestamp,
}

impl fmt::Debug for Jwt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Jwt(*** until {})", self.ends)
    }
}

impl Jwt {
    /// Reads `exp` without verifying anything: that is the gateway's part.
    fn read(text: &str, now: Timestamp) -> anyhow::Result<Self> {
        let text = text.trim();
        let mut segments = text.split('.');
        let (Some(_), Some(payload), Some(_), None) =
            (segments.next(), segments.next(), segments.next(), segments.next())
        else {
            bail!("this is no JWT (three segments with two dots between them)");
        };
        let payload = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).context("this is no JWT")?;
        let claims: Value = serde_json::from_slice(&payload).context("this is no JWT")?;
        let exp = claims["exp"].as_f64().context("the JWT has no `exp`, so kvs-edge would refuse it")?;
        let ends = Timestamp::from_seconds(exp).map_err(|why| anyhow::anyhow!("the JWT's `exp` {why}"))?;
        if ends <= now {
            bail!("the JWT ended at {ends}");
        }
        Ok(Self { text: text.to_owned(), ends })
    }

    fn remaining(&self, now: Timestamp) -> Duration {
        now.age(self.ends)
    }

    /// What to report as the end to an SDK that renews `ahead` of it: the truth unless `ahead` is given; else so much
    /// later that it renews a minute, or a quarter of the rest, before the true end.
    fn reported_end(&self, ahead: Duration, now: Timestamp) -> String {
        let margin = (self.remaining(now) / 4).min(Duration::from_secs(60));
        let end = if ahead.is_zero() { self.ends } else { self.ends.plus(ahead).minus(margin) };
        // Whole seconds: not every SDK reads fractions.
        let text = Timestamp::from_millis(end.millis() / 1000 * 1000).to_string();
        text.replace(".000Z", "Z")
    }
}

impl Source {
    /// A token that has not ended.
    async fn token(&self, now: Timestamp) -> anyhow::Result<Jwt> {
        match (&self.token_file, &self.token_command) {
            (Some(path), _) => {
                let text = tokio::fs::read_to_string(path).await;
                let text = text.with_context(|| format!("cannot read {}", path.display()))?;
                Jwt::read(&text, now).with_context(|| format!("{}", path.display()))
            }
            (None, Some(command)) => {
                Jwt::read(&output(command).await?, now).with_context(|| format!("what `{command}` printed"))
            }
            (None, None) => bail!("give --token-file FILE or --token-command CMD"),
        }
    }

    /// Whether getting a token costs more than reading a file.
    fn is_costly(&self) -> bool {
        self.token_command.is_some()
    }
}

async fn output(command: &str) -> anyhow::Result<String> {
    let child = tokio::process::Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(COMMAND_DEADLINE, child).await;
    let output =
        output.with_context(|| format!("`{command}` took longer than {} s", COMMAND_DEADLINE.as_secs()))?;
    let output = output.with_context(|| format!("cannot run `{command}`"))?;
    if !output.status.success() {
        bail!("`{command}` failed: {}", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("what `{command}` printed is not text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn jwt(exp: u64) -> String {
        let b64 = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.c2ln", b64(json!({ "alg": "ES256" })), b64(json!({ "exp": exp })))
    }

    const NOW: Timestamp = Timestamp::from_millis(1_000_000_000_000);

    #[test]
    fn only_a_jwt_that_has_not_ended_is_handed_on() {
        let text = jwt(1_000_000_600);
        let token = Jwt::read(&format!("{text}\n"), NOW).unwrap();
        assert_eq!(token.text, text);
        assert_eq!(token.remaining(NOW).as_secs(), 600);
        assert!(!format!("{token:?}").contains(&text));
        assert!(Jwt::read(&jwt(999_999_999), NOW).unwrap_err().to_string().contains("ended"));
        for bad in ["", "token", "a.b", "a.b.c", "a.e30.c", "a.b.c.d"] {
            assert!(Jwt::read(bad, NOW).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_reported_end_is_the_truth_unless_asked_otherwise() {
        let token = Jwt::read(&jwt(1_000_000_600), NOW).unwrap();
        assert_eq!(token.reported_end(Duration::ZERO, NOW), "2001-09-09T01:56:40Z");
        // boto3 renews 15 min ahead of what is reported: at 01:55:40, a minute before the true end.
        assert_eq!(token.reported_end(Duration::from_secs(900), NOW), "2001-09-09T02:10:40Z");
        let short = Jwt::read(&jwt(1_000_000_040), NOW).unwrap();
        assert_eq!(short.reported_end(Duration::from_secs(300), NOW), "2001-09-09T01:52:10Z");
    }

    #[tokio::test]
    async fn a_command_prints_the_token_or_says_why_not() {
        let source = |command: &str| Source { token_file: None, token_command: Some(command.into()) };
        let text = jwt(1_000_000_600);
        assert_eq!(source(&format!("echo {text}")).token(NOW).await.unwrap().text, text);
        let failed = source("exit 3").token(NOW).await.unwrap_err().to_string();
        assert!(failed.contains("exit 3") && failed.contains("failed"), "{failed}");
        assert!(source("echo hello").token(NOW).await.is_err());
    }
}
