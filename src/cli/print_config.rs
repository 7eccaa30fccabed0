//! `print-config`: the settings in force, defaults and environment included.

use super::setup::ConfigFile;
use std::process::ExitCode;

/// Print the effective configuration: file, environment and defaults together, secrets only by where they are
/// kept
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  KVS_EDGE__CACHE__MEMORY=2GiB kvs-edge print-config --config kvs-edge.toml"
)]
pub struct PrintConfigArgs {
    #[command(flatten)]
    file: ConfigFile,
}

/// Prints it.
///
/// # Errors
/// The configuration is refused.
pub fn run(args: &PrintConfigArgs) -> anyhow::Result<ExitCode> {
    let (_, config) = args.file.load()?;
    print!("{}", config.to_toml()?);
    Ok(ExitCode::SUCCESS)
}
