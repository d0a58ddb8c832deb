//! From names and values to settings, with every problem at once. Nothing here reads the environment.

use std::{collections::BTreeMap, io, sync::Arc};

use super::{
    problem::Problem,
    setting::{Default, Kind, Setting},
    settings::{
        ActorsSettings, HttpSettings, JournalSettings, LogSettings, NodeSettings, PolicySource, Secret,
        Settings, StripeSettings,
    },
    table::{SETTINGS, find},
    values,
};
use crate::domain::{Interval, Limit, Measure, Overrides, Policy, PolicyVersion, Window, Zone};

/// Settings, and where each came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What the rooms are told.
    pub settings: Settings,
    /// Each setting as it was given or defaulted, in the order of the table.
    pub effective: Vec<Effective>,
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

/// Reads all settings from pairs of name and value, such as the environment's. Secrets in files are read with
/// `read_file`. An empty value counts as not set.
///
/// # Errors
/// Every problem there is, in the order of the table, unknown names last.
pub fn read(
    pairs: impl IntoIterator<Item = (String, String)>,
    read_file: impl Fn(&str) -> io::Result<String>,
) -> Result<Loaded, Vec<Problem>> {
    let mut reader = Reader::new(pairs, read_file);
    let settings = settings(&mut reader);
    reader.refuse_cluster_settings();
    reader.refuse_unknown_names();
    let Reader { effective, problems, .. } = reader;
    match settings {
        Some(settings) if problems.is_empty() => Ok(Loaded { settings, effective: in_order(effective) }),
        Some(_) | None => Err(problems),
    }
}

/// The settings, or nothing where a problem left a hole. The readers run one after another before any hole is
/// looked at, so that all problems are found.
fn settings(reader: &mut Reader) -> Option<Settings> {
    let stripe = stripe(reader);
    let policy_source = policy_source(reader);
    let http = http(reader);
    let actors = actors(reader);
    let journal = journal(reader);
    let log = log(reader);
    let node = reader.required("TOLLGATE_DRAIN_DELAY", values::span);
    Some(Settings {
        http: http?,
        stripe: stripe?,
        actors: actors?,
        journal: journal?,
        log: log?,
        node: NodeSettings { drain_delay: node? },
        policy_source: policy_source?,
    })
}

fn stripe(reader: &mut Reader) -> Option<StripeSettings> {
    let secrets = reader.optional("STRIPE_WEBHOOK_SECRET", webhook_secrets);
    let api_version = reader.required("STRIPE_API_VERSION", values::api_version);
    let tolerance = reader.required("TOLLGATE_SIGNATURE_TOLERANCE", values::span);
    let metadata = reader.required("TOLLGATE_REPLY_METADATA", values::switch);
    Some(StripeSettings {
        webhook_secrets: secrets.unwrap_or_default(),
        api_version: api_version?,
        signature_tolerance: tolerance?,
        reply_metadata: metadata?,
    })
}

/// An API key where a signing secret belongs is the mistake that people make: it would refuse every event.
fn webhook_secrets(text: &str) -> Option<Vec<Secret>> {
    let usable = |secret: &str| {
        let is_api_key = ["sk_", "rk_", "pk_"].iter().any(|prefix| secret.starts_with(prefix));
        !secret.is_empty() && !is_api_key && secret.bytes().all(|byte| byte.is_ascii_graphic())
    };
    let secrets = text.split([',', '\n']).map(str::trim);
    secrets.map(|secret| usable(secret).then(|| Secret::new(secret))).collect()
}

fn http(reader: &mut Reader) -> Option<HttpSettings> {
    let listen = reader.required("TOLLGATE_LISTEN", values::address);
    let answer_within = reader.required("TOLLGATE_ANSWER_WITHIN", values::span);
    let connections_max = reader.required("TOLLGATE_CONNECTIONS_MAX", values::count);
    let header_bytes_max = reader.required("TOLLGATE_HEADER_BYTES_MAX", values::bytes);
    let body_bytes_max = reader.required("TOLLGATE_BODY_BYTES_MAX", values::bytes);
    let header_read_timeout = reader.required("TOLLGATE_HEADER_READ_TIMEOUT", values::span);
    let body_read_timeout = reader.required("TOLLGATE_BODY_READ_TIMEOUT", values::span);
    let admin_listen = reader.required("TOLLGATE_ADMIN_LISTEN", values::address);
    let admin_token_given = reader.is_set("TOLLGATE_ADMIN_TOKEN");
    let admin_token = reader.optional("TOLLGATE_ADMIN_TOKEN", |text| {
        text.bytes().all(|byte| byte.is_ascii_graphic()).then(|| Secret::new(text))
    });
    if let Some(admin) = admin_listen.filter(|admin| !admin.ip().is_loopback() && !admin_token_given) {
        reader.problems.push(Problem::Conflict(format!(
            "TOLLGATE_ADMIN_LISTEN={admin}: an admin port that others can reach needs TOLLGATE_ADMIN_TOKEN, a long random text"
        )));
    }
    if let Some(both) = listen.filter(|listen| listen.port() != 0 && Some(*listen) == admin_listen) {
        reader.problems.push(Problem::Conflict(format!(
            "TOLLGATE_ADMIN_LISTEN={both}: the webhook listens there already (TOLLGATE_LISTEN); choose another port"
        )));
    }
    Some(HttpSettings {
        listen: listen?,
        admin_listen: admin_listen?,
        admin_token,
        answer_within: answer_within?,
        connections_max: connections_max?,
        header_bytes_max: header_bytes_max?,
        body_bytes_max: body_bytes_max?,
        header_read_timeout: header_read_timeout?,
        body_read_timeout: body_read_timeout?,
    })
}

