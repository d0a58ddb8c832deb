//! Who may know whom: the table of imports between rooms, and of the libraries that have a room of their own. What is
//! not in a table is refused, and so is a line in a table that nothing uses.
#![allow(clippy::arithmetic_side_effects, reason = "a test that overflows fails, as it should")]
#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use crate::tidy::{files, source_without_text};

/// Each room, and the rooms that it may import. From the process to the heart, a room names only rooms below it; `log`
/// and `clock` know what a timestamp is.
const ROOMS: [(&str, &[&str]); 22] = [
    ("main", &["cli", "demo", "export", "reconcile", "replay", "config", "http", "metrics"]),
    ("reconcile", &["cli", "config", "node", "stripe", "journal", "domain", "log", "clock"]),
    ("replay", &["cli", "config", "trial", "journal", "domain", "clock"]),
    ("export", &["cli", "config", "journal", "domain"]),
    ("demo", &["cli", "config", "node", "http", "stripe", "domain", "log", "clock"]),
    ("cli", &["config", "node", "outgoing", "http", "stripe", "journal", "policy", "domain", "log", "clock"]),
    (
        "node",
        &[
            "config", "outgoing", "http", "cluster", "actors", "trial", "journal", "domain", "metrics",
            "clock",
        ],
    ),
    ("config", &["outgoing", "http", "stripe", "cluster", "actors", "journal", "policy", "domain", "log"]),
    // An event has what the admin API shows, and is signed as Stripe signs.
    ("outgoing", &["http", "stripe", "cluster", "ledger", "journal", "domain", "metrics", "clock"]),
    ("http", &["stripe", "cluster", "trial", "policy", "domain", "metrics", "log", "clock"]),
    ("stripe", &["domain", "clock"]),
    ("cluster", &["actors", "trial", "journal", "domain", "metrics", "clock"]),
    ("actors", &["trial", "ledger", "journal", "domain", "metrics", "log", "clock", "planted"]),
    ("trial", &["ledger", "journal", "domain", "metrics", "clock"]),
    ("ledger", &["journal", "domain", "clock", "planted"]),
    ("journal", &["domain", "clock", "planted"]),
    ("policy", &["domain"]),
    ("domain", &["planted"]),
    ("metrics", &[]),
    ("log", &["domain"]),
    ("clock", &["domain"]),
    ("planted", &[]),
];

/// Libraries that decide how a room works, and the rooms that may name them.
const LIBRARIES: [(&str, &[&str]); 24] = [
    ("clap", &["cli", "main"]),
    ("clap_complete", &["cli"]),
    ("clap_mangen", &["cli"]),
    ("serde_saphyr", &["config"]),
    ("schemars", &["config", "http", "trial"]),
    ("hyper", &["demo", "reconcile", "outgoing", "http", "stripe"]),
    ("hyper_util", &["demo", "reconcile", "http", "stripe"]),
    ("http_body_util", &["demo", "reconcile", "outgoing", "http", "stripe"]),
    ("tokio_util", &["cluster"]),
    ("tokio_rustls", &["cluster"]),
    ("hyper_rustls", &["stripe"]),
    ("rustls", &["stripe", "journal", "cluster"]),
    ("tokio_postgres", &["cluster", "journal"]),
    ("tokio_postgres_rustls", &["journal"]),
    ("webpki_roots", &["journal"]),
    ("csv", &["export"]),
    ("indicatif", &["reconcile", "replay"]),
    ("maud", &["replay", "http"]),
    ("simd_json", &["stripe"]),
    ("ractor", &["actors"]),
    ("dashmap", &["actors"]),
    ("hashlink", &["actors", "http"]),
    ("rusqlite", &["journal"]),
    ("metrics_exporter_prometheus", &["metrics"]),
];

/// What would make the same question have two answers: the domain has none of it.
const IMPURE: [&str; 12] = [
    "tokio",
    "serde",
    "serde_json",
    "tracing",
    "fastrand",
    "async",
    "await",
    "fs",
    "io",
    "net",
    "env",
    "SystemTime",
];

#[test]
fn rooms_import_only_what_the_table_allows() {
    let used = imports();
    let rooms: BTreeSet<&str> = ROOMS.iter().map(|(room, _)| *room).collect();
    let allowed: BTreeMap<&str, BTreeSet<&str>> =
        ROOMS.iter().map(|(room, below)| (*room, below.iter().copied().collect())).collect();
    for (room, imports) in &used {
        assert!(rooms.contains(room.as_str()), "src/{room} is not in the table");
        for (import, file) in imports {
            assert!(
                import == room || allowed[room.as_str()].contains(import.as_str()),
                "{} imports `{import}`: the table has no such line for `{room}`",
                file.display()
            );
        }
    }
    for (room, below) in &allowed {
        for import in below {
            let is_used = used.get(*room).is_some_and(|imports| imports.contains_key(*import));
            assert!(is_used, "the table lets `{room}` import `{import}`, which it does not need");
        }
    }
}

#[test]
fn no_room_imports_itself_by_way_of_others() {
    for (room, below) in ROOMS {
        let mut reached: BTreeSet<&str> = BTreeSet::new();
        let mut next: Vec<&str> = below.to_vec();
        while let Some(import) = next.pop() {
            if reached.insert(import) {
                next.extend(ROOMS.iter().find(|(name, _)| *name == import).unwrap().1);
            }
        }
        assert!(!reached.contains(room), "`{room}` imports what imports `{room}`");
    }
}

