//! `licenses`: the licence of kvs-edge, and those of what it is made of.

use std::io::{self, Write};
use std::process::ExitCode;

/// Ours.
const OWN: &str = include_str!("../../LICENSE");
/// Of the crates and of the libraries of the console's page, as `scripts/notices` writes them.
const OTHERS: &[u8] = include_bytes!("../../licenses/third-party.txt.gz");

/// Print the licence of kvs-edge and of everything that it contains
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  kvs-edge licenses | less
  kvs-edge licenses > /usr/share/doc/kvs-edge/copyright")]
pub struct LicensesArgs {}

/// Prints them.
///
/// # Errors
/// Standard output cannot be written.
pub fn run() -> anyhow::Result<ExitCode> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}\n", OWN.trim_end())?;
    match io::copy(&mut flate2::read::GzDecoder::new(OTHERS), &mut out).and_then(|_| out.flush()) {
        // A pager that was left early.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        printed => printed?,
    }
    Ok(ExitCode::SUCCESS)
}
