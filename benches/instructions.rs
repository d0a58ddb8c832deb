//! How many instructions the pure parts take, by callgrind's count: it is the same from run to run, whatever else the
//! machine does. The counts that are kept are in `instructions.txt`, beside this, with the compiler, the profile and the
//! processor's abilities that they are of: under any other they are told and held against nothing. To write them anew:
//! `cargo bench --profile instructions --bench instructions -- --update`.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark talks to people, and stops at the first surprise"
)]

mod purchases;

use std::{
    collections::BTreeMap,
    env, fs,
    hint::black_box,
    path::Path,
    process::{Command, ExitCode, Output},
    sync::Arc,
    time::Duration,
};

use tollgate::{
    domain::{Decided, Event, Outcome, Timestamp, decide},
    journal::record,
    stripe::{Reader, Reading, Secret, Verifier, decision_body, sign},
};

/// What each part may change by before the check fails, in percent.
const TOLERANCE: f64 = 3.0;
/// How often a part is done while instructions are counted.
const CALLS: u32 = 100;
/// The purchases behind the card that is decided for.
const PURCHASES: u32 = 1_000;
const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.txt");
const NOW: Timestamp = Timestamp::from_seconds(1_785_500_000);

/// The parts, in the order of a request's walk.
const PARTS: [(&str, fn()); 8] = [
    ("signature", signature),
    ("parse", parse),
    ("decide", deciding),
    ("decide-200-rules", deciding_by_rules),
    ("decline", declining),
    ("book", booking),
    ("reply", reply),
    ("read-back", reading_back),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let part = |name: &str| PARTS.iter().find(|(known, _)| *known == name).map(|(_, part)| *part);
    match &arguments[..] {
        [flag] if flag == "--abilities" => println!("{}", abilities()),
        [flag, name] if flag == "--part" => part(name).unwrap()(),
        given if given.iter().any(|flag| flag == "--bench") => {
            return check(given.iter().any(|flag| flag == "--update"));
        }
        // As a test: that each part still runs.
        _ => PARTS.iter().for_each(|(_, part)| part()),
    }
    ExitCode::SUCCESS
}

/// Counts all parts, and holds them against what is kept.
fn check(is_update: bool) -> ExitCode {
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!(
            "SKIPPED instruction counts: valgrind is not installed: install it (on Debian: apt-get install valgrind)"
        );
        return if env::var_os("TEST_SERVERS_REQUIRED").is_some() {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        };
    }
    let conditions = conditions();
    let counted: Vec<(&str, f64)> = PARTS.iter().map(|(name, _)| (*name, instructions(name))).collect();
    if is_update {
        let conditions = conditions.iter().map(|(name, value)| format!("{name} {value}\n"));
        let counts = counted.iter().map(|(name, count)| format!("{name} {count:.0}\n"));
        fs::write(KEPT, conditions.chain(counts).collect::<String>()).unwrap();
    }
    let text = fs::read_to_string(KEPT).unwrap_or_default();
    let lines: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once(' ')).collect();
    let kept: BTreeMap<&str, f64> =
        lines.iter().filter_map(|(name, count)| Some((*name, count.parse().ok()?))).collect();
    let mut is_within = true;
    println!("{:<10} {:>13} {:>10} {:>9}", "part", "instructions", "kept", "change");
    for (name, count) in counted {
        let Some(before) = kept.get(name) else {
            println!(
                "{name:<10} {count:>13.0}  expected a count in {KEPT}, found none: write it with --update"
            );
            is_within = false;
            continue;
        };
        let change = (count / before - 1.0) * 100.0;
        println!("{name:<10} {count:>13.0} {before:>10.0} {change:>+8.2}%");
        is_within &= change.abs() <= TOLERANCE;
    }
    for (name, value) in &conditions {
        let before = lines.get(name).copied().unwrap_or("nothing");
        if before != value {
            println!(
                "SKIPPED the check of instruction counts: they are kept for {name} {before}, this is {value}"
            );
            return ExitCode::SUCCESS;
        }
    }
    if is_within {
        return ExitCode::SUCCESS;
    }
    println!(
        "expected every part within {TOLERANCE} % of what is kept, found more: find the cause, or keep the new counts \
         with `cargo bench --profile instructions --bench instructions -- --update` and say why"
    );
    ExitCode::FAILURE
}

