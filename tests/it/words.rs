//! The words that users read: none of those that docs/glossary.md lists as avoided, in documentation, help, settings,
//! metrics, dashboards, alerts, errors and log lines. Comments and identifiers are not looked at.
#![allow(clippy::arithmetic_side_effects, reason = "a test that overflows fails, as it should")]
#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::tidy::{files, texts_in};

/// Pages that are not about the program, or list the words themselves.
const OTHER_PAGES: [&str; 1] = ["docs/glossary.md"];

#[test]
fn pages_use_the_words_of_the_glossary() {
    let tops = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"].map(root);
    let pages =
        ["docs", "loadtest", "dashboards", "deploy", "fuzz"].map(|directory| files(&root(directory), "md"));
    let pages: Vec<PathBuf> = tops.into_iter().chain(pages.into_iter().flatten()).collect();
    assert!(pages.len() > 15, "only {} pages", pages.len());
    for page in pages.iter().filter(|page| !OTHER_PAGES.iter().any(|other| page.ends_with(other))) {
        let text = without_blocks(&fs::read_to_string(page).unwrap());
        for (number, line) in text.lines().enumerate() {
            check(line, &format!("{}:{}", page.display(), number + 1));
        }
    }
}

#[test]
fn help_uses_the_words_of_the_glossary() {
    let help = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_tollgate")).args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let all = help(&["--help"]);
    let commands = all.split_once("Commands:").unwrap().1.split_once("Options:").unwrap().0;
    let commands: Vec<&str> = commands
        .lines()
        .filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(commands.contains(&"reconcile") && commands.len() > 8, "{commands:?}");
    for command in commands {
        check(&help(&[command, "--help"]), &format!("tollgate {command} --help"));
    }
    check(&all, "tollgate --help");
}

/// Metric help, panel titles, alerts, settings, errors and log lines: what is written as a sentence.
#[test]
fn sentences_in_the_code_use_the_words_of_the_glossary() {
    let mut sentences = 0;
    for file in
        ["src", "loadtest/src", "dashboards/src"].iter().flat_map(|directory| files(&root(directory), "rs"))
    {
        if file.ends_with("tests.rs") || file.components().any(|part| part.as_os_str() == "tests") {
            continue;
        }
        let source = fs::read_to_string(&file).unwrap();
        let code = source.split("#[cfg(test)]").next().unwrap();
        for text in texts_in(code).into_iter().filter(|text| text.contains(' ')) {
            check(&text, &file.display().to_string());
            sentences += 1;
        }
    }
    assert!(sentences > 800, "only {sentences} sentences");
}

#[test]
fn scenarios_use_the_words_of_the_glossary() {
    for file in files(&root("loadtest/scenarios"), "toml") {
        let text = fs::read_to_string(&file).unwrap();
        let about = text.lines().find(|line| line.starts_with("about = ")).unwrap();
        check(about, &file.display().to_string());
    }
}

#[test]
fn an_avoided_word_is_found_and_code_is_not_looked_at() {
    assert_eq!(found("The books are full."), Some("books".to_owned()));
    assert_eq!(found("Questions a second"), Some("questions".to_owned()));
    assert_eq!(found("as user `nobody`, for `books`, {told:?} and up{result=\"booked\"}"), None);
    assert_eq!(found("bookstores and handbooks, book_stores"), None);
    assert_eq!(found("it lets go of the card"), Some("lets go".to_owned()));
    assert_eq!(without_blocks("a\n```sh\nbooks\n```\nb"), "a\n\n\n\nb\n");
}

#[track_caller]
fn check(text: &str, place: &str) {
    let found = found(text);
    assert!(
        found.is_none(),
        "{place} says `{}`; docs/glossary.md has the word to use:\n{text}",
        found.unwrap()
    );
}

/// The first avoided word in a text, outside of backquotes.
fn found(text: &str) -> Option<String> {
    let prose: String = text.split('`').step_by(2).collect::<Vec<_>>().join(" ");
    let prose = without_braces(&prose);
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let plain: String = prose.to_lowercase().chars().map(|c| if is_word(c) { c } else { ' ' }).collect();
    let plain = format!(" {} ", plain.split_whitespace().collect::<Vec<_>>().join(" "));
    avoided().into_iter().find(|word| plain.contains(&format!(" {} ", word.replace('-', " "))))
}

/// Without `{name}` of a format, and without labels of a query.
fn without_braces(text: &str) -> String {
    let mut depth = 0_usize;
    let mut kept = String::new();
    for c in text.chars() {
        depth += usize::from(c == '{');
        kept.extend((depth == 0).then_some(c));
        depth = depth.saturating_sub(usize::from(c == '}'));
    }
    kept
}

/// The right column of the last table of the glossary.
fn avoided() -> Vec<String> {
    let glossary = fs::read_to_string(root("docs/glossary.md")).unwrap();
    let (_, table) = glossary.split_once("## Words to avoid").unwrap();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let words = rows
        .filter_map(|row| row.rsplit_once(" | "))
        .flat_map(|(_, words)| words.split('`').skip(1).step_by(2));
    let words: Vec<String> = words.map(str::to_owned).collect();
    assert!(words.len() > 25, "only {words:?}");
    words
}

/// The page without its blocks of code; each line keeps its number.
fn without_blocks(page: &str) -> String {
    let mut text = String::new();
    let mut is_code = false;
    for line in page.lines() {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        text.push_str(if is_code || is_fence { "" } else { line });
        text.push('\n');
    }
    text
}

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
