//! `healthcheck`: whether the gateway of this configuration is ready, for containers and scripts.

use super::setup::ConfigFile;
use crate::net::listener::ListenAddress;
use anyhow::Context;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::process::ExitCode;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;

/// Ask the running gateway whether it is ready; exit 0 if it is, 1 if not
#[derive(clap::Args)]
#[command(after_help = "\
It asks `/readyz` of the admin listener (admin.listen) and prints the answer.

Examples:
  kvs-edge healthcheck --config /etc/kvs-edge/kvs-edge.toml
  HEALTHCHECK CMD [\"kvs-edge\", \"healthcheck\", \"--config\", \"/etc/kvs-edge/kvs-edge.toml\"]")]
pub struct HealthcheckArgs {
    #[command(flatten)]
    file: ConfigFile,
    /// Seconds to wait for the answer
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=300))]
    timeout: u64,
}

/// Asks and prints the answer.
///
/// # Errors
/// The configuration is refused, or there is no answer.
pub async fn run(args: HealthcheckArgs) -> anyhow::Result<ExitCode> {
    let (_, config) = args.file.load()?;
    let place = config.admin.listen;
    let answer = tokio::time::timeout(Duration::from_secs(args.timeout), ask(&place));
    let (is_ready, body) = answer
        .await
        .with_context(|| format!("no answer from {place} (admin.listen) within {} s", args.timeout))?
        .with_context(|| format!("{place} (admin.listen) cannot be asked: is kvs-edge running?"))?;
    println!("{}", body.trim_end());
    Ok(ExitCode::from(u8::from(!is_ready)))
}

async fn ask(place: &ListenAddress) -> anyhow::Result<(bool, String)> {
    match (place, place.host_and_port()) {
        (ListenAddress::Unix(path), _) => readiness(UnixStream::connect(path).await?).await,
        (_, Some((host, port))) => {
            let host = match host {
                "0.0.0.0" | "*" => "127.0.0.1",
                "::" => "::1",
                other => other,
            };
            readiness(TcpStream::connect((host, port)).await?).await
        }
        _ => anyhow::bail!("admin.listen is no address"),
    }
}

async fn readiness(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> anyhow::Result<(bool, String)> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut connections = JoinSet::new();
    connections.spawn(connection);
    let request = Request::get("/readyz").header("host", "localhost").body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let is_ready = response.status().is_success();
    let body = response.into_body().collect().await?.to_bytes();
    Ok((is_ready, String::from_utf8_lossy(&body).into_owned()))
}
