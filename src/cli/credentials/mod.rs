//! `kvs-edge credentials`: gives AWS SDKs a JWT as their session token, and a new one whenever they request
//! it.
//!
//! Both ways are standard in the SDKs: the output of a `credential_process`, or a loopback endpoint like that
//! for the container credentials of ECS and EKS (`endpoint`). The keys beside the JWT are dummies; kvs-edge
//! checks no AWS signature.
//!
//! boto3 and the AWS CLI request credentials before every call once less than 15 minutes remain, JS once less
//! than 5 (measured). With tokens that never live longer, every call runs the process. The endpoint answers
//! such a request in a millisecond, and `--renews-ahead` reports a later end instead.

mod endpoint;
mod renewal;
mod token;

use crate::base::clock;
use crate::kvs::Timestamp;
use crate::setting::Span;
use serde_json::json;
use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use token::{DUMMY, TokenSource};

/// Give AWS SDKs a JWT as their session token, and renew it.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct CredentialsArgs {
    #[command(flatten)]
    source: TokenSource,
    /// Serve a container-credentials endpoint on this loopback address instead of printing once
    #[arg(long, value_name = "127.0.0.1:PORT")]
    serve: Option<SocketAddr>,
    /// With --serve: where to write what the SDKs must show in `Authorization`
    #[arg(long, value_name = "FILE", requires = "serve")]
    authorization_file: Option<PathBuf>,
    /// Report an end this much later than the token's, less a minute: for an SDK that renews this far ahead,
    /// when tokens live hardly longer. boto3 and AWS CLI: 15m; JS: 5m. Other SDKs would then use a token that
    /// has ended
    #[arg(long, value_name = "TIME", value_parser = Span::parse, default_value = "0s")]
    renews_ahead: Span,
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

/// Runs the command; with `--serve`, until it is interrupted.
///
/// # Errors
/// No token, one that is no JWT or has ended, or an address that cannot be served.
pub async fn run(args: CredentialsArgs) -> anyhow::Result<ExitCode> {
    if let Some(address) = args.serve {
        endpoint::run(address, args.authorization_file, args.source, args.renews_ahead.0).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let now = Timestamp::from(clock::now());
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
