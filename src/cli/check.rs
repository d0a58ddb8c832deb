//! `tollgate check`: every mistake of a policy file with the line that it stands in, and what cards get.

use std::{
    fs, io,
    io::{Read as _, Write},
    path::Path,
};

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

/// Checks the file that `options` name.
///
/// # Errors
/// The output cannot be written.
pub fn run(
    options: &CheckOptions,
    colours: Colours,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Verdict> {
    let Some(path) = &options.policy else {
        write!(out, "{}", json_schema())?;
        return Ok(Verdict::Done);
    };
    let bytes = match content(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            writeln!(err, "tollgate: {} cannot be read: {error}", path.display())?;
            return Ok(Verdict::Failed);
        }
    };
    let (policy, mistakes) = match policy_file::read_bytes(&bytes) {
        Ok(parsed) => (Some(parsed.policy), parsed.mistakes),
        Err(mistakes) => (None, mistakes),
    };
    let source = String::from_utf8_lossy(&bytes);
    let page = Page { name: path.display().to_string(), lines: source.lines().collect(), colours };
    for mistake in &mistakes {
        page.tell(mistake, out)?;
    }
    let is_wrong = |mistake: &&Mistake| mistake.severity != Severity::Warning;
    match (policy, mistakes.iter().filter(is_wrong).count()) {
        (Some(policy), 0) => {
            writeln!(out, "{} is good: policy {}\n", page.name, policy.version().as_str())?;
            show_cards(&policy, options, out)?;
            Ok(Verdict::Done)
        }
        (_, count) => {
            let noun = if count == 1 { "mistake" } else { "mistakes" };
            writeln!(out, "{count} {noun} in {}", page.name)?;
            Ok(Verdict::Failed)
        }
    }
}

/// The file, as far as it is needed to say that it is too large.
fn content(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let bytes_max = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    fs::File::open(path)?.take(bytes_max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The file as a reader sees it.
struct Page<'a> {
    name: String,
    lines: Vec<&'a str>,
    colours: Colours,
}

impl Page<'_> {
    /// The way compilers tell it: what, where, the line with the place underlined, what to do.
    fn tell(&self, mistake: &Mistake, out: &mut dyn Write) -> io::Result<()> {
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

/// What the card or group that was asked for gets; else the default, each group and each card.
fn show_cards(policy: &Policy, options: &CheckOptions, out: &mut dyn Write) -> io::Result<()> {
    let group = options.group.as_deref();
    if let Some(name) = group.filter(|name| !policy.groups().any(|known| known == *name)) {
        let consequence = match policy.unknown_group() {
            UnknownGroup::Default => "its cards get the default",
            UnknownGroup::Decline => "its cards are declined",
        };
        writeln!(out, "there is no group {name}: {consequence}\n")?;
    }
    if let Some(id) = &options.card {
        let named = CardId::new(id).filter(|id| policy.cards().any(|known| known == id));
        if named.is_none() {
            writeln!(out, "the file does not name {id}: it gets what all cards get\n")?;
        }
        let heading = match group {
            Some(name) => format!("card {id} in group {name}"),
            None => format!("card {id}"),
        };
        return show(&heading, &policy.for_card(named.as_ref(), group), out);
    }
    if let Some(name) = group {
        return show(&format!("each card of group {name}"), &policy.for_card(None, group), out);
    }
    show("every card", &policy.for_card(None, None), out)?;
    for name in policy.groups() {
        show(&format!("each card of group {name}"), &policy.for_card(None, Some(name)), out)?;
    }
    if policy.unknown_group() == UnknownGroup::Decline {
        writeln!(out, "each card of any other group\n  unknown_group: everything is declined\n")?;
    }
    for id in policy.cards() {
        show(&format!("card {id}, in no group"), &policy.for_card(Some(id), None), out)?;
    }
    Ok(())
}

fn show(heading: &str, policy: &CardPolicy, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{heading}")?;
    for line in outline(policy) {
        writeln!(out, "  {line}")?;
    }
    writeln!(out)
}

#[cfg(test)]
mod tests;
