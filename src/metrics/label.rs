//! The closed sets of label values that belong to no other room. The words of the domain come in as a
//! [`Vocabulary`], so that this room need not know it.

/// One label, or several in a row, whose values are known when the program is built.
pub trait Labels: Copy {
    /// Place among all combinations, the last label counting fastest.
    fn index(self) -> usize;
}

/// A set of values for one label.
pub trait Label: Labels {
    /// Every value, in the order of [`Labels::index`].
    const WORDS: &'static [&'static str];
}

impl<A: Label, B: Label> Labels for (A, B) {
    fn index(self) -> usize {
        self.0.index().saturating_mul(B::WORDS.len()).saturating_add(self.1.index())
    }
}

macro_rules! label {
    ($($(#[$doc:meta])* $name:ident { $($(#[$value:meta])* $variant:ident = $word:literal,)+ })+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum $name {
            $($(#[$value])* $variant,)+
        }

        impl $name {
            /// The value in metrics.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl Label for $name {
            const WORDS: &'static [&'static str] = &[$($word),+];
        }

        impl Labels for $name {
            #[allow(clippy::as_conversions, reason = "the place of a variant without fields among its kind")]
            fn index(self) -> usize {
                self as usize
            }
        }
    )+};
}

mod trial;

pub use trial::{TrialChange, World};

label! {
    /// What became of a webhook request.
    WebhookResult {
        /// A decision, or the stand-in's.
        Answered = "answered",
        /// An event is in the books.
        Booked = "booked",
        /// An event that nothing is booked for.
        Acknowledged = "acknowledged",
        /// An event that the journal did not take; Stripe delivers it again.
        NotBooked = "not_booked",
        /// No valid signature.
        BadSignature = "bad_signature",
        /// Signed, and no event.
        Malformed = "malformed",
        /// A test event at a live node, or the other way round.
        WrongMode = "wrong_mode",
        /// An event of another connected account than its card's.
        WrongAccount = "wrong_account",
        /// A body over its limit.
        TooLarge = "too_large",
        /// The body did not arrive in time.
        BodyLate = "body_late",
        /// The body ended before its end.
        BodyBroken = "body_broken",
        /// Another path.
        NotFound = "not_found",
        /// Another method.
        MethodNotAllowed = "method_not_allowed",
    }
}

label! {
    /// Why a request that Stripe signed was refused.
    Refusal {
        /// Another path than the webhook's.
        WrongPath = "wrong_path",
        /// Another method than POST.
        WrongMethod = "wrong_method",
        /// A body over its limit.
        BodyTooLarge = "body_too_large",
        /// The body did not arrive in time.
        BodyLate = "body_late",
        /// The body ended before its end.
        BodyBroken = "body_broken",
        /// A secret fits, the time does not.
        WrongTime = "wrong_time",
        /// No event that could be answered.
        Malformed = "malformed",
        /// A test event at a live node, or the other way round.
        WrongMode = "wrong_mode",
        /// An event of another connected account than its card's.
        WrongAccount = "wrong_account",
    }
}

label! {
    /// Why a request to the admin port was refused.
    AdminRefusal {
        /// Without a token, or with an unknown one.
        Unauthorized = "unauthorized",
        /// With a token whose role may not do it, or a change from a web page of another origin.
        Forbidden = "forbidden",
        /// To a name that is not this machine's own, on a port without a token.
        WrongHost = "wrong_host",
        /// Nothing is there.
        UnknownPath = "unknown_path",
        /// Another method than the path has.
        WrongMethod = "wrong_method",
        /// A filter of the log that is none.
        BadFilter = "bad_filter",
        /// A parameter that is unknown or has a wrong value.
        BadParameter = "bad_parameter",
    }

    /// A part of the walk of a request.
    Stage {
        /// Checking the signature.
        Verify = "verify",
        /// Reading the event.
        Parse = "parse",
        /// Finding the card's node and actor.
        Route = "route",
        /// Waiting for the card.
        Queue = "queue",
        /// Deciding.
        Decide = "decide",
        /// Becoming durable.
        Commit = "commit",
        /// Writing the reply.
        Respond = "respond",
    }
}

label! {
    /// Where a question was decided.
    Route {
        /// On the node that Stripe reached.
        Local = "local",
        /// On the card's owner.
        Forwarded = "forwarded",
    }
}

label! {
    /// What became of a request that was forwarded to the card's owner.
    Forward {
        /// The owner has answered it.
        Answered = "answered",
        /// The owner could not decide it in time.
        Undecided = "undecided",
        /// There is no connection to the owner, or too many wait for one already.
        Unreachable = "unreachable",
        /// The connection broke before the answer came.
        Broken = "broken",
        /// The owner took too long.
        Late = "late",
        /// The owner did not take it, such as for another signing secret, or does not speak this version's words.
        Refused = "refused",
    }

    /// What the arbiter of an account said to an answer.
    Claimed {
        /// It knew of no other.
        Agreed = "agreed",
        /// Another one had left before: it left again.
        Overruled = "overruled",
        /// It did not say in time, and the answer left alone.
        Unanswered = "unanswered",
    }
}

label! {
    /// How an answer went to Stripe.
    Way {
        /// With the reply to the webhook.
        Direct = "direct",
        /// Over the API.
        Api = "api",
        /// With the reply, since the API did not take it in time.
        Fallback = "fallback",
    }
}

label! {
    /// Whether what Stripe did is what we answered.
    Agrees {
        /// The same.
        Yes = "true",
        /// Something else.
        No = "false",
        /// We were never asked.
        Unasked = "unasked",
    }
}

label! {
    /// Why work was turned away.
    Shed {
        /// Too many open connections.
        Connections = "connections",
        /// Too many requests inside the node.
        InFlight = "in_flight",
        /// Too many requests waiting at one card.
        CardQueue = "card_queue",
        /// Too much of one card that is decided and not durable yet.
        CardPending = "card_pending",
        /// The journal would take too much of the time that the request has.
        JournalQueue = "journal_queue",
        /// No time left to decide.
        Deadline = "deadline",
        /// The journal did not take it.
        Journal = "journal",
        /// The card's actor keeps failing.
        CardFailing = "card_failing",
        /// More cards in memory than there is room for, until the next sweep.
        CardsResident = "cards_resident",
        /// A stand-in's answer that could not be booked: too many were on their way already.
        StandInBacklog = "stand_in_backlog",
    }
}

label! {
    /// Which socket.
    Listener {
        /// Stripe's.
        Webhook = "webhook",
        /// The operators'.
        Admin = "admin",
        /// Other nodes'.
        Peer = "peer",
    }
}

label! {
    /// Why a connection between nodes was turned away, by either of them.
    PeerRefusal {
        /// Too many were not yet known to be members': the oldest of them made room.
        Crowded = "crowded",
        /// Members have too many connections.
        Full = "full",
        /// It was not open in time.
        Late = "late",
        /// It is not what nodes of this version send.
        NotANode = "not_a_node",
        /// It has a key that the operator's authority has not signed.
        NotSigned = "not_signed",
        /// It refused this node.
        Rejected = "rejected",
        /// It asked for another key than this node's.
        OtherServer = "other_server",
        /// It sent too much before its key was proved.
        TooLong = "too_long",
        /// It proved a key that is no member's.
        UnknownKey = "unknown_key",
        /// What answered at a member's address has another key.
        Impostor = "impostor",
        /// A member that calls itself by another name.
        OtherName = "other_name",
        /// A member with another journal.
        OtherJournal = "other_journal",
        /// It was broken off.
        Broken = "broken",
    }
}

label! {
    /// Why a connection was cut, other than by its client or after a last reply.
    Cut {
        /// The headers did not arrive in time.
        HeadLate = "head_late",
        /// The body did not arrive in time.
        BodyLate = "body_late",
        /// Nothing was asked for long.
        Idle = "idle",
        /// Idle for the longest, while there was one connection too many.
        Evicted = "evicted",
        /// The client does not read its replies.
        ReplyStalled = "reply_stalled",
        /// Not HTTP, or headers over their limit.
        Protocol = "protocol",
        /// The network broke it.
        Broken = "broken",
        /// Unfinished at the end of the drain.
        Drain = "drain",
    }
}

label! {
    /// Whether something worked.
    Done {
        /// It did.
        Ok = "ok",
        /// It did not.
        Failed = "failed",
    }
}

label! {
    /// Why a card left memory.
    Passivation {
        /// Nobody asked for a while.
        Idle = "idle",
        /// More cards than may stay.
        Pressure = "pressure",
        /// Its actor failed.
        Failure = "failure",
    }
}

label! {
    /// What the journal could not do.
    JournalFailure {
        /// An append that was certainly not written.
        Rejected = "rejected",
        /// A card's entries could not be read.
        Load = "load",
        /// Entries could not be read for the admin API.
        Read = "read",
    }

    /// What the journal's database is.
    JournalPhase {
        /// It takes entries.
        Open = "open",
        /// What a new timeline lacks is being given back.
        Restoring = "restoring",
        /// No server can be used.
        Away = "away",
    }

    /// What came of looking at the policy file.
    Reload {
        /// A new policy is in force.
        Loaded = "loaded",
        /// It has mistakes; the old policy stays.
        Refused = "refused",
    }
}

mod outgoing;

pub use outgoing::{Delivery, Endpoint, Export};

label! {
    /// What a limit measures.
    LimitMeasure {
        /// Money.
        Amount = "amount",
        /// Approvals.
        Count = "count",
    }

    /// The window of a limit, without the length of a rolling one.
    LimitWindow {
        /// One authorization with all its increments.
        PerAuthorization = "per_authorization",
        /// A day.
        Daily = "daily",
        /// A week.
        Weekly = "weekly",
        /// A month.
        Monthly = "monthly",
        /// A year.
        Yearly = "yearly",
        /// The life of the card.
        AllTime = "all_time",
        /// Of any length.
        Rolling = "rolling",
    }
}

label! {
    /// A bound that the node holds itself to.
    Bound {
        /// Bytes of a webhook body.
        BodyBytes = "body_bytes",
        /// Bytes of a request's headers.
        HeaderBytes = "header_bytes",
        /// Open webhook connections.
        Connections = "connections",
        /// Requests inside the node.
        InFlight = "in_flight",
        /// Requests waiting at one card.
        CardQueue = "card_queue",
        /// Cards in memory.
        CardsResident = "cards_resident",
        /// Cards being loaded.
        Loads = "loads",
        /// Appends in a commit.
        JournalBatch = "journal_batch",
        /// Bytes of entries that are kept to be given back to a database that has lost them.
        JournalRestoreBytes = "journal_restore_bytes",
    }
}

label! {
    /// Which of the configured signing secrets fitted, in the order of the setting.
    SecretSlot {
        /// The first.
        First = "1",
        /// The second.
        Second = "2",
        /// The third.
        Third = "3",
        /// The fourth.
        Fourth = "4",
        /// Any after the fourth.
        Later = "5+",
    }
}

impl SecretSlot {
    /// The slot of the secret at `position`, counted from 0.
    #[must_use]
    pub const fn at(position: usize) -> Self {
        match position {
            0 => Self::First,
            1 => Self::Second,
            2 => Self::Third,
            3 => Self::Fourth,
            _ => Self::Later,
        }
    }
}

/// Stripe's `request_history.reason`, as of API version 2026-07-29. A new one counts as `other`.
pub const STRIPE_REASONS: &[&str] = &[
    "webhook_approved",
    "webhook_declined",
    "webhook_timeout",
    "webhook_error",
    "network_fallback",
    "stripe_internal_error",
    "card_active",
    "spending_controls",
    "insufficient_funds",
    "suspected_fraud",
    "verification_failed",
    "insecure_authorization_method",
    "not_allowed",
    "pin_blocked",
    "card_inactive",
    "card_canceled",
    "card_expired",
    "cardholder_inactive",
    "cardholder_blocked",
    "cardholder_verification_required",
    "account_disabled",
    "rule_blocked",
    OTHER,
];

/// The value that stands for every one that is not in a set.
pub(super) const OTHER: &str = "other";

/// Closed sets of label values that other rooms own, told once at the start.
#[derive(Clone, Debug, Default)]
pub struct Vocabulary {
    /// What kinds of events there are, and a word for requests that were turned away unread.
    pub events: Vec<&'static str>,
    /// Of a decision.
    pub outcomes: Vec<&'static str>,
    /// Of a decision.
    pub reasons: Vec<&'static str>,
    /// Of a decision.
    pub sources: Vec<&'static str>,
    /// How a request can break the contract.
    pub violations: Vec<&'static str>,
    /// How a signature can fail.
    pub signature_failures: Vec<&'static str>,
    /// How a signed body can be no event.
    pub malformed: Vec<&'static str>,
    /// Why an event is acknowledged and not booked.
    pub unbooked: Vec<&'static str>,
}
