//! `cargo run --release -p tollgate-simulation -- --seeds 1000`: runs seeds, shows progress, and tells the story of the first
//! one that breaks a promise.
#![allow(clippy::print_stdout, reason = "a command line program prints")]

use std::process::ExitCode;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use tollgate_simulation::{Planted, run};

/// Runs whole clusters from seeds, and looks for broken promises.
#[derive(Parser)]
struct Arguments {
    /// How many seeds are run.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first one.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Run this one alone, and tell its whole story.
    #[arg(long)]
    seed: Option<u64>,
    /// Plant this fault in the engine: it has to be found.
    #[arg(long, value_parser = planted)]
    planted: Option<Planted>,
    /// List the faults that can be planted.
    #[arg(long)]
    list: bool,
}

fn planted(name: &str) -> Result<Planted, String> {
    Planted::new(name).ok_or_else(|| format!("expected one of those that --list names, found `{name}`"))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.list {
        for planted in Planted::ALL {
            println!("{:<28} {}", planted.as_str(), planted.about());
        }
        return ExitCode::SUCCESS;
    }
    if let Some(seed) = arguments.seed {
        let run = run(seed, arguments.planted);
        print!("{run}");
        return if run.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} seeds, {per_sec}, {eta} left");
    let bar = ProgressBar::new(arguments.seeds);
    if let Ok(style) = style {
        bar.set_style(style);
    }
    let (mut requests, mut decided) = (0_u64, 0_u64);
    for seed in (arguments.from..).take(usize::try_from(arguments.seeds).unwrap_or(usize::MAX)) {
        let run = run(seed, arguments.planted);
        if !run.is_clean() {
            bar.abandon();
            print!("{run}");
            println!("again: cargo run --release -p tollgate-simulation -- --seed {seed}");
            return ExitCode::FAILURE;
        }
        requests = requests.saturating_add(run.requests);
        decided = decided.saturating_add(run.decided);
        bar.inc(1);
    }
    bar.finish_and_clear();
    println!(
        "{} seeds from {}: {requests} requests, {decided} decided by policy, no promise broken ({:.0} s)",
        arguments.seeds,
        arguments.from,
        bar.elapsed().as_secs_f64()
    );
    ExitCode::SUCCESS
}
