//! What the programme allows: limits and controls, for all cards, for groups of cards, for single cards. A policy is
//! a value; reading it from a file or from the environment happens elsewhere.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

pub(super) use super::span::Span;
pub use super::span::{Interval, Zone, parse_span};
use super::{
    budget::{BudgetPolicy, Budgets},
    controls::Controls,
    decision::Reason,
    ids::{CardId, ConnectedAccountId, NetworkId},
    merchant::{CardPresence, Category, Country},
    money::Currency,
    rule::{MetadataKeys, Rule, rules_of},
};

/// The whole policy. A card's settings go over its group's, those over its connected account's, and those over the default, key
/// by key.
#[derive(Clone, PartialEq, Debug)]
pub struct Policy {
    version: PolicyVersion,
    default: Arc<CardPolicy>,
    accounts: BTreeMap<ConnectedAccountId, Arc<CardPolicy>>,
    groups: BTreeMap<Arc<str>, Group>,
    cards: BTreeMap<CardId, Overrides>,
    unknown_group: UnknownGroup,
    mirrors_stripe_controls: bool,
    text: Arc<str>,
    metadata: MetadataKeys,
    budgets: Budgets,
}

/// A group: its own settings, and what they make of the default.
#[derive(Clone, PartialEq, Debug)]
struct Group {
    own: Overrides,
    over_default: Arc<CardPolicy>,
}

/// The layers of a policy.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Layers {
    /// For every card.
    pub default: Overrides,
    /// For the cards of a connected account.
    pub accounts: BTreeMap<ConnectedAccountId, Overrides>,
    /// For the cards of a group.
    pub groups: BTreeMap<Arc<str>, Overrides>,
    /// For single cards.
    pub cards: BTreeMap<CardId, Overrides>,
}

/// What a card gets whose metadata name a group that the policy lacks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum UnknownGroup {
    /// What cards without a group get.
    #[default]
    Default,
    /// Nothing: everything is declined.
    Decline,
}

impl Policy {
    /// A policy of these layers.
    #[must_use]
    pub fn new(
        version: PolicyVersion,
        default: &Overrides,
        groups: &BTreeMap<Arc<str>, Overrides>,
        cards: BTreeMap<CardId, Overrides>,
    ) -> Self {
        let layers = Layers { default: default.clone(), groups: groups.clone(), cards, ..Layers::default() };
        Self::with_budgets(version, Vec::new(), layers)
    }

    /// A policy of these budgets and layers.
    #[must_use]
    pub fn with_budgets(version: PolicyVersion, budgets: Vec<BudgetPolicy>, layers: Layers) -> Self {
        let all = || {
            let shared = [&layers.default].into_iter().chain(layers.accounts.values());
            shared.chain(layers.groups.values()).chain(layers.cards.values())
        };
        let mirrors_stripe_controls = all().any(|layer| layer.mirror_stripe_controls == Some(true));
        let rules = all().filter_map(|layer| layer.rules.as_ref());
        let of_rules = rules.flat_map(|rules| rules.iter()).flat_map(Rule::metadata);
        let named = all().filter_map(|layer| layer.budgets.as_ref()).map(|names| &**names);
        let budgets = Budgets::new(budgets, named);
        let metadata = MetadataKeys::of(of_rules.chain(budgets.metadata()));
        let text = Arc::from("");
        let Layers { default, accounts, groups, cards } = layers;
        let default = CardPolicy::permissive(version.clone()).overridden_by(&default);
        let over_default = |layer: &Overrides| Arc::new(default.clone().overridden_by(layer));
        let accounts = accounts.into_iter().map(|(account, own)| (account, over_default(&own))).collect();
        let groups = groups.into_iter().map(|(name, own)| {
            let over_default = over_default(&own);
            (name, Group { own, over_default })
        });
        let groups = groups.collect();
        Self {
            version,
            accounts,
            groups,
            default: Arc::new(default),
            cards,
            unknown_group: UnknownGroup::Default,
            mirrors_stripe_controls,
            text,
            metadata,
            budgets,
        }
    }

