//! What a reader may count on in every file: sizes, first lines, nothing left undone, links that lead somewhere.
#![allow(clippy::arithmetic_side_effects, reason = "a test that overflows fails, as it should")]
#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Code lines of one file; the tests at its end are not counted.
const LINES_MAX: usize = 500;

/// Written in two halves, so that this file has none of them.
const UNDONE: [&str; 4] =
    [concat!("to", "do!("), concat!("unimpl", "emented!("), concat!("#[ig", "nore"), concat!("FIX", "ME")];

/// A test waits for what happens, not for time to pass, unless time is paused and passes at once.
const WAITING: &str = concat!("sle", "ep(");

#[test]
fn a_file_fits_the_mind() {
    for file in ["src", "loadtest/src", "simulation/src"]
        .into_iter()
        .flat_map(|directory| files(&root(directory), "rs"))
    {
        let text = fs::read_to_string(&file).unwrap();
        // The tests of a file are about what that file says that it is about.
        if file.ends_with("tests.rs") {
            continue;
        }
        assert!(text.starts_with("//!"), "{} does not say first what is in it", file.display());
        let code = text.lines().take_while(|line| *line != "mod tests {").count();
        assert!(code <= LINES_MAX, "{} has {code} lines of code", file.display());
    }
}

#[test]
fn nothing_is_left_undone() {
    for directory in ["src", "tests", "benches", "loadtest/src", "simulation/src"] {
        for file in files(&root(directory), "rs") {
            let text = fs::read_to_string(&file).unwrap();
            for undone in UNDONE {
                assert!(!text.contains(undone), "{} has `{undone}`", file.display());
            }
            let is_all_tests = directory == "tests" || file.ends_with("tests.rs");
            let tests = if is_all_tests {
                Some(&*text)
            } else {
                text.split_once("#[cfg(test)]").map(|(_, tests)| tests)
            };
            let waits =
                tests.is_some_and(|tests| tests.contains(WAITING)) && !text.contains("start_paused = true");
            assert!(!waits, "{} waits for time to pass in a test", file.display());
        }
    }
}

#[test]
fn lines_end_where_they_end() {
    let texts =
        ["src", "tests", "benches", "docs", "loadtest", "simulation"].into_iter().flat_map(|directory| {
            ["rs", "md", "yaml"].into_iter().flat_map(move |ending| files(&root(directory), ending))
        });
    for file in texts.chain(pages()) {
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.ends_with('\n'), "{} does not end with a line break", file.display());
        for (number, line) in text.lines().enumerate() {
            let odd = line.contains(['\t', '\r']) || line.ends_with(' ');
            assert!(!odd, "{}:{} has a tab, or spaces at its end", file.display(), number + 1);
        }
    }
}

#[test]
fn the_readme_is_short() {
    let lines = fs::read_to_string(root("README.md")).unwrap().lines().count();
    assert!(lines < 200, "README.md has {lines} lines");
}

#[test]
fn links_lead_somewhere() {
    let mut links = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1).map(|rest| rest.split([')', ' ']).next().unwrap()) {
            let (path, anchor) =
                link.split_once('#').map_or((link, None), |(path, anchor)| (path, Some(anchor)));
            if path.contains("://") {
                continue;
            }
            let target = if path.is_empty() { page.clone() } else { page.parent().unwrap().join(path) };
            assert!(target.exists(), "{} links to {link}, which is not there", page.display());
            if let Some(anchor) = anchor {
                let headings = fs::read_to_string(&target).unwrap();
                let is_there =
                    headings.lines().any(|line| line.starts_with('#') && anchor_of(line) == anchor);
                assert!(is_there, "{} links to {link}: no such heading", page.display());
            }
            links += 1;
        }
    }
    assert!(links > 5, "only {links} links were looked at");
}

#[test]
fn the_tests_that_hold_the_promises_exist() {
    let all: String = ["src", "tests"]
        .into_iter()
        .flat_map(|directory| files(&root(directory), "rs"))
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    let held = |cell: &str| {
        let names: Vec<&str> = cell.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "nothing holds `{cell}`");
        for name in names {
            assert!(all.contains(&format!("fn {name}(")), "there is no test `{name}`");
        }
    };
    let page = fs::read_to_string(root("docs/architecture.md")).unwrap();
    let promises: Vec<&str> = page.lines().filter(|line| line.starts_with("| P")).collect();
    assert_eq!(promises.len(), 10);
    promises.into_iter().for_each(held);
    // What happens when something breaks: the last column of the only table there.
    let page = fs::read_to_string(root("docs/operating.md")).unwrap();
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() >= 10, "{} failures are told", rows.len());
    for row in rows {
        held(row.trim_end_matches(" |").rsplit(" | ").next().unwrap());
    }
    // And what is told in between.
    let told = ["Test: ", "Tests: "].into_iter().flat_map(|word| page.split(word).skip(1));
    for tests in told {
        held(tests.split(".\n").next().unwrap());
    }
}

