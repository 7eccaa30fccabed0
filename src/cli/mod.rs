//! The command line: one file per command.

mod check;
mod credentials;
#[cfg(feature = "emulator")]
mod demo;
#[cfg(feature = "emulator")]
mod emulate;
mod explain;
mod print_config;
mod serve;
mod token;

use crate::config::{Config, Refused, Source};
use clap::{Parser, Subcommand};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What exits with 2: settings that cannot be used.
const REFUSED: u8 = 2;

/// Kinesis Video Streams archived media without AWS credentials: a caching, authenticating reverse proxy.
#[derive(Parser)]
#[command(name = "kvs-edge", version, propagate_version = true, arg_required_else_help = true, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

macro_rules! examples {
    ($demo:literal) => {
        concat!(
            "Examples:\n",
            $demo,
            "  kvs-edge check --config /etc/kvs-edge.toml      is this configuration good?\n",
            "  kvs-edge serve --config /etc/kvs-edge.toml      run it\n",
            "  kvs-edge explain --config kvs-edge.toml --claims alice.json --action GetClip --stream cam-1"
        )
    };
}

#[cfg(feature = "emulator")]
const EXAMPLES: &str = examples!(
    "  kvs-edge demo                                   try it: emulator, gateway, token, three cameras\n"
);
#[cfg(not(feature = "emulator"))]
const EXAMPLES: &str = examples!("");

#[derive(Subcommand)]
enum Command {
    Serve(serve::Args),
    Check(check::Args),
    PrintConfig(print_config::Args),
    Explain(explain::Args),
    #[cfg(feature = "emulator")]
    Demo(demo::Args),
    #[cfg(feature = "emulator")]
    Emulate(emulate::Args),
    Token(token::Args),
    Credentials(credentials::Args),
}

/// Reads the command line and does what it says.
#[must_use]
pub fn run() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Serve(args) => serve::run(&args),
        Command::Check(args) => check::run(&args),
        Command::PrintConfig(args) => print_config::run(&args),
        Command::Explain(args) => explain::run(&args),
        #[cfg(feature = "emulator")]
        Command::Demo(args) => demo::run(&args),
        #[cfg(feature = "emulator")]
        Command::Emulate(args) => emulate::run(&args),
        Command::Token(args) => token::run(&args),
        Command::Credentials(args) => runtime().and_then(|runtime| runtime.block_on(credentials::run(args))),
    };
    done.unwrap_or_else(|error| {
        // A refused configuration is a list of places; everything else is one sentence with its causes.
        if let Some(refused) = error.downcast_ref::<Refused>() {
            eprintln!("{refused}");
            return ExitCode::from(REFUSED);
        }
        eprintln!("kvs-edge: {error:#}");
        ExitCode::FAILURE
    })
}

/// The argument that every command with a configuration takes.
#[derive(clap::Args)]
struct ConfigFile {
    /// The configuration file; every key can also be set as KVS_EDGE__SECTION__KEY
    #[arg(long, value_name = "FILE", env = "KVS_EDGE_CONFIG")]
    config: PathBuf,
}

impl ConfigFile {
    fn source(&self) -> Result<Source, Refused> {
        source(&self.config)
    }

    fn load(&self) -> Result<(Source, Config), Refused> {
        let source = self.source()?;
        let config = Config::load(&source)?;
        Ok((source, config))
    }
}

fn source(path: &Path) -> Result<Source, Refused> {
    Source::read(path, std::env::vars())
}

/// A runtime as the program uses it: as many workers as cores, or `KVS_EDGE_WORKERS`.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(workers) = std::env::var("KVS_EDGE_WORKERS").ok().and_then(|text| text.parse().ok()) {
        builder.worker_threads(std::cmp::max(1, workers));
    }
    Ok(builder.enable_all().thread_name("kvs-edge").build()?)
}
