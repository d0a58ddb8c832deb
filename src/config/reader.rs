//! Looking up one setting after another: what was given, by which source, and every problem on the way. Which
//! settings make up which room is elsewhere.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use super::{
    problem::{Problem, without_password},
    setting::{Default, Kind, Setting},
    table::SETTINGS,
    token_file, values,
};
use crate::http::TokenFile;

/// The setting of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

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
    /// Keeps the names that may be meant for us; an empty value counts as not set.
    pub(super) fn new(
        pairs: impl IntoIterator<Item = (String, String)>,
        read_file: impl Fn(&str) -> io::Result<String> + 'a,
    ) -> Self {
        let is_ours = |name: &str| is_known(name) || is_prefixed(name) || near_miss(name).is_some();
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

    /// A setting that names a file with tokens.
    pub(super) fn tokens(&mut self, name: &str) -> Option<TokenFile> {
        let path = self.optional(name, |path| Some(path.to_owned()))?;
        let text = (self.read_file)(&path).map_err(|error| format!("the file cannot be read: {error}"));
        match text.and_then(|text| token_file::parse(&text)) {
            Ok(tokens) => Some(TokenFile { path: path.into(), tokens }),
            Err(mistakes) => {
                self.note(Problem::Conflict(format!("{name}={path}: {mistakes}")));
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
        if source != Source::Default && is_quoted(setting, &text) {
            let name = match source {
                Source::File => file_variant(setting.name),
                Source::Default | Source::Environment => setting.name.to_owned(),
            };
            self.problems.push(Problem::Quoted { name });
            return None;
        }
        let value = in_range(setting, &text).then(|| parse(&text)).flatten();
        if value.is_none() {
            self.problems.push(match source {
                Source::File => Problem::invalid_in_file(setting),
                Source::Default | Source::Environment => Problem::invalid(setting, &text),
            });
        }
        let shown = if setting.is_secret() {
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
        let Some(path) = self.pairs.get(&file_name).filter(|_| setting.is_read_from_file()) else {
            return direct.map(|text| (text, Source::Environment));
        };
        if direct.is_some() {
            self.problems.push(Problem::Conflict(format!(
                "{file_name}: {} is set as well; keep one of them",
                setting.name
            )));
            return None;
        }
        if is_quoted(setting, path) {
            self.problems.push(Problem::Quoted { name: file_name });
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

    /// Notes every name that no setting has and that was probably meant for us.
    pub(super) fn refuse_unknown_names(&mut self) {
        for (name, value) in self.pairs.iter().filter(|(name, _)| !is_known(name)) {
            if let Some(nearest) = near_miss(name) {
                self.problems.push(Problem::misspelled(name, nearest));
            } else if is_prefixed(name) && !is_service_link(name, value) {
                self.problems.push(Problem::unknown(name));
            }
        }
    }
}

/// Whether a setting has this name.
fn is_known(name: &str) -> bool {
    let has = |setting: &Setting| {
        setting.name == name || (setting.is_read_from_file() && file_variant(setting.name) == name)
    };
    SETTINGS.iter().any(has)
}

/// Whether the name is one of ours by its first word, however it is written. `STRIPE_…` may be another program's.
fn is_prefixed(name: &str) -> bool {
    name.get(.."TOLLGATE_".len()).is_some_and(|prefix| prefix.eq_ignore_ascii_case("TOLLGATE_"))
}

/// The setting that a name which no setting has was meant to be: one or two typing errors away from it, its words in
/// another order, or one of the names that other programs give to the signing secret of a webhook.
fn near_miss(name: &str) -> Option<&'static str> {
    if name.len() < NAME_LETTERS_MIN || is_known(name) {
        return None;
    }
    let wanted = name.to_ascii_uppercase().replace('-', "_");
    let words = |text: &str| text.split('_').map(str::to_owned).collect::<BTreeSet<_>>();
    let wanted_words = words(&wanted);
    let is_near = |known: &str| {
        let own_letters = known.split_once('_').map_or(0, |(_, own)| own.len());
        let errors_max = if own_letters < 10 { 1 } else { 2 };
        known.len().abs_diff(wanted.len()) <= errors_max && strsim::osa_distance(known, &wanted) <= errors_max
    };
    let is_meant = |setting: &&Setting| {
        let names =
            [Some(setting.name.to_owned()), setting.is_read_from_file().then(|| file_variant(setting.name))];
        names.iter().flatten().any(|known| is_near(known) || words(known) == wanted_words)
    };
    let has = |any_of: &[&str]| any_of.iter().any(|word| wanted_words.contains(*word));
    let is_signing_secret = has(&["STRIPE"])
        && has(&["WEBHOOK", "WEBHOOKS", "ENDPOINT", "SIGNING"])
        && has(&["SECRET", "SECRETS"]);
    match SETTINGS.iter().find(is_meant) {
        Some(setting) => Some(setting.name),
        None => is_signing_secret.then_some("STRIPE_WEBHOOK_SECRET"),
    }
}

/// Shorter names are too near to too many.
const NAME_LETTERS_MIN: usize = 10;

/// Whether the value, or one of several secrets, still has a quote at one of its ends. No value of ours begins or ends
/// with one.
fn is_quoted(setting: &Setting, text: &str) -> bool {
    const QUOTES: [char; 3] = ['"', '\'', '`'];
    let is_quoted = |part: &str| part.starts_with(QUOTES) || part.ends_with(QUOTES);
    if setting.is_secret() { text.split([',', '\n']).map(str::trim).any(is_quoted) } else { is_quoted(text) }
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