fn actors(reader: &mut Reader) -> Option<ActorsSettings> {
    let stand_in = reader.required("TOLLGATE_STAND_IN", values::stand_in);
    let in_flight_max = reader.required("TOLLGATE_IN_FLIGHT_MAX", values::count);
    let card_queue_max = reader.required("TOLLGATE_CARD_QUEUE_MAX", values::count);
    let card_idle_after = reader.required("TOLLGATE_CARD_IDLE_AFTER", values::span);
    let cards_resident_max = reader.required("TOLLGATE_CARDS_RESIDENT_MAX", values::count);
    let loads_max = reader.required("TOLLGATE_LOADS_MAX", values::count);
    Some(ActorsSettings {
        in_flight_max: in_flight_max?,
        card_queue_max: card_queue_max?,
        card_idle_after: card_idle_after?,
        cards_resident_max: cards_resident_max?,
        loads_max: loads_max?,
        stand_in: stand_in?,
    })
}

fn journal(reader: &mut Reader) -> Option<JournalSettings> {
    let location = reader.required("TOLLGATE_JOURNAL", values::journal);
    let batch_max = reader.required("TOLLGATE_JOURNAL_BATCH_MAX", values::count);
    Some(JournalSettings { location: location?, batch_max: batch_max? })
}

fn log(reader: &mut Reader) -> Option<LogSettings> {
    let filter = reader.required("TOLLGATE_LOG", values::log_filter);
    let format = reader.optional("TOLLGATE_LOG_FORMAT", values::log_format);
    Some(LogSettings { filter: filter?, format })
}

const AMOUNT_LIMITS: [(&str, Interval); 6] = [
    ("TOLLGATE_CARD_LIMIT_PER_AUTHORIZATION", Interval::PerAuthorization),
    ("TOLLGATE_CARD_LIMIT_DAILY", Interval::Daily),
    ("TOLLGATE_CARD_LIMIT_WEEKLY", Interval::Weekly),
    ("TOLLGATE_CARD_LIMIT_MONTHLY", Interval::Monthly),
    ("TOLLGATE_CARD_LIMIT_YEARLY", Interval::Yearly),
    ("TOLLGATE_CARD_LIMIT_ALL_TIME", Interval::AllTime),
];

/// What a card may spend a day where nobody said anything: what Stripe itself gives a new card, 500 dollars.
const DAILY_DEFAULT: &str = "50000";

fn policy_source(reader: &mut Reader) -> Option<PolicySource> {
    let file = reader.optional("TOLLGATE_POLICY", |text| Some(text.into()));
    let names = AMOUNT_LIMITS.map(|(name, _)| name).into_iter().chain(["TOLLGATE_CARD_VELOCITY"]);
    let given: Vec<&str> = names.filter(|name| reader.is_set(name)).collect();
    let mut limits = Vec::new();
    for (name, interval) in AMOUNT_LIMITS {
        let default =
            (file.is_none() && given.is_empty() && interval == Interval::Daily).then_some(DAILY_DEFAULT);
        if let Some(max) = reader.defaulted(name, default, values::amount) {
            limits.push(limit(max, Measure::Amount(None), interval));
        }
    }
    for (max, interval) in reader.optional("TOLLGATE_CARD_VELOCITY", values::velocity).unwrap_or_default() {
        limits.push(limit(max, Measure::Count, interval));
    }
    match file {
        Some(_) if !given.is_empty() => {
            reader.problems.push(Problem::Conflict(format!(
                "TOLLGATE_POLICY: a policy file holds all limits; move {} into its `default.spending_limits` and unset it",
                given.join(", ")
            )));
            None
        }
        Some(path) => Some(PolicySource::File(path)),
        None => Some(PolicySource::Environment(Arc::new(environment_policy(limits)))),
    }
}

fn limit(max: i64, measure: Measure, interval: Interval) -> Limit {
    let window = Window { measure, interval, time_zone: Zone::UTC, categories: None, merchants: None };
    Limit { max, window: Arc::new(window) }
}

fn environment_policy(limits: Vec<Limit>) -> Policy {
    Policy {
        version: PolicyVersion::new("env"),
        default: Overrides { spending_limits: Some(limits), ..Overrides::default() },
        groups: BTreeMap::new(),
        cards: BTreeMap::new(),
    }
}

fn in_order(mut effective: Vec<Effective>) -> Vec<Effective> {
    effective.sort_by_key(|one| SETTINGS.iter().position(|setting| setting.name == one.setting.name));
    effective
}

/// Reads the file at a path.
type ReadFile<'a> = dyn Fn(&str) -> io::Result<String> + 'a;

/// The pairs, and what was found while reading them.
struct Reader<'a> {
    pairs: BTreeMap<String, String>,
    read_file: Box<ReadFile<'a>>,
    effective: Vec<Effective>,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    fn new(
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
    fn is_set(&self, name: &str) -> bool {
        self.pairs.contains_key(name) || self.pairs.contains_key(&file_variant(name))
    }

    /// A setting that always has a value; none only after a problem was noted.
    fn required<T>(&mut self, name: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
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
    fn optional<T>(&mut self, name: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        self.defaulted(name, None, parse)
    }

    fn defaulted<T>(
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
        let shown = if setting.is_secret { EffectiveValue::Redacted } else { EffectiveValue::Text(text) };
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

    fn refuse_cluster_settings(&mut self) {
        for name in ["TOLLGATE_NODE_ID", "TOLLGATE_PEER_LISTEN", "TOLLGATE_PEER_ADDRESS"] {
            let _: Option<()> = self.optional(name, |_| None);
        }
    }

    fn refuse_unknown_names(&mut self) {
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

#[cfg(test)]
mod tests;