#[test]
fn libraries_stay_in_their_rooms() {
    for (library, rooms) in LIBRARIES {
        let named: BTreeMap<String, PathBuf> = sources()
            .filter(|(_, _, source)| names(source, library))
            .map(|(room, file, _)| (room, file))
            .collect();
        for (room, file) in &named {
            assert!(rooms.contains(&room.as_str()), "{} names `{library}`", file.display());
        }
        for room in rooms {
            assert!(named.contains_key(*room), "`{room}` may name `{library}`, and does not");
        }
    }
}

/// What a state machine has none of: what the time is and what became of an effect it is told.
const EFFECTFUL: [&str; 12] =
    ["tokio", "ractor", "tracing", "fastrand", "async", "await", "fs", "io", "net", "env", "Mutex", "spawn"];

#[test]
fn the_domain_and_the_ledger_are_pure() {
    for (room, file, source) in sources() {
        let refused: &[&str] = match room.as_str() {
            "domain" => &IMPURE,
            "ledger" => &EFFECTFUL,
            _ => continue,
        };
        for impure in refused {
            let found = words(&source).any(|word| word == *impure);
            assert!(!found, "{} names `{impure}`", file.display());
        }
        let reads_clock = ["clock::now", "clock::instant", "Instant::now"];
        assert!(!reads_clock.iter().any(|read| source.contains(read)), "{} reads a clock", file.display());
    }
}

/// The map in the documentation, which a module may share a line of with another.
#[test]
fn the_map_in_the_documentation_has_every_module_in_order() {
    let page =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/architecture.md")).unwrap();
    let (_, map) = page.split_once("```text\n").unwrap();
    let (map, _) = map.split_once("```").unwrap();
    let lines = map.lines().flat_map(|line| line.trim().split("  ").next().unwrap().split(", "));
    let named: Vec<&str> = lines.map(|name| name.trim_end_matches(".rs")).collect();
    let modules: Vec<&str> = ROOMS.iter().map(|(module, _)| *module).collect();
    assert_eq!(named, modules);
}

#[test]
fn imports_are_found_however_they_are_written() {
    let check = |source: &str, expected: &[&str]| {
        assert_eq!(imported(source), expected.iter().map(|room| (*room).to_owned()).collect(), "{source}");
    };
    check("use crate::domain::Card;", &["domain"]);
    check("use crate::{clock, domain::{Card, Money}, journal as log_book};", &["clock", "domain", "journal"]);
    check("pub use crate::\n{\n actors::{a::{b, c}, d},\n http,\n};", &["actors", "http"]);
    check("let now = crate::clock::now(); super::crate_of()", &["clock"]);
    check("use crates::domain; my_crate::x()", &[]);
}

/// What each room imports, with a file that does.
fn imports() -> BTreeMap<String, BTreeMap<String, PathBuf>> {
    let mut all: BTreeMap<String, BTreeMap<String, PathBuf>> = BTreeMap::new();
    for (room, file, source) in sources() {
        // The process is a crate of its own, which sees the library from outside.
        let source = if room == "main" { source.replace("tollgate::", "crate::") } else { source };
        let imports = all.entry(room).or_default();
        imports.extend(imported(&source).into_iter().map(|import| (import, file.clone())));
    }
    all
}

/// The rooms that a source names behind `crate::`.
fn imported(source: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let starts = source
        .match_indices("crate")
        .filter(|(at, _)| !source[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_'));
    for (at, word) in starts {
        let rest = source[at + word.len()..].trim_start();
        let Some(rest) = rest.strip_prefix("::").map(str::trim_start) else { continue };
        match rest.strip_prefix('{') {
            None => found.extend(words(rest).next().map(str::to_owned)),
            Some(group) => found.extend(firsts(group)),
        }
    }
    found
}

/// The first word of each item of a group, up to the brace that closes it.
fn firsts(group: &str) -> Vec<String> {
    let (mut depth, mut item, mut items) = (0, String::new(), Vec::new());
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => items.push(std::mem::take(&mut item)),
            other if depth == 0 => item.push(other),
            _ => {}
        }
    }
    items.push(item);
    items.iter().filter_map(|item| words(item).next().map(str::to_owned)).collect()
}

fn words(source: &str) -> impl Iterator<Item = &str> {
    source.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// Whether a source has a path that begins with the library's name.
fn names(source: &str, library: &str) -> bool {
    let path = format!("{library}::");
    source
        .match_indices(&path)
        .any(|(at, _)| !source[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':'))
}

/// The room of every source file, and its code without comments and text.
fn sources() -> impl Iterator<Item = (String, PathBuf, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = files(&src, "rs");
    assert!(files.len() > 50, "only {} files in {}", files.len(), src.display());
    files.into_iter().filter_map(move |file| {
        let first = file.strip_prefix(&src).unwrap().components().next().unwrap();
        let room = first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned();
        let source = source_without_text(&fs::read_to_string(&file).unwrap());
        (room != "lib").then_some((room, file, source))
    })
}
