//! `serve`: the gateway.

use super::setup::ConfigFile;
use crate::app;
use std::process::ExitCode;

/// Run the gateway
#[derive(clap::Args)]
#[command(after_help = "\
SIGTERM and SIGINT drain and end it (a second one ends it at once); SIGHUP reloads the configuration.

Example:
  kvs-edge serve --config /etc/kvs-edge/kvs-edge.toml")]
pub struct ServeArgs {
    #[command(flatten)]
    file: ConfigFile,
}

/// Serves until a signal ends it.
///
/// # Errors
/// The configuration is refused, or an address cannot be listened on.
pub fn run(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    let source = args.file.source()?;
    super::setup::runtime()?.block_on(async {
        let running = app::start(source, app::Logging::AsConfigured).await?;
        app::until_stopped(running).await;
        Ok(ExitCode::SUCCESS)
    })
}