    /// The same policy, with another answer for cards of a group that it lacks.
    #[must_use]
    pub fn with_unknown_group(self, unknown_group: UnknownGroup) -> Self {
        Self { unknown_group, ..self }
    }

    /// The same policy, with the country that is home.
    #[must_use]
    pub fn with_home_country(mut self, country: Option<Country>) -> Self {
        let groups = self.groups.values_mut().map(|group| &mut group.over_default);
        for layer in std::iter::once(&mut self.default).chain(self.accounts.values_mut()).chain(groups) {
            Arc::make_mut(layer).home_country = country;
        }
        self
    }

    /// The budgets.
    #[must_use]
    pub const fn budgets(&self) -> &Budgets {
        &self.budgets
    }

    /// The keys of metadata that its rules and budgets look at, which have to be read.
    #[must_use]
    pub const fn metadata(&self) -> &MetadataKeys {
        &self.metadata
    }

    /// What cards get whose metadata name a group that the policy lacks.
    #[must_use]
    pub const fn unknown_group(&self) -> UnknownGroup {
        self.unknown_group
    }

    /// Whether there is such a group.
    #[must_use]
    pub fn has_group(&self, name: &str) -> bool {
        self.groups.contains_key(name)
    }

    /// The same policy, with the text that it was read from.
    #[must_use]
    pub fn with_text(self, text: &str) -> Self {
        Self { text: text.into(), ..self }
    }

    /// The text that the policy was read from, which gives the same policy again; empty where there is none.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Names the content, so that a decision can say by which policy it was made.
    #[must_use]
    pub const fn version(&self) -> &PolicyVersion {
        &self.version
    }

    /// Whether any card's policy mirrors its own `spending_controls`.
    #[must_use]
    pub const fn mirrors_stripe_controls(&self) -> bool {
        self.mirrors_stripe_controls
    }

    /// The names of the groups.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.groups.keys().map(|name| &**name)
    }

    /// The connected accounts that have settings of their own.
    pub fn accounts(&self) -> impl Iterator<Item = &ConnectedAccountId> {
        self.accounts.keys()
    }

    /// The single cards that have settings of their own.
    pub fn cards(&self) -> impl Iterator<Item = &CardId> {
        self.cards.keys()
    }

    /// What holds for `card`, a member of `group` if that group exists, that is of no connected account.
    #[must_use]
    pub fn for_card(&self, card: Option<&CardId>, group: Option<&str>) -> Arc<CardPolicy> {
        self.for_card_of(None, card, group)
    }

    /// What holds for `card` of a connected account, a member of `group` if that group exists. Cards without settings of their
    /// own share one value, except for those of a group that the policy lacks, and of a group and an account with settings.
    #[must_use]
    pub fn for_card_of(
        &self,
        account: Option<&ConnectedAccountId>,
        card: Option<&CardId>,
        group: Option<&str>,
    ) -> Arc<CardPolicy> {
        let of_account = account.and_then(|account| self.accounts.get(account));
        let of_group = group.and_then(|name| self.groups.get(name));
        let over_account;
        let shared = match (of_account, of_group) {
            (None, None) => &self.default,
            (Some(account), None) => account,
            (None, Some(group)) => &group.over_default,
            (Some(account), Some(group)) => {
                over_account = Arc::new(CardPolicy::clone(account).overridden_by(&group.own));
                &over_account
            }
        };
        let unknown_group = group.filter(|name| !self.has_group(name)).map(|_| self.unknown_group);
        let own = card.and_then(|id| self.cards.get(id));
        if own.is_none() && unknown_group.is_none() {
            return Arc::clone(shared);
        }
        let policy = CardPolicy { unknown_group, ..CardPolicy::clone(shared) };
        Arc::new(match own {
            Some(own) => policy.overridden_by(own),
            None => policy,
        })
    }
}

/// A short name for a policy's content, such as `env` or the first digits of a hash.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PolicyVersion(Arc<str>);

