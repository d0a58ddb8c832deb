//! How the demo looks: aligned lines of at most 80 columns, and colours where there is a terminal.

use std::io::Write;

use anstyle::{AnsiColor, Style};

use super::Failure;
use crate::{
    cli::check::Colours,
    domain::{Currency, Money},
};

const COLUMNS: usize = 80;

/// How an explanation is set in.
const INDENT: &str = "              ";

/// What the lines are written on.
pub(super) struct Page<'a> {
    out: &'a mut dyn Write,
    colours: Colours,
}

/// What became of a question.
pub(super) enum Mark {
    Yes,
    No,
    Part,
}

impl<'a> Page<'a> {
    pub(super) fn new(out: &'a mut dyn Write, colours: Colours) -> Self {
        Self { out, colours }
    }

    /// A line as it is.
    pub(super) fn line(&mut self, text: &str) -> Result<(), Failure> {
        Ok(writeln!(self.out, "{text}")?)
    }

    /// One question, or one thing that happened, and what came of it. Whoever watches sees it at once.
    pub(super) fn row(
        &mut self,
        mark: &Mark,
        amount: &str,
        what: &str,
        outcome: &str,
    ) -> Result<(), Failure> {
        let (sign, colour) = match mark {
            Mark::Yes => ("✓", AnsiColor::Green),
            Mark::No => ("✗", AnsiColor::Red),
            Mark::Part => ("½", AnsiColor::Yellow),
        };
        let loud = self.style(colour.on_default().bold());
        writeln!(self.out, "  {loud}{sign}{loud:#} {amount:>8}  {what:<32} {loud}{outcome}{loud:#}")?;
        Ok(self.out.flush()?)
    }

    /// A sentence of the books, below the line that it explains.
    pub(super) fn why(&mut self, sentence: &str) -> Result<(), Failure> {
        let dim = self.style(Style::new().dimmed());
        let width = COLUMNS.saturating_sub(INDENT.len());
        for line in textwrap::wrap(sentence, textwrap::Options::new(width).break_words(false)) {
            writeln!(self.out, "{INDENT}{dim}{line}{dim:#}")?;
        }
        Ok(())
    }

    /// A row of the table of a card's windows, or of nodes.
    pub(super) fn window(&mut self, cells: [&str; 5]) -> Result<(), Failure> {
        let [window, limit, used, remaining, resets_at] = cells;
        let line = format!("  {window:<12} {limit:>9} {used:>9} {remaining:>11}   {resets_at}");
        self.line(line.trim_end())
    }

    const fn style(&self, style: Style) -> Style {
        match self.colours {
            Colours::On => style,
            Colours::Off => Style::new(),
        }
    }
}

/// Cents as dollars, without the currency: `42.00`.
pub(super) fn amount(cents: i64) -> String {
    let money = Money::new(cents, Currency::USD).to_string();
    money.trim_end_matches(" USD").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cents_are_shown_as_dollars() {
        for (cents, shown) in [(4_200, "42.00"), (5, "0.05"), (123_450, "1234.50")] {
            assert_eq!(amount(cents), shown);
        }
    }
}
