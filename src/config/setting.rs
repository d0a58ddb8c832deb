//! What one setting is: its name, default, kind of value, meaning and example. The table of all is elsewhere.

use std::time::Duration;

use crate::domain::AMOUNT_MAX;

/// One setting, as the documentation tells it and as the parser checks it.
#[derive(Debug)]
pub struct Setting {
    /// The environment variable.
    pub name: &'static str,
    /// Where it stands in the documentation.
    pub section: Section,
    /// What a value looks like.
    pub kind: Kind,
    /// What holds where it is not set.
    pub default: Default,
    /// What it does.
    pub meaning: &'static str,
    /// A value that could be set.
    pub example: &'static str,
    /// Whether the value may be shown, and whether it may come from a file.
    pub secrecy: Secrecy,
}

/// What of a setting's value is secret.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Secrecy {
    /// Nothing.
    Public,
    /// A password may be part of it. That part is not shown, and a file may hold the value.
    Password,
    /// All of it: it is not shown, and a file may hold it.
    Secret,
}

impl Setting {
    /// Whether the value is never shown.
    #[must_use]
    pub const fn is_secret(&self) -> bool {
        matches!(self.secrecy, Secrecy::Secret)
    }

    /// Whether the name with `_FILE` names a file with the value.
    #[must_use]
    pub const fn is_read_from_file(&self) -> bool {
        !matches!(self.secrecy, Secrecy::Public)
    }

    /// The same setting, with a value that may have a password in it.
    pub(super) const fn with_password(mut self) -> Self {
        self.secrecy = Secrecy::Password;
        self
    }
}

/// What holds where a setting is not set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Default {
    /// This value.
    Value(&'static str),
    /// Nothing; what that means, in words.
    Unset(&'static str),
}

/// Part of the documentation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "each is said by its title")]
pub enum Section {
    Stripe,
    Policy,
    Outgoing,
    Http,
    Overload,
    Journal,
    Admin,
    Log,
    Cluster,
}

impl Section {
    /// In the order of the documentation.
    pub const ALL: [Self; 9] = [
        Self::Stripe,
        Self::Policy,
        Self::Outgoing,
        Self::Http,
        Self::Overload,
        Self::Journal,
        Self::Admin,
        Self::Log,
        Self::Cluster,
    ];

    /// A heading.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Stripe => "Stripe",
            Self::Policy => "Policy",
            Self::Outgoing => "Outgoing webhooks",
            Self::Http => "Webhook port",
            Self::Overload => "Cards, overload, and stand-in",
            Self::Journal => "Journal",
            Self::Admin => "Admin port",
            Self::Log => "Logs and shutdown",
            Self::Cluster => "Cluster",
        }
    }
}

/// What a value looks like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A span of time, limits included.
    Span {
        /// The shortest.
        min: Duration,
        /// The longest.
        max: Duration,
    },
    /// A whole number, limits included.
    Count {
        /// The least.
        min: usize,
        /// The most.
        max: usize,
    },
    /// A size in bytes, limits included.
    Bytes {
        /// The least.
        min: usize,
        /// The most.
        max: usize,
    },
    /// Minor units of a currency.
    Amount,
    /// An IP address with a port.
    Address,
    /// `true` or `false`.
    Switch,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Anything that this sentence describes.
    Text(&'static str),
}

impl Kind {
    /// What is expected, to be read after "expected".
    #[must_use]
    pub fn expected(&self) -> String {
        match self {
            Self::Span { min, max } => format!(
                "a time from {} to {} with a unit (ms, s, m, h)",
                humantime::format_duration(*min),
                humantime::format_duration(*max)
            ),
            Self::Count { min, max } => format!("a whole number from {min} to {max}"),
            Self::Bytes { min, max } => {
                format!("a size from {} to {} (B, KiB or MiB)", size_text(*min), size_text(*max))
            }
            Self::Amount => {
                format!("a whole number of minor units (cents, for dollars) from 1 to {AMOUNT_MAX}")
            }
            Self::Address => "an IP address with a port".to_owned(),
            Self::Switch => "`true` or `false`".to_owned(),
            Self::Word(words) => {
                let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
                quoted.join(" or ")
            }
            Self::Text(sentence) => (*sentence).to_owned(),
        }
    }
}

/// A setting that is not secret and has a default value.
pub(super) const fn setting(
    section: Section,
    name: &'static str,
    kind: Kind,
    default: &'static str,
    example: &'static str,
    meaning: &'static str,
) -> Setting {
    Setting {
        name,
        section,
        kind,
        default: Default::Value(default),
        meaning,
        example,
        secrecy: Secrecy::Public,
    }
}

/// A setting that may be left out; `without` says what that means.
pub(super) const fn optional(
    section: Section,
    name: &'static str,
    kind: Kind,
    without: &'static str,
    example: &'static str,
    meaning: &'static str,
) -> Setting {
    Setting {
        name,
        section,
        kind,
        default: Default::Unset(without),
        meaning,
        example,
        secrecy: Secrecy::Public,
    }
}

/// An optional setting that is never shown.
pub(super) const fn secret(
    section: Section,
    name: &'static str,
    kind: Kind,
    without: &'static str,
    example: &'static str,
    meaning: &'static str,
) -> Setting {
    Setting {
        name,
        section,
        kind,
        default: Default::Unset(without),
        meaning,
        example,
        secrecy: Secrecy::Secret,
    }
}

/// A size in the largest unit that is exact.
fn size_text(bytes: usize) -> String {
    match bytes {
        b if b.is_multiple_of(1 << 20) => format!("{}MiB", b >> 20),
        b if b.is_multiple_of(1 << 10) => format!("{}KiB", b >> 10),
        b => format!("{b}B"),
    }
}
