//! Where the JWT comes from, and when it ends.

use crate::kvs::Timestamp;
use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use std::fmt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

/// Where tokens come from: a file or a command.
#[derive(Clone, Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(super) struct TokenSource {
    /// Read the JWT from this file each time, such as a projected Kubernetes service-account token
    #[arg(long, value_name = "FILE")]
    pub(super) token_file: Option<PathBuf>,
    /// Run this (by `sh -c`) and read the JWT from its output
    #[arg(long, value_name = "CMD")]
    pub(super) token_command: Option<String>,
}

/// How long a token command may take.
const COMMAND_DEADLINE: Duration = Duration::from_secs(60);

/// Access key id and secret key: constants that prove nothing.
pub(super) const DUMMY: &str = "kvsedge";

/// A JWT and when it ends. `Debug` shows only the latter.
#[derive(Clone)]
pub(super) struct Jwt {
    pub(super) text: String,
    pub(super) ends: Timestamp,
}

impl fmt::Debug for Jwt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Jwt(*** until {})", self.ends)
    }
}

impl Jwt {
    /// Reads `exp` and verifies nothing; the gateway does.
    pub(super) fn read(text: &str, now: Timestamp) -> anyhow::Result<Self> {
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

    pub(super) fn remaining(&self, now: Timestamp) -> Duration {
        now.age(self.ends)
    }

    /// The end to report to an SDK that renews `ahead` of it. Without `ahead` it is the true end; else it is
    /// so much later that the SDK renews a minute, or a quarter of the rest, before the true end.
    pub(super) fn reported_end(&self, ahead: Duration, now: Timestamp) -> String {
        let margin = (self.remaining(now) / 4).min(Duration::from_secs(60));
        let end = if ahead.is_zero() { self.ends } else { self.ends.plus(ahead).minus(margin) };
        // Whole seconds: not every SDK reads fractions.
        let text = Timestamp::from_millis(end.millis() / 1000 * 1000).to_string();
        text.replace(".000Z", "Z")
    }
}

impl TokenSource {
    /// A token that has not ended.
    pub(super) async fn token(&self, now: Timestamp) -> anyhow::Result<Jwt> {
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
    pub(super) fn is_costly(&self) -> bool {
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

/// An unsigned JWT that ends at `exp`, in seconds since 1970.
#[cfg(test)]
pub(super) fn test_jwt(exp: u64) -> String {
    let b64 = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let (header, claims) = (serde_json::json!({ "alg": "ES256" }), serde_json::json!({ "exp": exp }));
    format!("{}.{}.c2ln", b64(header), b64(claims))
}

#[cfg(test)]
mod tests {
    use super::test_jwt as jwt;
    use super::*;

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
        let source = |command: &str| TokenSource { token_file: None, token_command: Some(command.into()) };
        let text = jwt(1_000_000_600);
        assert_eq!(source(&format!("echo {text}")).token(NOW).await.unwrap().text, text);
        let failed = source("exit 3").token(NOW).await.unwrap_err().to_string();
        assert!(failed.contains("exit 3") && failed.contains("failed"), "{failed}");
        assert!(source("echo hello").token(NOW).await.is_err());
    }
}
