//! The process: reads the command line, runs the command, ends with its exit code.

use std::{
    io::{self, IsTerminal as _},
    process::ExitCode,
};

use clap::Parser as _;
use tollgate::{
    cli::{self, Cli, Command, ServeOptions, Verdict, check::Colours},
    config,
};

fn main() -> ExitCode {
    let (out, err) = (&mut io::stdout().lock(), &mut io::stderr().lock());
    let verdict = match Cli::parse().into_command() {
        Command::Check(options) => {
            let is_coloured = config::shows_colours(io::stdout().is_terminal());
            let colours = if is_coloured { Colours::On } else { Colours::Off };
            cli::check::run(&options, colours, out, err)
        }
        Command::Config(options) => cli::show_settings(&options, config::from_environment, out, err),
        Command::Serve(options) => serve(&options, err),
        Command::Demo(_) => not_in_this_build("demo", err),
        Command::Sign(_) => not_in_this_build("sign", err),
        Command::Metrics => not_in_this_build("metrics", err),
    };
    match verdict {
        Ok(verdict) => ExitCode::from(verdict.code()),
        // Whoever reads our output has read enough, as `head` does.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Reads the settings; the node that they are for is not connected yet.
fn serve(_options: &ServeOptions, err: &mut dyn io::Write) -> io::Result<Verdict> {
    match config::from_environment() {
        Ok(_loaded) => not_in_this_build("serve", err),
        Err(problems) => {
            cli::tell_problems(&problems, err)?;
            Ok(Verdict::BadSettings)
        }
    }
}

/// The seam of the commands whose rooms are not connected yet.
fn not_in_this_build(command: &str, err: &mut dyn io::Write) -> io::Result<Verdict> {
    writeln!(err, "tollgate: this build has no `{command}` yet")?;
    Ok(Verdict::Failed)
}