#[test]
fn the_policy_in_the_readme_has_no_mistake() {
    let readme = fs::read_to_string(root("README.md")).unwrap();
    let (_, policy) = readme.split_once("```yaml\n").unwrap();
    let (policy, _) = policy.split_once("```").unwrap();
    assert!(policy.lines().count() <= 15, "the policy in the README is longer than fifteen lines");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("policy.yaml");
    fs::write(&file, policy).unwrap();
    let check = Command::new(env!("CARGO_BIN_EXE_tollgate")).arg("check").arg(&file).output().unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
}

#[test]
fn comments_and_text_are_no_code() {
    let check = |source: &str, code: &str| assert_eq!(source_without_text(source), code);
    check("a // b\nc", "a \nc");
    check(r#"f("crate::x // \" y") + 1"#, "f() + 1");
    check(r##"f(r#"a " b"#, b"c")"##, "f(r, b)");
    check(r#"('"', '\'', '\\', &'a str)"#, "(, , , &'a str)");
    check("a /* b */ c", "a  c");
    let texts = texts_in("f(\"a\n b\") // \"c\"\n + r#\"d \"e f\"#");
    assert_eq!(texts, ["a b", "d \"e f"]);
}

/// The pages that people read.
fn pages() -> Vec<PathBuf> {
    let mut pages = [files(&root("docs"), "md"), files(&root("loadtest"), "md")].concat();
    pages.push(root("dashboards/README.md"));
    let top = fs::read_dir(root("")).unwrap().map(|entry| entry.unwrap().path());
    pages.extend(top.filter(|path| path.extension().is_some_and(|ending| ending == "md")));
    pages
}

/// How a heading is linked to: small letters, dashes for spaces, no punctuation.
fn anchor_of(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// All files of ours below `directory` with this ending, in order: what npm installed is not.
pub(crate) fn files(directory: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.ends_with("node_modules") {
                continue;
            }
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|found| found == ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Rust source without its comments and without what stands between quotes.
pub(crate) fn source_without_text(source: &str) -> String {
    split(source).0
}

/// What stands between double quotes in Rust source, comments left out. A line that goes on in the next one is one line.
pub(crate) fn texts_in(source: &str) -> Vec<String> {
    let texts = split(source).1.into_iter();
    texts.map(|text| text.trim_matches(['"', '#']).split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

fn split(source: &str) -> (String, Vec<&str>) {
    let mut code = String::with_capacity(source.len());
    let mut texts = Vec::new();
    let mut rest = source;
    while let Some(c) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if c == '"' {
            end_of_text(rest)
        } else if c == '#' && code.ends_with('r') {
            end_of_raw_text(rest)
        } else if c == '\'' {
            end_of_character(rest)
        } else {
            0
        };
        if skipped == 0 {
            code.push(c);
            rest = &rest[c.len_utf8()..];
        } else {
            if c == '"' || c == '#' {
                texts.push(&rest[..skipped]);
            }
            rest = &rest[skipped..];
        }
    }
    (code, texts)
}

fn end_of_text(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '"' if !is_escaped => return at + 1,
            _ => is_escaped = c == '\\' && !is_escaped,
        }
    }
    text.len()
}

/// Zero where this is no raw text, but a raw name.
fn end_of_raw_text(text: &str) -> usize {
    let hashes = text.chars().take_while(|c| *c == '#').count();
    if !text[hashes..].starts_with('"') {
        return 0;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    text[hashes + 1..].find(&end).map_or(text.len(), |at| hashes + 1 + at + end.len())
}

/// Zero where this is no character, but a lifetime.
fn end_of_character(text: &str) -> usize {
    let mut characters = text.char_indices().skip(1);
    match characters.next() {
        Some((_, '\\')) => text.char_indices().skip(3).find(|(_, c)| *c == '\'').map_or(0, |(at, _)| at + 1),
        Some(_) => characters.next().filter(|(_, c)| *c == '\'').map_or(0, |(at, _)| at + 1),
        None => 0,
    }
}
