//! The command line: one file per command.

mod check;
mod credentials;
#[cfg(feature = "emulator")]
mod demo;
#[cfg(feature = "emulator")]
mod emulate;
mod explain;
mod healthcheck;
mod licenses;
mod print_config;
mod serve;
mod setup;
mod shell;
mod stream_args;
mod token;
mod who_can_see;

use crate::config::InvalidConfig;
use clap::{CommandFactory, Parser, Subcommand};
use std::process::ExitCode;

/// Kinesis Video Streams archived media without AWS credentials: a caching, authenticating reverse proxy.
#[derive(Parser)]
#[command(name = "kvs-edge", version = crate::base::version::LONG, propagate_version = true)]
#[command(arg_required_else_help = true, after_help = EXAMPLES)]
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
    Serve(serve::ServeArgs),
    Check(check::CheckArgs),
    PrintConfig(print_config::PrintConfigArgs),
    Explain(explain::ExplainArgs),
    WhoCanSee(who_can_see::WhoCanSeeArgs),
    Healthcheck(healthcheck::HealthcheckArgs),
    #[cfg(feature = "emulator")]
    Demo(demo::DemoArgs),
    #[cfg(feature = "emulator")]
    Emulate(emulate::EmulateArgs),
    Token(token::TokenArgs),
    Credentials(credentials::CredentialsArgs),
    Completions(shell::CompletionsArgs),
    Licenses(licenses::LicensesArgs),
    Man(shell::ManArgs),
}

/// Parses the command line and runs the command.
#[must_use]
pub fn run() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Serve(args) => serve::run(&args),
        Command::Check(args) => check::run(&args),
        Command::PrintConfig(args) => print_config::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::WhoCanSee(args) => who_can_see::run(&args),
        Command::Healthcheck(args) => {
            setup::runtime().and_then(|runtime| runtime.block_on(healthcheck::run(args)))
        }
        Command::Licenses(licenses::LicensesArgs {}) => licenses::run(),
        Command::Completions(args) => shell::completions(&args, Arguments::command()),
        Command::Man(shell::ManArgs {}) => shell::man(Arguments::command()),
        #[cfg(feature = "emulator")]
        Command::Demo(args) => demo::run(&args),
        #[cfg(feature = "emulator")]
        Command::Emulate(args) => emulate::run(&args),
        Command::Token(args) => token::run(&args),
        Command::Credentials(args) => {
            setup::runtime().and_then(|runtime| runtime.block_on(credentials::run(args)))
        }
    };
    done.unwrap_or_else(|error| {
        // A refused configuration is a list of places; everything else is one sentence with its causes.
        if let Some(refused) = error.downcast_ref::<InvalidConfig>() {
            eprintln!("{refused}");
            return ExitCode::from(setup::REFUSED);
        }
        eprintln!("kvs-edge: {error:#}");
        ExitCode::FAILURE
    })
}
