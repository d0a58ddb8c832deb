//! The process: reads the command line, runs the command, ends with its exit code.

use std::{
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
};

use clap::Parser as _;
use tollgate::{
    cli::{self, Cli, Command, Verdict, check::Colours, serve::Reader},
    config, demo, export, http, metrics, reconcile, replay,
};

/// Many small, short-lived values: measured to take a tenth off each request against the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    without_huge_pages();
    for_its_owner_alone();
    let (out, err) = (&mut io::stdout(), &mut io::stderr());
    let is_coloured = config::shows_colours(io::stdout().is_terminal());
    let colours = if is_coloured { Colours::On } else { Colours::Off };
    let load = config::from_environment;
    let verdict = match Cli::parse().into_command() {
        Command::Serve(options) => {
            let program = std::env::args().next().unwrap_or_else(|| "tollgate".to_owned());
            let is_terminal = io::stderr().is_terminal();
            let reader = if is_terminal { Reader::Person { program: &program } } else { Reader::Program };
            cli::serve::run(&options, load, reader, err)
        }
        Command::Demo(options) => demo::run(&options, colours, out, err),
        Command::Check(options) => cli::check::run(&options, colours, &mut io::stdin(), out, err),
        Command::Test(options) => cli::test::run(&options, load, colours, out, err),
        Command::Purchase(options) => demo::purchase::run(&options, load, colours, out, err),
        Command::Tail(options) => demo::tail::run(&options, load, colours, out, err),
        Command::Raise(options) => demo::order::raise(&options, load, out, err),
        Command::Grant(options) => demo::order::grant(&options, load, out, err),
        Command::Pause(options) => demo::order::pause(&options, load, out, err),
        Command::Resume(options) => demo::order::resume(&options, load, out, err),
        Command::Sign(options) => cli::sign::run(&options, load, out, err),
        Command::Token(options) => cli::token::run(&options, out, err),
        Command::Config(options) => cli::show_settings(&options, load, out, err),
        Command::Reconcile(options) => {
            let is_terminal = io::stderr().is_terminal();
            reconcile::run(&options, load, is_terminal, out, err)
        }
        Command::Replay(options) => replay::run(&options, load, io::stderr().is_terminal(), out, err),
        Command::Export(options) => export::run(&options, load, out, err),
        Command::Metrics(options) => {
            let show = if options.markdown { metrics::markdown } else { metrics::overview };
            write!(out, "{}", show(&http::vocabulary())).map(|()| Verdict::Done)
        }
        Command::Completions(options) => cli::pages::completions(&options, out),
        Command::Man(options) => cli::pages::man(&options, out, err),
    };
    match verdict {
        Ok(verdict) => ExitCode::from(verdict.code()),
        // Whoever reads our output has read enough, as `head` does.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(err, "tollgate: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Files and directories that this process makes are readable by its own user alone: the journal holds what cards spend.
fn for_its_owner_alone() {
    #[cfg(unix)]
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
}

/// The system clears a huge page of 2 MiB at once, while requests wait; small pages, one by one, are also fewer in all.
fn without_huge_pages() {
    // What it cannot have it does without: only time is lost.
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}