impl PolicyVersion {
    /// Takes `name` as it is.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The version of answers that were given without a policy.
    #[must_use]
    pub fn stand_in() -> Self {
        Self::new("stand_in")
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Settings of one layer. What is `None` is left to the layer below.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Overrides {
    /// All limits, amounts and counts; replaced as a whole.
    pub spending_limits: Option<Vec<Limit>>,
    /// Only these categories.
    pub allowed_categories: Option<BTreeSet<Category>>,
    /// Not these categories.
    pub blocked_categories: Option<BTreeSet<Category>>,
    /// Only merchants in these countries.
    pub allowed_merchant_countries: Option<BTreeSet<Country>>,
    /// No merchant in these countries.
    pub blocked_merchant_countries: Option<BTreeSet<Country>>,
    /// Only in these ways.
    pub allowed_card_presences: Option<BTreeSet<CardPresence>>,
    /// Not in these ways.
    pub blocked_card_presences: Option<BTreeSet<CardPresence>>,
    /// Only these merchants.
    pub allowed_merchants: Option<BTreeSet<NetworkId>>,
    /// Not these merchants.
    pub blocked_merchants: Option<BTreeSet<NetworkId>>,
    /// Reasons for which a decline also asks the cardholder by text message.
    pub challenge_on: Option<BTreeSet<Reason>>,
    /// Whether a controllable amount may be approved in part.
    pub partial_approvals: Option<bool>,
    /// Whether a refund gives its window back.
    pub refunds_restore: Option<bool>,
    /// Whether everything is declined.
    pub paused: Option<bool>,
    /// Whether a currency that no amount limit names is let through.
    pub other_currencies_allowed: Option<bool>,
    /// Whether the event's own `spending_controls` are enforced here too.
    pub mirror_stripe_controls: Option<bool>,
    /// The rules, in order; replaced as a whole.
    pub rules: Option<Arc<[Rule]>>,
    /// The highest score that a request may have.
    pub score_limit: Option<i64>,
    /// The budgets that its cards charge, by name; replaced as a whole.
    pub budgets: Option<Arc<[Arc<str>]>>,
}

/// What one card gets.
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of the policy file, under its name there")]
#[derive(Clone, PartialEq, Debug)]
pub struct CardPolicy {
    /// The policy that it comes from.
    pub version: PolicyVersion,
    /// Limits and lists.
    pub controls: Controls,
    /// The lists, as rules.
    pub lists: Arc<[Rule]>,
    /// Reasons for which a decline also asks the cardholder by text message.
    pub challenge_on: BTreeSet<Reason>,
    /// Whether a controllable amount may be approved in part.
    pub partial_approvals: bool,
    /// Whether a refund gives its window back.
    pub refunds_restore: bool,
    /// Whether everything is declined.
    pub paused: bool,
    /// Whether a currency that no amount limit names is let through.
    pub other_currencies_allowed: bool,
    /// Whether the event's own `spending_controls` are enforced here too.
    pub mirror_stripe_controls: bool,
    /// What happens since the policy lacks the card's group; nothing if it has it, or if the card names none.
    pub unknown_group: Option<UnknownGroup>,
    /// The rules, in order.
    pub rules: Arc<[Rule]>,
    /// The highest score that a request may have.
    pub score_limit: i64,
    /// The country that is home, where the policy names one.
    pub home_country: Option<Country>,
    /// The budgets that it charges, by name; those above them are charged too.
    pub budgets: Arc<[Arc<str>]>,
}

impl CardPolicy {
    /// The score limit of a policy that names none.
    pub const SCORE_LIMIT: i64 = 100;

    /// No limit, no list.
    #[must_use]
    pub fn permissive(version: PolicyVersion) -> Self {
        Self {
            version,
            controls: Controls::default(),
            lists: Arc::default(),
            challenge_on: BTreeSet::new(),
            partial_approvals: true,
            refunds_restore: false,
            paused: false,
            other_currencies_allowed: false,
            mirror_stripe_controls: false,
            unknown_group: None,
            rules: Arc::default(),
            score_limit: Self::SCORE_LIMIT,
            home_country: None,
            budgets: Arc::default(),
        }
    }

    fn overridden_by(mut self, layer: &Overrides) -> Self {
        fn put<T: Clone>(place: &mut T, value: Option<&T>) {
            if let Some(value) = value {
                place.clone_from(value);
            }
        }
        fn list<T: Clone>(place: &mut Option<Arc<BTreeSet<T>>>, value: Option<&BTreeSet<T>>) {
            if let Some(value) = value {
                *place = Some(Arc::new(value.clone()));
            }
        }
        let Controls { spending_limits, categories, countries, presences, merchants } = &mut self.controls;
        put(spending_limits, layer.spending_limits.as_ref());
        list(&mut categories.allowed, layer.allowed_categories.as_ref());
        list(&mut categories.blocked, layer.blocked_categories.as_ref());
        list(&mut countries.allowed, layer.allowed_merchant_countries.as_ref());
        list(&mut countries.blocked, layer.blocked_merchant_countries.as_ref());
        list(&mut presences.allowed, layer.allowed_card_presences.as_ref());
        list(&mut presences.blocked, layer.blocked_card_presences.as_ref());
        list(&mut merchants.allowed, layer.allowed_merchants.as_ref());
        list(&mut merchants.blocked, layer.blocked_merchants.as_ref());
        self.lists = rules_of(&self.controls);
        put(&mut self.challenge_on, layer.challenge_on.as_ref());
        put(&mut self.partial_approvals, layer.partial_approvals.as_ref());
        put(&mut self.refunds_restore, layer.refunds_restore.as_ref());
        put(&mut self.paused, layer.paused.as_ref());
        put(&mut self.other_currencies_allowed, layer.other_currencies_allowed.as_ref());
        put(&mut self.mirror_stripe_controls, layer.mirror_stripe_controls.as_ref());
        put(&mut self.rules, layer.rules.as_ref());
        put(&mut self.score_limit, layer.score_limit.as_ref());
        put(&mut self.budgets, layer.budgets.as_ref());
        self
    }
}

/// One limit: so much, in such a window, of such purchases.
#[derive(Clone, PartialEq, Debug)]
pub struct Limit {
    /// The most that may be used: minor units or approvals, zero or more.
    pub max: i64,
    /// What is measured, where.
    pub window: Arc<Window>,
}

/// Where a limit measures: everything of it but its height. Two limits of one window share one running sum.
#[derive(Clone, PartialEq, Debug)]
pub struct Window {
    /// Amount or count.
    pub measure: Measure,
    /// How long.
    pub interval: Interval,
    /// Where a day begins, for calendar intervals.
    pub time_zone: Zone,
    /// Which purchases: only those of these categories.
    pub categories: Option<BTreeSet<Category>>,
    /// Which purchases: only those at these merchants.
    pub merchants: Option<BTreeSet<NetworkId>>,
    /// What a count counts. Limits count approvals; rules may look at others.
    pub occurrence: Occurrence,
}

/// What a window with [`Measure::Count`] counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Occurrence {
    /// Approved authorizations.
    #[default]
    Approval,
    /// Requests, whatever was answered; increments too.
    Attempt,
    /// Requests that were declined.
    Decline,
    /// The different values of this among approved authorizations.
    Different(Feature),
}

impl Occurrence {
    /// Whether it is counted of what an authorization uses, and not of its requests.
    #[must_use]
    pub const fn is_spent(self) -> bool {
        match self {
            Self::Approval | Self::Different(_) => true,
            Self::Attempt | Self::Decline => false,
        }
    }
}

/// What merchants may differ in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Feature {
    /// The id at the card network.
    Merchant,
    /// The country.
    Country,
    /// The category.
    Category,
}

impl Feature {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Merchant, Self::Country, Self::Category];

    /// The input of rules that it is.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Merchant => "merchant.id",
            Self::Country => "merchant.country",
            Self::Category => "category",
        }
    }
}

/// What a limit measures.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Measure {
    /// Held and captured minor units of this currency; of the card's own where none is named.
    Amount(Option<Currency>),
    /// Approvals.
    Count,
}

impl Measure {
    /// `amount` or `count`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Amount(_) => "amount",
            Self::Count => "count",
        }
    }
}
