//! `check`: is this configuration good?

use super::setup::ConfigFile;
use crate::app;
use std::process::ExitCode;

/// Check a configuration: settings, secrets, keys, certificates and policies; exit 0, or 2 with the place of
/// each fault
#[derive(clap::Args)]
#[command(after_help = "\
Faults are printed one per line as file:line:column: key: problem. What is allowed and probably not meant is
printed behind the summary, as `warning: file:line:column: key: problem`.

Examples:
  kvs-edge check --config kvs-edge.toml
  kvs-edge check --config kvs-edge.toml --strict      warnings are faults too, as in CI
  kvs-edge check --config kvs-edge.toml --online")]
pub struct CheckArgs {
    #[command(flatten)]
    file: ConfigFile,
    /// Also fetch key sets, obtain AWS credentials and call KVS once per [[aws]] entry
    #[arg(long)]
    online: bool,
    /// Exit 2 if there are warnings
    #[arg(long)]
    strict: bool,
}

/// Checks and prints a summary.
///
/// # Errors
/// The configuration is refused.
pub fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let source = args.file.source()?;
    super::setup::runtime()?.block_on(async {
        let checked = app::check(&source, args.online).await?;
        println!("{checked}");
        let is_refused = args.strict && !checked.warnings.is_empty();
        Ok(if is_refused { ExitCode::from(super::setup::REFUSED) } else { ExitCode::SUCCESS })
    })
}
