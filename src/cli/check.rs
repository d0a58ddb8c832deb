//! `tollgate check`: every mistake of a policy file with the line that it stands in, and what cards get.

mod webhooks;

use std::io::{self, Read as _, Write};

use anstyle::{AnsiColor, Style};

use super::{CheckOptions, Verdict};
use crate::{
    config::policy_file::{self, FILE_BYTES_MAX, Mistake, Severity, json_schema, outline},
    domain::{CardId, CardPolicy, Policy, UnknownGroup},
};

/// Whether to colour what is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Colours {
    /// A terminal that shows them.
    On,
    /// A file, a pipe, or somebody who wants none.
    Off,
}

/// Checks the file that `options` name; `-` is what `input` has.
///
/// # Errors
/// The output cannot be written.
pub fn run(
    options: &CheckOptions,
    colours: Colours,
    input: &mut dyn io::Read,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Verdict> {
    if let Some(path) = &options.webhooks {
        return webhooks::run(path, options.send, colours, out, err);
    }
    let Some(path) = &options.policy else {
        write!(out, "{}", json_schema())?;
        return Ok(Verdict::Done);
    };
    let is_input = path.as_os_str() == STANDARD_INPUT;
    let content = if is_input { bounded(input) } else { policy_file::load(path) };
    let name = if is_input { "standard input".to_owned() } else { path.display().to_string() };
    let bytes = match content {
        Ok(bytes) => bytes,
        Err(error) => {
            writeln!(err, "tollgate: {name} cannot be read: {error}")?;
            return Ok(Verdict::Failed);
        }
    };
    let checked = Checked::of(&bytes);
    if options.json {
        writeln!(out, "{:#}", checked.json(&name, options))?;
    } else {
        let source = String::from_utf8_lossy(&bytes);
        let page = Page { name, lines: source.lines().collect(), colours };
        checked.show(&page, options, out)?;
    }
    Ok(if checked.policy().is_some() { Verdict::Done } else { Verdict::Failed })
}

/// The name of the file that stands for standard input.
const STANDARD_INPUT: &str = "-";

/// As much of the content as is needed to say that it is too large.
fn bounded(content: impl io::Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let bytes_max = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    content.take(bytes_max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What was found in a file.
struct Checked {
    parsed: Option<Policy>,
    mistakes: Vec<Mistake>,
}

impl Checked {
    fn of(bytes: &[u8]) -> Self {
        match policy_file::read_bytes(bytes) {
            Ok(parsed) => Self { parsed: Some(parsed.policy), mistakes: parsed.mistakes },
            Err(mistakes) => Self { parsed: None, mistakes },
        }
    }

    /// How many mistakes make the file fail.
    fn errors(&self) -> usize {
        self.mistakes.iter().filter(|mistake| mistake.severity != Severity::Warning).count()
    }

    /// The policy, if nothing is wrong with it.
    fn policy(&self) -> Option<&Policy> {
        self.parsed.as_ref().filter(|_| self.errors() == 0)
    }

    /// For people: every mistake, and what cards get.
    fn show(&self, page: &Page<'_>, options: &CheckOptions, out: &mut dyn Write) -> io::Result<()> {
        for mistake in &self.mistakes {
            page.show(mistake, out)?;
        }
        let Some(policy) = self.policy() else {
            let count = self.errors();
            let noun = if count == 1 { "mistake" } else { "mistakes" };
            return writeln!(out, "{count} {noun} in {}", page.name);
        };
        writeln!(out, "{} is good: policy {}\n", page.name, policy.version().as_str())?;
        let shown = Shown::of(policy, options);
        for note in &shown.notes {
            writeln!(out, "{note}\n")?;
        }
        for (heading, lines) in &shown.cards {
            writeln!(out, "{heading}")?;
            for line in lines {
                writeln!(out, "  {line}")?;
            }
            writeln!(out)?;
        }
        Ok(())
    }

    /// The same for programs.
    fn json(&self, name: &str, options: &CheckOptions) -> serde_json::Value {
        let mistakes = self.mistakes.iter().map(|mistake| {
            let Mistake { severity, place, path, found, advice } = mistake;
            serde_json::json!({
                "severity": severity.as_str(),
                "line": place.line,
                "column": place.column,
                "width": place.width,
                "path": path,
                "found": found,
                "advice": advice,
            })
        });
        let mistakes: Vec<serde_json::Value> = mistakes.collect();
        let shown = self.policy().map(|policy| Shown::of(policy, options)).unwrap_or_default();
        let cards = shown.cards.iter().map(|(who, gets)| serde_json::json!({"who": who, "gets": gets}));
        let cards: Vec<serde_json::Value> = cards.collect();
        serde_json::json!({
            "file": name,
            "is_good": self.policy().is_some(),
            "policy": self.policy().map(|policy| policy.version().as_str()),
            "mistakes": mistakes,
            "notes": shown.notes,
            "cards": cards,
        })
    }
}

/// The file as a reader sees it.
pub(super) struct Page<'a> {
    pub(super) name: String,
    pub(super) lines: Vec<&'a str>,
    pub(super) colours: Colours,
}

impl Page<'_> {
    /// The way compilers tell it: what, where, the line with the place underlined, what to do.
    pub(super) fn show(&self, mistake: &Mistake, out: &mut dyn Write) -> io::Result<()> {
        let colour = match mistake.severity {
            Severity::Error | Severity::Ineffective => AnsiColor::BrightRed,
            Severity::Warning => AnsiColor::BrightYellow,
        };
        let (loud, bold) = (self.style(colour.on_default().bold()), self.style(Style::new().bold()));
        let frame = self.style(AnsiColor::BrightBlue.on_default().bold());
        let number = mistake.place.line.to_string();
        let margin = " ".repeat(number.len());
        writeln!(out, "{loud}{}{loud:#}{bold}: {}{bold:#}", mistake.severity.as_str(), mistake.found)?;
        write!(out, "{margin}{frame}-->{frame:#} {}:{number}:{}", self.name, mistake.place.column)?;
        if mistake.path.is_empty() {
            writeln!(out)?;
        } else {
            writeln!(out, " ({})", mistake.path)?;
        }
        if let Some(line) = mistake.place.line.checked_sub(1).and_then(|index| self.lines.get(index)) {
            let (excerpt, indent, width) = excerpt(line, mistake.place.column, mistake.place.width);
            writeln!(out, "{margin} {frame}|{frame:#}")?;
            writeln!(out, "{frame}{number} |{frame:#} {excerpt}")?;
            let (indent, carets) = (" ".repeat(indent), "^".repeat(width));
            writeln!(out, "{margin} {frame}|{frame:#} {indent}{loud}{carets}{loud:#}")?;
        }
        writeln!(out, "{margin} {frame}={frame:#} {}\n", mistake.advice)
    }

    const fn style(&self, style: Style) -> Style {
        match self.colours {
            Colours::On => style,
            Colours::Off => Style::new(),
        }
    }
}

/// As much of a line as fits a screen, with how far in the place begins and how wide it is there. Tabs and other
/// controls become spaces, so that the underline stands where it should and a file cannot steer the terminal.
fn excerpt(line: &str, column: usize, width: usize) -> (String, usize, usize) {
    const LETTERS_MAX: usize = 120;
    const LETTERS_BEFORE: usize = 60;
    let at = column.saturating_sub(1);
    let skipped = if line.chars().count() > LETTERS_MAX { at.saturating_sub(LETTERS_BEFORE) } else { 0 };
    let letters = line.chars().skip(skipped).take(LETTERS_MAX);
    let text: String = letters.map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    let indent = at.saturating_sub(skipped);
    let room = text.chars().count().saturating_sub(indent).max(1);
    (text.trim_end().to_owned(), indent, width.clamp(1, room))
}

/// What cards get, in words.
#[derive(Default)]
struct Shown {
    /// Something about the card or group that was asked for.
    notes: Vec<String>,
    /// Each card or kind of card, with a line for each thing that it gets.
    cards: Vec<(String, Vec<String>)>,
}

impl Shown {
    /// What the card or group that `options` name gets; else the default, each group and each card.
    fn of(policy: &Policy, options: &CheckOptions) -> Self {
        let mut shown = Self::default();
        let group = options.group.as_deref();
        if let Some(name) = group.filter(|name| !policy.groups().any(|known| known == *name)) {
            let consequence = match policy.unknown_group() {
                UnknownGroup::Default => "its cards get the default",
                UnknownGroup::Decline => "its cards are declined",
            };
            shown.notes.push(format!("there is no group {name}: {consequence}"));
        }
        if let Some(id) = &options.card {
            let named = CardId::new(id).filter(|id| policy.cards().any(|known| known == id));
            if named.is_none() {
                shown.notes.push(format!("the file does not name {id}: it gets what all cards get"));
            }
            let heading = match group {
                Some(name) => format!("card {id} in group {name}"),
                None => format!("card {id}"),
            };
            shown.add(heading, &policy.for_card(named.as_ref(), group));
        } else if let Some(name) = group {
            shown.add(format!("each card of group {name}"), &policy.for_card(None, group));
        } else {
            if !policy.budgets().is_empty() {
                shown.cards.push(("budgets".to_owned(), policy_file::tree(policy)));
            }
            shown.add("every card".to_owned(), &policy.for_card(None, None));
            for account in policy.accounts() {
                let of_account = policy.for_card_of(Some(account), None, None);
                shown.add(format!("each card of connected account {account}, in no group"), &of_account);
            }
            for name in policy.groups() {
                shown.add(format!("each card of group {name}"), &policy.for_card(None, Some(name)));
            }
            if policy.unknown_group() == UnknownGroup::Decline {
                let lines = vec!["unknown_group: everything is declined".to_owned()];
                shown.cards.push(("each card of any other group".to_owned(), lines));
            }
            for id in policy.cards() {
                shown.add(format!("card {id}, in no group"), &policy.for_card(Some(id), None));
            }
        }
        shown
    }

    fn add(&mut self, heading: String, policy: &CardPolicy) {
        self.cards.push((heading, outline(policy)));
    }
}

#[cfg(test)]
mod tests;
