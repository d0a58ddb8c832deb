//! The ids that Stripe gives to things. Opaque text: compared, never taken apart.

use std::{
    borrow::Borrow,
    fmt::{self, Write as _},
    hash::{Hash, Hasher},
    sync::Arc,
};

use super::request::Question;

/// The longest id that is accepted, in bytes. Stripe promises at most 255.
pub const ID_BYTES_MAX: usize = 255;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes `text` as an id if it can be one: 1 to 255 visible ASCII characters.
            #[must_use]
            pub fn new(text: &str) -> Option<Self> {
                is_usable(text).then(|| Self(text.into()))
            }

            /// The id as Stripe wrote it.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

id! {
    /// A card: `ic_…`.
    CardId
}
id! {
    /// A cardholder: `ich_…`.
    CardholderId
}
id! {
    /// One event that Stripe sent: `evt_…`. A repeated delivery carries the same id.
    EventId
}
id! {
    /// A capture or a refund: `ipi_…`.
    TransactionId
}
id! {
    /// A merchant as one card network knows it. The same merchant has another id at each network, and a leading
    /// zero counts.
    NetworkId
}
id! {
    /// The connected account that owns the object, in events of Stripe Connect: `acct_…`.
    ConnectedAccountId
}
id! {
    /// An authorization, or a capture or refund, as entries of the journal are found by it.
    Mention
}
id! {
    /// What one stream of journal entries belongs to: a card, a cardholder, or, where a request cannot be booked with
    /// its card, the authorization.
    Account
}

/// An authorization, the same through all its increments: `iauth_…`.
///
/// Equal texts are equal ids; their order is that of a hash, which is the same everywhere and says nothing. With each
/// question a card's books look for an id among many: the hashes lie side by side, the texts all over the memory.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AuthorizationId {
    hash: u64,
    text: Arc<str>,
}

impl AuthorizationId {
    /// Takes `text` as an id if it can be one: 1 to 255 visible ASCII characters.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        is_usable(text).then(|| Self { hash: fnv(FNV_EMPTY, text.bytes()), text: text.into() })
    }

    /// The id as Stripe wrote it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl Hash for AuthorizationId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl fmt::Display for AuthorizationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for AuthorizationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Before the names of budgets; no id of Stripe's has a colon in it.
const BUDGET: &str = "budget:";

/// The longest key of a budget as it is written, in bytes. A longer value ends with the hash of all of it.
const BUDGET_KEY_BYTES_MAX: usize = 160;

/// A value as the key of a budget: what is no visible ASCII character, and `%`, `/` and `?`, as `%20`.
fn budget_key(value: &str) -> String {
    let mut key = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_graphic() && !matches!(byte, b'%' | b'/' | b'?' | b'#') {
            key.push(char::from(byte));
        } else {
            // Writing to a `String` cannot fail.
            let _ = write!(key, "%{byte:02X}");
        }
    }
    if key.len() > BUDGET_KEY_BYTES_MAX {
        key.truncate(BUDGET_KEY_BYTES_MAX);
        let _ = write!(key, "~{:016x}", hash_of(value));
    }
    key
}

fn is_usable(text: &str) -> bool {
    !text.is_empty() && text.len() <= ID_BYTES_MAX && text.bytes().all(|byte| byte.is_ascii_graphic())
}

impl Account {
    /// The chain of all policies that were ever in force.
    #[must_use]
    pub fn policies() -> Self {
        Self("tollgate_policies".into())
    }

    /// The chain of an endpoint of outgoing webhooks, by its name.
    #[must_use]
    pub fn endpoint(name: &str) -> Self {
        Self(format!("webhook:{name}").into())
    }

    /// The chain of the candidates that are tried beside the policy in force.
    #[must_use]
    pub fn shadow() -> Self {
        Self("tollgate_shadow".into())
    }

    /// The account of a budget; of a template, the one for `key`.
    #[must_use]
    pub fn budget(name: &str, key: Option<&str>) -> Self {
        Self::budget_of_key(name, key.map(budget_key).as_deref())
    }

    /// As [`Account::budget`], of a key as [`Account::as_budget`] gives it.
    #[must_use]
    pub fn budget_of_key(name: &str, key: Option<&str>) -> Self {
        match key {
            Some(key) => Self(format!("{BUDGET}{name}/{key}").into()),
            None => Self(format!("{BUDGET}{name}").into()),
        }
    }

    /// The name and the key of a budget, where this is the account of one.
    #[must_use]
    pub fn as_budget(&self) -> Option<(&str, Option<&str>)> {
        let text = self.0.strip_prefix(BUDGET)?;
        Some(text.split_once('/').map_or((text, None), |(name, key)| (name, Some(key))))
    }
}

impl From<&CardId> for Account {
    fn from(card: &CardId) -> Self {
        Self(Arc::clone(&card.0))
    }
}

impl From<&CardholderId> for Account {
    fn from(cardholder: &CardholderId) -> Self {
        Self(Arc::clone(&cardholder.0))
    }
}

impl From<&AuthorizationId> for Account {
    fn from(authorization: &AuthorizationId) -> Self {
        Self(Arc::clone(&authorization.text))
    }
}

impl From<&AuthorizationId> for Mention {
    fn from(authorization: &AuthorizationId) -> Self {
        Self(Arc::clone(&authorization.text))
    }
}

impl From<&TransactionId> for Mention {
    fn from(transaction: &TransactionId) -> Self {
        Self(Arc::clone(&transaction.0))
    }
}

/// One decision of ours. It follows from the question alone, so that every node, and a stand-in, names the answer to
/// the same question the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DecisionId(u64);

impl DecisionId {
    /// The decision on this question about this authorization: FNV-1a over both, mixed once more.
    #[must_use]
    pub fn of(authorization: &AuthorizationId, question: Question) -> Self {
        let before = question.approved_before;
        let before = (before != 0).then(|| before.to_le_bytes()).into_iter().flatten();
        let numbers = question.history_entries.to_le_bytes().into_iter().chain(question.amount.to_le_bytes());
        let numbers = numbers.chain(before);
        // On from the hash of the text.
        Self(mixed(fnv(authorization.hash, [0].into_iter().chain(numbers))))
    }

    /// Reads what [`fmt::Display`] wrote: `dec_` and 16 lower-case hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("dec_")?;
        let plain = digits.len() == 16 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        plain.then(|| u64::from_str_radix(digits, 16).ok().map(Self)).flatten()
    }
}

/// The same number for the same text, on every node and in every build: FNV-1a, mixed once more.
pub(super) fn hash_of(text: &str) -> u64 {
    mixed(fnv(FNV_EMPTY, text.bytes()))
}

pub(super) const FNV_EMPTY: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a, on from the hash of what came before.
pub(super) fn fnv(before: u64, bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(before, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

const fn mixed(hash: u64) -> u64 {
    let mixed = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 29)
}

impl fmt::Display for DecisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dec_{:016x}", self.0)
    }
}

impl fmt::Debug for DecisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
