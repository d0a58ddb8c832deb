//! The checks of the fuzz targets, on the kept corpus and on inputs that are made from it: always the same ones, so that a
//! failure comes again. `fuzz/README.md` says how to look further. What an event says is compared in `stripe_differential`.
#![allow(clippy::arithmetic_side_effects, reason = "a test that overflows fails, as it should")]

mod journal_record;
mod peer_message;
mod policy_file;
mod signature_header;

use std::{fs, path::Path};

use fastrand::Rng;

/// Bytes that formats give a meaning to.
const TELLING: &[u8] = b"\"'\\{}[]:,-#&*!|>%@` \t\n0123456789.eE+=tv1QRHPL\x00\x01\x7f\x80\xc3\xff";

/// How much larger than the corpus an input may grow.
const BYTES_MAX: usize = 16 * 1024;

/// The kept inputs of a target, in the order of their names.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut paths: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 5, "{target} has a corpus of {}", paths.len());
    paths.into_iter().map(|path| fs::read(path).unwrap()).collect()
}

/// An input of the corpus with some bytes changed, lost, doubled, cut off, or taken from another one.
fn changed(corpus: &[Vec<u8>], seed: u64) -> Vec<u8> {
    let mut rng = Rng::with_seed(seed);
    let mut input = corpus[rng.usize(..corpus.len())].clone();
    for _ in 0..rng.usize(1..6) {
        let at = rng.usize(..=input.len());
        let until = rng.usize(at..=input.len().min(at + 64));
        match rng.u8(0..8) {
            0 | 1 if at < input.len() => input[at] = TELLING[rng.usize(..TELLING.len())],
            2 if at < input.len() => input[at] ^= 1 << rng.u8(0..8),
            3 => input.insert(at, TELLING[rng.usize(..TELLING.len())]),
            4 => drop(input.drain(at..until)),
            5 => {
                let doubled = input[at..until].to_vec();
                drop(input.splice(at..at, doubled));
            }
            6 if rng.u8(0..4) == 0 => input.truncate(at),
            _ => {
                let other = &corpus[rng.usize(..corpus.len())];
                let from = rng.usize(..=other.len());
                let to = rng.usize(from..=other.len().min(from + 64));
                drop(input.splice(at..until, other[from..to].iter().copied()));
            }
        }
    }
    input.truncate(BYTES_MAX);
    input
}

/// Says which input it was that a check did not like.
struct Story<'a>(&'a str, String);

impl Drop for Story<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}: {}", self.0, self.1);
        }
    }
}

fn run(target: &str, runs: u64, check: fn(&[u8])) {
    let corpus = corpus(target);
    for (n, input) in corpus.iter().enumerate() {
        let _story = Story(target, format!("input {n} of the corpus"));
        check(input);
    }
    for seed in 0..runs {
        let input = changed(&corpus, seed);
        let _story = Story(target, format!("seed {seed}: {}", input.escape_ascii()));
        check(&input);
    }
}

#[test]
fn messages_of_peers_are_read_or_refused() {
    run("peer_message", 40_000, peer_message::check);
}

#[test]
fn entries_of_the_journal_are_read_or_refused() {
    run("journal_record", 20_000, journal_record::check);
}

#[test]
fn policy_files_are_read_or_told_of_their_mistakes() {
    run("policy_file", 4_000, policy_file::check);
}

#[test]
fn signature_headers_are_read_by_the_grammar_alone() {
    run("signature_header", 10_000, signature_header::check);
}
