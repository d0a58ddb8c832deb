//! What this run is to do, from its arguments.

use std::time::Duration;

use crate::Scale;

pub(crate) enum Plan {
    /// Be the bare server that the node is measured against.
    Bare,
    /// Tell a test runner what there is.
    List,
    Measure(Scale),
}

const USAGE: &str = "cargo bench --bench node -- [--rounds N] [--requests N] [--cards N] [--seconds N] \
                     [--memory-cards N] [--other PATH] [cpu] [hot] [latency] [memory] \
                     [instructions] [cluster] [budgets]";

impl Plan {
    pub(crate) fn from_arguments(arguments: impl Iterator<Item = String>) -> Self {
        let arguments: Vec<String> = arguments.collect();
        let has = |name: &str| arguments.iter().any(|argument| argument == name);
        if has("serve-bare") {
            return Self::Bare;
        }
        if has("--list") {
            return Self::List;
        }
        let mut scale = if has("--bench") { full() } else { tiny() };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            if argument == "--other" {
                scale.other = Some(rest.next().expect(USAGE).to_owned());
                continue;
            }
            let mut number = || rest.next().and_then(|text| text.parse().ok()).expect(USAGE);
            match argument.as_str() {
                "--rounds" => scale.rounds = number(),
                "--requests" => scale.requests = number(),
                "--cards" => scale.cards = number(),
                "--seconds" => scale.open_loop = Duration::from_secs(number() as u64),
                "--memory-cards" => scale.memory_cards = number(),
                part @ ("cpu" | "hot" | "latency" | "memory" | "instructions" | "cluster" | "budgets") => {
                    scale.parts.push(part.to_owned());
                }
                // Cargo and test runners have arguments of their own.
                _ => {}
            }
        }
        Self::Measure(scale)
    }
}

fn full() -> Scale {
    Scale {
        rounds: 5,
        requests: 40_000,
        cards: 10_000,
        open_loop: Duration::from_secs(4),
        memory_cards: 20_000,
        memory_settles: Duration::from_secs(20),
        parts: Vec::new(),
        other: None,
    }
}

/// Everything once, in seconds, in a debug build too.
fn tiny() -> Scale {
    Scale {
        rounds: 1,
        requests: 400,
        cards: 50,
        open_loop: Duration::from_millis(200),
        memory_cards: 64,
        memory_settles: Duration::ZERO,
        parts: Vec::new(),
        other: None,
    }
}
