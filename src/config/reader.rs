//! Looking up one setting after another: what was given, by which source, and every problem on the way. Which
//! settings make up which room is elsewhere.

use std::{collections::BTreeMap, io};

use super::{
    problem::{Problem, without_password},
    setting::{Default, Kind, Setting},
    table::{SETTINGS, find},
    values,
};

/// One setting as it holds.
#[derive(Clone, Debug)]
pub struct Effective {
    /// What it is.
    pub setting: &'static Setting,
    /// Its value as text, unless it is secret or not set.
    pub value: EffectiveValue,
    /// Where it came from.
    pub source: Source,
}

/// The value of a setting, as it may be shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EffectiveValue {
    /// This text.
    Text(String),
    /// Set, and secret.
    Redacted,
    /// Not set; what that means stands with the setting.
    Unset,
}

/// Where a setting came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// Nobody said anything.
    Default,
    /// An environment variable.
    Environment,
    /// A file that an environment variable named.
    File,
}

impl Source {
    /// A word for people and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Environment => "environment",
            Self::File => "file",
        }
    }
}

/// Reads the file at a path.
type ReadFile<'a> = dyn Fn(&str) -> io::Result<String> + 'a;

/// The pairs, and what was found while reading them.
pub(super) struct Reader<'a> {
    pairs: BTreeMap<String, String>,
    read_file: Box<ReadFile<'a>>,
    effective: Vec<Effective>,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    /// Keeps the names that may be ours; an empty value counts as not set.
    pub(super) fn new(
        pairs: impl IntoIterator<Item = (String, String)>,
        read_file: impl Fn(&str) -> io::Result<String> + 'a,
    ) -> Self {
        let is_ours = |name: &str| name.starts_with("TOLLGATE_") || name.starts_with("STRIPE_");
        let pairs = pairs.into_iter().filter(|(name, value)| is_ours(name) && !value.trim().is_empty());
        Self {
            pairs: pairs.collect(),
            read_file: Box::new(read_file),
            effective: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// Whether somebody said something, well or badly.
    pub(super) fn is_set(&self, name: &str) -> bool {
        self.pairs.contains_key(name) || self.pairs.contains_key(&file_variant(name))
    }

    /// A setting that always has a value; none only after a problem was noted.
    pub(super) fn required<T>(&mut self, name: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let default = find(name).and_then(|setting| match setting.default {
            Default::Value(text) => Some(text),
            Default::Unset(_) => None,
        });
        let value = self.defaulted(name, default, parse);
        if value.is_none() && self.problems.is_empty() {
            self.problems.push(Problem::Conflict(format!("{name}: a value is needed")));
        }
        value
    }

    /// A setting that may be left out.
    pub(super) fn optional<T>(&mut self, name: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        self.defaulted(name, None, parse)
    }

    /// A setting that may be left out, or names a file with this in it.
    pub(super) fn file<T>(&mut self, name: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let path = self.optional(name, |path| Some(path.to_owned()))?;
        match (self.read_file)(&path) {
            Ok(text) => {
                let value = parse(&text);
                if value.is_none() {
                    self.problems.extend(find(name).map(|setting| Problem::invalid(setting, &path)));
                }
                value
            }
            Err(error) => {
                self.problems.extend(find(name).map(|setting| Problem::no_file(setting, &path, &error)));
                None
            }
        }
    }

    /// Notes that the file at `path`, which the setting `name` gives, cannot be read. What is in it is for others to see.
    pub(super) fn refuse_unreadable(&mut self, name: &str, path: &str) {
        if let Err(error) = (self.read_file)(path) {
            self.problems.extend(find(name).map(|setting| Problem::no_file(setting, path, &error)));
        }
    }

    /// A setting with this default.
    pub(super) fn defaulted<T>(
        &mut self,
        name: &str,
        default: Option<&str>,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let Some(setting) = find(name) else {
            self.problems.push(Problem::unknown(name));
            return None;
        };
        let (text, source) = match (self.given(setting), default) {
            (Some(given), _) => given,
            (None, Some(text)) => (text.to_owned(), Source::Default),
            (None, None) => {
                self.effective.push(Effective {
                    setting,
                    value: EffectiveValue::Unset,
                    source: Source::Default,
                });
                return None;
            }
        };
        let value = in_range(setting, &text).then(|| parse(&text)).flatten();
        if value.is_none() {
            self.problems.push(Problem::invalid(setting, &text));
        }
        let shown = if setting.is_secret {
            EffectiveValue::Redacted
        } else {
            EffectiveValue::Text(without_password(&text))
        };
        self.effective.push(Effective { setting, value: shown, source });
        value
    }

    /// What was said of a setting, and where. A secret that cannot be read is a problem, and as if it was not said.
    fn given(&mut self, setting: &Setting) -> Option<(String, Source)> {
        let direct = self.pairs.get(setting.name).map(|text| text.trim().to_owned());
        let file_name = file_variant(setting.name);
        let Some(path) = self.pairs.get(&file_name).filter(|_| setting.is_secret) else {
            return direct.map(|text| (text, Source::Environment));
        };
        if direct.is_some() {
            self.problems.push(Problem::Conflict(format!(
                "{file_name}: {} is set as well; keep one of them",
                setting.name
            )));
            return None;
        }
        let cause = match (self.read_file)(path) {
            Ok(text) if !text.trim().is_empty() => return Some((text.trim().to_owned(), Source::File)),
            Ok(_) => "it is empty".to_owned(),
            Err(error) => error.to_string(),
        };
        self.problems.push(Problem::unreadable(file_name, path, cause));
        None
    }

    /// What holds, in the order of the table, and what is wrong.
    pub(super) fn finish(self) -> (Vec<Effective>, Vec<Problem>) {
        let mut effective = self.effective;
        effective.sort_by_key(|one| SETTINGS.iter().position(|setting| setting.name == one.setting.name));
        (effective, self.problems)
    }

    /// Adds a problem of several settings.
    pub(super) fn note(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Notes every name of ours that no setting has.
    pub(super) fn refuse_unknown_names(&mut self) {
        for (name, value) in &self.pairs {
            let is_known = SETTINGS.iter().any(|setting| {
                setting.name == name || (setting.is_secret && file_variant(setting.name) == *name)
            });
            if !is_known && name.starts_with("TOLLGATE_") && !is_service_link(name, value) {
                self.problems.push(Problem::unknown(name));
            }
        }
    }
}

fn file_variant(name: &str) -> String {
    format!("{name}_FILE")
}

/// Whether a value of a kind with a range is inside it. Other kinds are left to their own readers.
fn in_range(setting: &Setting, text: &str) -> bool {
    match setting.kind {
        Kind::Span { min, max } => values::span(text).is_some_and(|span| (min..=max).contains(&span)),
        Kind::Count { min, max } => values::count(text).is_some_and(|count| (min..=max).contains(&count)),
        Kind::Bytes { min, max } => values::bytes(text).is_some_and(|bytes| (min..=max).contains(&bytes)),
        Kind::Amount | Kind::Address | Kind::Switch | Kind::Word(_) | Kind::Text(_) => true,
    }
}

/// Kubernetes gives every pod variables such as `TOLLGATE_SERVICE_HOST` and `TOLLGATE_PORT=tcp://…` for a service
/// that is called `tollgate`: those are not settings that somebody misspelt.
fn is_service_link(name: &str, value: &str) -> bool {
    let is_service = name.ends_with("_SERVICE_HOST") || name.contains("_SERVICE_PORT");
    let is_url = value.starts_with("tcp://") || value.starts_with("udp://");
    let is_port_part = name
        .split_once("_PORT_")
        .is_some_and(|(_, rest)| rest.starts_with(|digit: char| digit.is_ascii_digit()));
    is_service || is_url && name.ends_with("_PORT") || is_port_part
}
