//! A condition as tokens.

use std::time::Duration;

use super::error::{RuleError, Span};
use crate::domain::parse_span;

/// One token, and where it stands.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Token {
    pub(super) what: What,
    pub(super) span: Span,
}

/// What a token is.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum What {
    /// A name; `true`, `false` and `in` are names here.
    Name(String),
    /// A whole number.
    Integer(i64),
    /// A span of time.
    Duration(Duration),
    /// A text without its quotes.
    Text(String),
    /// An operator or a bracket.
    Symbol(&'static str),
    /// Behind the last token.
    End,
}

/// Longer ones first.
const SYMBOLS: [&str; 18] =
    ["&&", "||", "==", "!=", "<=", ">=", "<", ">", "!", "+", "-", "*", "/", "(", ")", "[", "]", ","];

impl What {
    /// For a message.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Name(name) => format!("`{name}`"),
            Self::Integer(number) => format!("`{number}`"),
            Self::Duration(span) => format!("`{}s`", span.as_secs()),
            Self::Text(text) => format!("the text {text:?}"),
            Self::Symbol(symbol) => format!("`{symbol}`"),
            Self::End => "the end of the condition".to_owned(),
        }
    }
}

/// Takes a condition apart. The last token is [`What::End`].
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, RuleError> {
    let letters: Vec<char> = text.chars().collect();
    let mut lexer = Lexer { letters: &letters, at: 0 };
    let mut tokens = Vec::new();
    loop {
        let token = lexer.token()?;
        let is_end = token.what == What::End;
        tokens.push(token);
        if is_end {
            return Ok(tokens);
        }
    }
}

struct Lexer<'a> {
    letters: &'a [char],
    at: usize,
}

impl Lexer<'_> {
    fn token(&mut self) -> Result<Token, RuleError> {
        self.skip(char::is_whitespace);
        let start = self.at;
        let what = match self.letters.get(start) {
            None => What::End,
            Some(letter) if letter.is_ascii_digit() => self.number()?,
            Some('"' | '\'') => self.text()?,
            Some(letter) if letter.is_ascii_alphabetic() || *letter == '_' => {
                self.skip(|letter| letter.is_ascii_alphanumeric() || letter == '_');
                What::Name(self.since(start))
            }
            Some(_) => self.symbol()?,
        };
        let end = self.at.max(start.saturating_add(usize::from(what == What::End)));
        Ok(Token { what, span: Span { start, end } })
    }

    fn symbol(&mut self) -> Result<What, RuleError> {
        let rest: String = self.letters.get(self.at..).unwrap_or_default().iter().take(2).collect();
        // A dot is kept apart from the others only so that a number can say what is wrong with it.
        for symbol in SYMBOLS.into_iter().chain(["."]) {
            if rest.starts_with(symbol) {
                self.at = self.at.saturating_add(symbol.len());
                return Ok(What::Symbol(symbol));
            }
        }
        let found = rest.chars().next().unwrap_or(' ');
        let advice = match found {
            '=' => "compare with `==`".to_owned(),
            '&' => "write `&&` for \"and\"".to_owned(),
            '|' => "write `||` for \"or\"".to_owned(),
            '%' => "the operators are && || ! == != < <= > >= in + - * /".to_owned(),
            '“' | '”' | '„' | '‘' | '’' => "write texts in straight quotes: \"…\"".to_owned(),
            '$' | '€' | '£' => {
                "amounts are whole minor units without a sign: 300.00 is `30000`".to_owned()
            }
            '?' => "there is no choice of values; write two rules".to_owned(),
            _ => "remove it; texts stand in quotes".to_owned(),
        };
        Err(self.wrong(self.at, format!("unexpected `{found}`"), advice))
    }

    fn number(&mut self) -> Result<What, RuleError> {
        let start = self.at;
        self.skip(|letter| letter.is_ascii_digit() || letter == '_');
        let digits = self.since(start);
        let plain = digits.replace('_', "");
        if self.letters.get(self.at) == Some(&'.')
            && self.letters.get(self.at.saturating_add(1)).is_some_and(char::is_ascii_digit)
        {
            self.at = self.at.saturating_add(1);
            self.skip(|letter| letter.is_ascii_digit());
            let found = format!("`{}` is not a whole number", self.since(start));
            return Err(self.wrong(start, found, "amounts are minor units: 300.00 is `30000`"));
        }
        if self.letters.get(self.at).is_some_and(char::is_ascii_alphabetic) {
            self.skip(|letter| letter.is_ascii_alphanumeric());
            let written = self.since(start);
            let advice = "durations are whole seconds, minutes, hours or days, ten years at most: `90s`, `15m`, `24h`, `7d`";
            return match parse_span(&written) {
                Some(span) => Ok(What::Duration(span)),
                None => Err(self.wrong(start, format!("`{written}` is not a duration"), advice)),
            };
        }
        if digits != plain {
            let found = format!("`{digits}` is not a number");
            return Err(self.wrong(start, found, format!("write `{plain}`")));
        }
        plain.parse().map(What::Integer).map_err(|_| {
            self.wrong(start, format!("`{plain}` is too large"), format!("{} is the most", i64::MAX))
        })
    }

    fn text(&mut self) -> Result<What, RuleError> {
        let start = self.at;
        let quote = self.letters.get(start).copied().unwrap_or('"');
        let mut text = String::new();
        loop {
            self.at = self.at.saturating_add(1);
            match self.letters.get(self.at).copied() {
                None => {
                    let advice = format!("close it with `{quote}`");
                    return Err(self.wrong(start, "a text without an end", advice));
                }
                Some(letter) if letter == quote => break,
                Some('\\') => {
                    self.at = self.at.saturating_add(1);
                    let Some(letter @ ('"' | '\'' | '\\')) = self.letters.get(self.at).copied() else {
                        let place = self.at.saturating_sub(1);
                        self.at = self.at.saturating_add(1).min(self.letters.len());
                        let advice = "the escapes are \\\", \\' and \\\\";
                        return Err(self.wrong(place, "an unknown escape in a text", advice));
                    };
                    text.push(letter);
                }
                Some(letter) => text.push(letter),
            }
        }
        self.at = self.at.saturating_add(1);
        Ok(What::Text(text))
    }

    fn skip(&mut self, is_part: impl Fn(char) -> bool) {
        while self.letters.get(self.at).copied().is_some_and(&is_part) {
            self.at = self.at.saturating_add(1);
        }
    }

    fn since(&self, start: usize) -> String {
        self.letters.get(start..self.at).unwrap_or_default().iter().collect()
    }

    fn wrong(&self, start: usize, found: impl Into<String>, advice: impl Into<String>) -> RuleError {
        RuleError::new(Span { start, end: self.at.max(start.saturating_add(1)) }, found, advice)
    }
}