/// What counts depend on besides the code: each has a name and a value.
fn conditions() -> [(&'static str, String); 3] {
    let compiler = Command::new("rustc").arg("--version").output().unwrap();
    // The directory that cargo builds a profile in has its name; that of `bench` is `release`.
    let own = env::current_exe().unwrap();
    let profile = own.ancestors().nth(2).and_then(Path::file_name).unwrap_or_default();
    let counting = valgrind(&["--abilities"]);
    [
        ("compiler", String::from_utf8_lossy(&compiler.stdout).trim().to_owned()),
        ("profile", profile.to_string_lossy().into_owned()),
        ("processor", String::from_utf8_lossy(&counting.stdout).trim().to_owned()),
    ]
}

/// What of the processor libraries look for at run time, as valgrind lets them see it.
fn abilities() -> String {
    #[cfg(target_arch = "x86_64")]
    let found = [
        ("sse4.2", is_x86_feature_detected!("sse4.2")),
        ("pclmulqdq", is_x86_feature_detected!("pclmulqdq")),
        ("avx2", is_x86_feature_detected!("avx2")),
        ("bmi2", is_x86_feature_detected!("bmi2")),
        ("sha", is_x86_feature_detected!("sha")),
    ];
    #[cfg(not(target_arch = "x86_64"))]
    let found: [(&str, bool); 0] = [];
    let found = found.iter().filter(|(_, is_there)| *is_there).map(|(name, _)| *name);
    std::iter::once(env::consts::ARCH).chain(found).collect::<Vec<_>>().join(" ")
}

/// What one call of a part takes.
fn instructions(part: &str) -> f64 {
    let output = valgrind(&["--part", part]);
    let said = String::from_utf8_lossy(&output.stderr);
    let collected = said.lines().find_map(|line| line.split_once("Collected :"));
    let count = collected.map_or(0.0, |(_, count)| count.trim().parse().unwrap());
    assert!(count > 0.0, "expected a line with `Collected :` and more than nothing, found\n{said}");
    count / f64::from(CALLS)
}

/// Runs this program once more, while valgrind counts.
fn valgrind(arguments: &[&str]) -> Output {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=*under_callgrind*"])
        .arg(env::current_exe().unwrap())
        .args(arguments)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?} does not run under callgrind:\n{said}");
    output
}

/// What is done in here is counted. The first time is not: it fills what is filled once.
fn warm(mut work: impl FnMut()) {
    work();
    under_callgrind(work);
}

#[inline(never)]
fn under_callgrind(mut work: impl FnMut()) {
    for _ in 0..CALLS {
        work();
    }
}

fn body() -> Vec<u8> {
    let pretty = include_bytes!("../tests/fixtures/stripe/request-01-purchase.json");
    let event: serde_json::Value = serde_json::from_slice(pretty).unwrap();
    event.to_string().into_bytes()
}

fn signature() {
    let secret = Secret::new("whsec_of_the_benchmark").unwrap();
    let body = body();
    let header = sign(&secret, NOW.as_seconds(), &body);
    let verifier = Verifier::new(&[secret], Duration::from_mins(5));
    warm(|| {
        black_box(verifier.verify(Some(black_box(header.as_bytes())), black_box(&body), NOW).unwrap());
    });
}

fn parse() {
    let body = body();
    let mut reader = Reader::default();
    warm(|| {
        black_box(reader.read(black_box(&body), NOW, &Reading::default()).unwrap());
    });
}

fn deciding() {
    let policy = purchases::policy();
    let card = purchases::card(&policy, PURCHASES);
    let request = purchases::question(PURCHASES);
    warm(|| {
        black_box(decide(black_box(&card), &policy, black_box(&request)));
    });
}

/// Deciding with 200 rules, none of which matches, and eight windows for them.
fn deciding_by_rules() {
    let policy = purchases::policy_with_rules(200);
    let card = purchases::card(&policy, PURCHASES);
    let request = purchases::question(PURCHASES);
    warm(|| {
        black_box(decide(black_box(&card), &policy, black_box(&request)));
    });
}

/// Declining by a limit, with the smallest changes that would have passed.
fn declining() {
    let policy = purchases::policy();
    let card = purchases::card(&policy, PURCHASES);
    let mut request = purchases::question(PURCHASES);
    if let Ok(asked) = &mut request.asked {
        asked.amount = 900_000_000_000;
    }
    assert_eq!(decide(&card, &policy, &request).outcome, Outcome::Declined);
    warm(|| {
        black_box(decide(black_box(&card), &policy, black_box(&request)));
    });
}

/// Reading a decision back from its entry, as a replay does.
fn reading_back() {
    let policy = purchases::policy();
    let request = Arc::new(purchases::question(PURCHASES));
    let decision = decide(&purchases::card(&policy, PURCHASES), &policy, &request);
    let body = record::encode([&Event::Decided(Box::new(Decided { request, decision }))]);
    warm(|| {
        black_box(record::decode(black_box(&body)).unwrap());
    });
}

/// Deciding, booking and writing the journal's entry, one purchase after another.
fn booking() {
    let policy = purchases::policy();
    let mut card = purchases::card(&policy, PURCHASES);
    let mut requests = (PURCHASES..).map(|number| Arc::new(purchases::question(number)));
    warm(|| {
        let request = requests.next().unwrap();
        let decision = decide(&card, &policy, &request);
        let event = Event::Decided(Box::new(Decided { request, decision }));
        card.apply(&event);
        black_box(record::encode([&event]));
    });
}

fn reply() {
    let policy = purchases::policy();
    let decision = decide(&purchases::card(&policy, 0), &policy, &purchases::question(0));
    let answer = decision.answer(false);
    warm(|| {
        black_box(decision_body(black_box(&answer), true));
    });
}
