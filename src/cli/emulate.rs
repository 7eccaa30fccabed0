//! `emulate`: a local Kinesis Video Streams.

use anyhow::Context;
use kvs_edge_emulator as emulator;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

/// Run a Kinesis Video Streams on loopback: real video and sound, SigV4 checked, faults on request
#[derive(clap::Args)]
#[command(after_help = "\
Sign requests with the printed keys, service kinesisvideo.

Examples:
  kvs-edge emulate                                  cam-1, cam-2 and cam-3 on 127.0.0.1:4567
  kvs-edge emulate --listen 127.0.0.1:5000 --config emulator.toml
  kvs-edge emulate --allow-faults                   then delay the next clip by half a second:
    curl -X POST http://127.0.0.1:4567/_emulator/faults \\
      -d '{\"operation\":\"GetClip\",\"fault\":{\"kind\":\"delay\",\"millis\":500},\"times\":1}'
    curl http://127.0.0.1:4567/_emulator/requests   what it counted

A configuration, every key optional:
  streams = [\"front-door\", \"yard\"]
  producers = { yard = { container = \"sdk\", timing = \"jitter\", sound = \"none\" } }
  retention_hours = 48
  quotas = false
What cameras make (container, timing, codecs, …) and every fault: docs/EMULATOR.md")]
pub struct EmulateArgs {
    /// Where to listen; without it `listen` of the settings, 127.0.0.1:4567 by default
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// Settings of the emulator, as TOML
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Accept fault plans at /_emulator/faults, from loopback only
    #[arg(long)]
    allow_faults: bool,
}

/// Runs the emulator until Ctrl-C.
///
/// # Errors
/// The settings are wrong, or the address is taken.
pub fn run(args: &EmulateArgs) -> anyhow::Result<ExitCode> {
    let mut config: emulator::Config = match &args.config {
        Some(path) => super::setup::source(path)?.parse()?,
        None => emulator::Config::default(),
    };
    config.listen = args.listen.unwrap_or(config.listen);
    let listen = config.listen;
    config.allow_faults |= args.allow_faults;
    super::setup::runtime()?.block_on(async {
        let (access_key, secret_key, region) =
            (config.access_key.clone(), config.secret_key.clone(), config.region.clone());
        let running = emulator::start(config).await.with_context(|| format!("cannot listen on {listen}"))?;
        println!("emulator on {}, region {region}", running.url());
        println!("AWS_ACCESS_KEY_ID={access_key} AWS_SECRET_ACCESS_KEY={secret_key} AWS_REGION={region}");
        tokio::signal::ctrl_c().await?;
        running.stop();
        Ok(ExitCode::SUCCESS)
    })
}
