//! Faults that the simulation plants in the engine, one at a time and by name, to show that it finds them. Without the
//! feature `planted`, which only the simulation's tests have, none is ever planted, and nothing is left of the question.

macro_rules! faults {
    ($($variant:ident $name:literal $about:literal;)*) => {
        /// A fault that can be planted.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Planted {
            $(#[doc = $about] $variant,)*
        }

        impl Planted {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Its name.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// What is wrong then.
            #[must_use]
            pub const fn about(self) -> &'static str {
                match self {
                    $(Self::$variant => $about,)*
                }
            }

            /// Reads [`Planted::as_str`].
            #[must_use]
            pub fn new(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|planted| planted.as_str() == name)
            }
        }
    };
}

faults! {
    AnswerBeforeDurable "answer-before-durable" "answers leave before their entry is durable";
    ReceiptBeforeDurable "receipt-before-durable" "events are acknowledged before their entry is durable";
    ConflictIgnored "conflict-ignored" "an append that lost its place counts as durable";
    ExpiredReleased "expired-released" "an append that was not written for want of time counts as durable";
    RejectedReleased "rejected-released" "an append that the journal refused counts as durable";
    ReloadIgnored "reload-ignored" "after a conflict the account in memory stays as it was";
    NotFenced "not-fenced" "the journal takes an append behind any head";
    HoldForgotten "hold-forgotten" "a decision is written and not counted in memory";
    DuplicateByEvent "duplicate-by-event" "a repeated request counts as the same only with the same event id";
    ClaimSkipped "claim-skipped" "a node answers without asking whether another one has given another answer";
    RepeatFromMemory "repeat-from-memory" "an answer in memory is repeated although another node may have voided it";
    StandInDropped "stand-in-dropped" "stand-in decisions are not recorded";
    SnapshotStale "snapshot-stale" "a snapshot lacks what its own entry decides";
    EvictionUncounted "eviction-uncounted" "what is evicted from memory no longer counts";
    RecallSkipped "recall-skipped" "what was evicted is not looked up before it is named again";
    FoldSkipsStandIns "fold-skips-stand-ins" "an account that is loaded lacks its stand-in decisions";
    RepliesSwapped "replies-swapped" "two callers of one append get each other's answers";
    PartialInFull "partial-in-full" "a partial approval answers with the whole amount";
    ReversalIgnored "reversal-ignored" "a snapshot with a smaller amount changes nothing";
    TerminalForEver "terminal-for-ever" "what comes after a terminal status is ignored, captures too";
    LegForgotten "leg-forgotten" "the last budget of a purchase is not charged";
    LegsKept "legs-kept" "what is taken back on a card stays on its budgets";
    OldestWins "oldest-wins" "an older snapshot takes the place of a newer one";
}

#[cfg(feature = "planted")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Planted>> = const { std::cell::Cell::new(None) };
}

/// Plants a fault in all that runs on this thread from now on, or none.
#[cfg(feature = "planted")]
pub fn plant(planted: Option<Planted>) {
    PLANTED.set(planted);
}

/// Whether this one is planted.
#[cfg(feature = "planted")]
pub(crate) fn is(planted: Planted) -> bool {
    PLANTED.get() == Some(planted)
}

/// None ever is.
#[cfg(not(feature = "planted"))]
pub(crate) const fn is(_: Planted) -> bool {
    false
}
