//! `completions` and `man`: what packages install beside the program.

use clap::Command;
use clap_complete::Shell;
use std::io::{self, Write};
use std::process::ExitCode;

/// Print what makes a shell complete commands and options
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  kvs-edge completions bash > /usr/share/bash-completion/completions/kvs-edge
  kvs-edge completions zsh > /usr/share/zsh/vendor-completions/_kvs-edge
  kvs-edge completions fish > ~/.config/fish/completions/kvs-edge.fish")]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Print the manual page
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  kvs-edge man | man -l -
  kvs-edge man > /usr/share/man/man1/kvs-edge.1")]
pub struct ManArgs {}

/// Prints the completions of a shell.
///
/// # Errors
/// Standard output cannot be written.
pub fn completions(args: &CompletionsArgs, mut command: Command) -> anyhow::Result<ExitCode> {
    let mut text = Vec::new();
    let name = command.get_name().to_owned();
    clap_complete::generate(args.shell, &mut command, name, &mut text);
    io::stdout().write_all(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Prints the manual page: the program, and each of its commands behind it.
///
/// # Errors
/// Standard output cannot be written.
pub fn man(mut command: Command) -> anyhow::Result<ExitCode> {
    command.build();
    let mut text = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut text)?;
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        let mut section = Vec::new();
        let page = clap_mangen::Man::new(sub.clone());
        page.render_synopsis_section(&mut section)?;
        page.render_description_section(&mut section)?;
        page.render_options_section(&mut section)?;
        writeln!(text, ".SH \"{}\"", sub.get_name().to_uppercase())?;
        // Its sections stand one floor lower.
        text.extend(String::from_utf8_lossy(&section).replace(".SH ", ".SS ").into_bytes());
    }
    io::stdout().write_all(&text)?;
    Ok(ExitCode::SUCCESS)
}
