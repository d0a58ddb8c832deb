//! From names and values to settings, with every problem at once. Nothing here reads the environment.

use std::{io, path::PathBuf, sync::Arc};

use super::{
    policy_file,
    problem::Problem,
    reader::{Effective, Reader},
    settings::{PolicySource, Settings},
    values,
};
use crate::{
    actors, cluster,
    domain::{Interval, Policy},
    http::{self, Bounds, Token},
    journal::{self, Location},
    log,
    stripe::{
        self, ApiVersion, MerchantNames, Secret,
        api::{self, ApiKey, BaseUrl, Roots},
    },
};

/// Settings, and where each came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What the rooms are told.
    pub settings: Settings,
    /// Each setting as it was given or defaulted, in the order of the table.
    pub effective: Vec<Effective>,
}

/// Reads all settings from pairs of name and value, such as the environment's. Files are read with
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
    reader.refuse_unknown_names();
    let (effective, problems) = reader.finish();
    match settings {
        Some(settings) if problems.is_empty() => Ok(Loaded { settings, effective }),
        Some(_) | None => Err(problems),
    }
}

/// The settings, or nothing where a problem left a hole. The readers run one after another before any hole is
/// looked at, so that all problems are found.
fn settings(reader: &mut Reader) -> Option<Settings> {
    let stripe = stripe(reader);
    let policy_source = policy_source(reader);
    let approvals = reader.required("TOLLGATE_POLICY_APPROVALS", values::count);
    if approvals == Some(2) && !reader.is_set("TOLLGATE_ADMIN_TOKENS_FILE") {
        reader.note(Problem::Conflict(
            "TOLLGATE_POLICY_APPROVALS=2: two operators need tokens of their own; set TOLLGATE_ADMIN_TOKENS_FILE, or unset this"
                .to_owned(),
        ));
    }
    let webhooks = reader.optional("TOLLGATE_WEBHOOKS", |text| Some(text.to_owned()));
    if let Some(path) = &webhooks {
        reader.refuse_unreadable("TOLLGATE_WEBHOOKS", path);
    }
    let shadow_policy = shadow_policy(reader);
    let http = http(reader);
    let mut actors = actors(reader);
    let mut journal = journal(reader);
    let log = log(reader);
    let drain_delay = reader.required("TOLLGATE_DRAIN_DELAY", values::span);
    let cluster = cluster(reader);
    if let (Some(journal), Some(actors)) = (&journal, &mut actors) {
        actors.is_journal_shared = journal.location.is_shared();
        refuse_cluster_without_database(reader, &journal.location);
    }
    if let (Some(journal), Some(cluster)) = (&mut journal, &cluster) {
        journal.node.clone_from(&cluster.node_id);
    }
    Some(Settings {
        http: http?,
        cluster: cluster?,
        stripe: stripe?,
        actors: actors?,
        journal: journal?,
        log: log?,
        drain_delay: drain_delay?,
        policy_source: policy_source?,
        policy_needs_approval: approvals? > 1,
        webhooks: webhooks.map(Into::into),
        shadow_policy,
    })
}

fn stripe(reader: &mut Reader) -> Option<stripe::Settings> {
    let secrets = reader.optional("STRIPE_WEBHOOK_SECRET", webhook_secrets);
    let api_version = reader.required("STRIPE_API_VERSION", ApiVersion::new);
    let key = reader.optional("STRIPE_API_KEY", ApiKey::new);
    let base = reader.required("STRIPE_API_BASE", BaseUrl::new);
    let roots = reader.file("STRIPE_API_CA", Roots::new);
    let requests_per_second_max = reader.required("TOLLGATE_API_CALLS_PER_SECOND", values::count);
    let tolerance = reader.required("TOLLGATE_SIGNATURE_TOLERANCE", values::span);
    let metadata = reader.required("TOLLGATE_REPLY_METADATA", values::switch);
    let merchant_names = reader.required("TOLLGATE_RECORD_MERCHANT_NAMES", MerchantNames::new);
    if key.as_ref().is_some_and(ApiKey::is_live) && base.as_ref().is_some_and(|base| !base.is_encrypted()) {
        reader.note(Problem::Conflict(
            "STRIPE_API_BASE: a live key goes over https:// only; use a test key with a stub".to_owned(),
        ));
    }
    let (api_version, base) = (api_version?, base?);
    let requests_per_second_max = u32::try_from(requests_per_second_max?).unwrap_or(u32::MAX);
    let api = key.map(|key| api::Settings {
        base,
        roots,
        version: api_version.clone(),
        requests_per_second_max,
        ..api::Settings::new(key)
    });
    Some(stripe::Settings {
        secrets: secrets.unwrap_or_default(),
        api,
        api_version,
        signature_tolerance: tolerance?,
        reply_metadata: metadata?,
        merchant_names: merchant_names?,
    })
}

/// An API key where a signing secret belongs is the mistake that people make: it would refuse every event.
fn webhook_secrets(text: &str) -> Option<Vec<Secret>> {
    let usable = |secret: &str| {
        let is_api_key = ["sk_", "rk_", "pk_"].iter().any(|prefix| secret.starts_with(prefix));
        !secret.is_empty() && !is_api_key && secret.bytes().all(|byte| byte.is_ascii_graphic())
    };
    let secrets = text.split([',', '\n']).map(str::trim);
    secrets.map(|secret| Secret::new(secret).filter(|_| usable(secret))).collect()
}

fn http(reader: &mut Reader) -> Option<http::Settings> {
    let listen = reader.required("TOLLGATE_LISTEN", values::address);
    let answer_within = reader.required("TOLLGATE_ANSWER_WITHIN", values::span);
    let connections_max = reader.required("TOLLGATE_CONNECTIONS_MAX", values::count);
    let header_bytes_max = reader.required("TOLLGATE_HEADER_BYTES_MAX", values::bytes);
    let body_bytes_max = reader.required("TOLLGATE_BODY_BYTES_MAX", values::bytes);
    let header_read_timeout = reader.required("TOLLGATE_HEADER_READ_TIMEOUT", values::span);
    let body_read_timeout = reader.required("TOLLGATE_BODY_READ_TIMEOUT", values::span);
    let idle_within = reader.required("TOLLGATE_IDLE_TIMEOUT", values::span);
    let write_within = reader.required("TOLLGATE_WRITE_TIMEOUT", values::span);
    let drain_within = reader.required("TOLLGATE_DRAIN_TIMEOUT", values::span);
    let livemode = reader.optional("TOLLGATE_LIVEMODE", values::switch);
    let admin_listen = reader.required("TOLLGATE_ADMIN_LISTEN", values::address);
    let collector = reader.optional("TOLLGATE_TRACES_ENDPOINT", http::Collector::new);
    let has_tokens =
        ["TOLLGATE_ADMIN_TOKEN", "TOLLGATE_ADMIN_TOKENS_FILE"].iter().any(|name| reader.is_set(name));
    let admin_token = reader.optional("TOLLGATE_ADMIN_TOKEN", Token::new);
    let admin_token_file = reader.tokens("TOLLGATE_ADMIN_TOKENS_FILE");
    if let Some(admin) = admin_listen.filter(|admin| !admin.ip().is_loopback() && !has_tokens) {
        reader.note(Problem::Conflict(format!(
            "TOLLGATE_ADMIN_LISTEN={admin}: an admin port that others can reach needs TOLLGATE_ADMIN_TOKEN, a long random text, or TOLLGATE_ADMIN_TOKENS_FILE; expected a loopback address without it, for example `127.0.0.1:9464`"
        )));
    }
    if let Some(both) = listen.filter(|listen| listen.port() != 0 && Some(*listen) == admin_listen) {
        reader.note(Problem::Conflict(format!(
            "TOLLGATE_ADMIN_LISTEN={both}: the webhook listens there already (TOLLGATE_LISTEN); choose another port"
        )));
    }
    Some(http::Settings {
        listen: listen?,
        admin_listen: admin_listen?,
        admin_token,
        admin_token_file,
        collector,
        answer_within: answer_within?,
        body_bytes_max: body_bytes_max?,
        livemode,
        bounds: Bounds {
            connections_max: connections_max?,
            header_bytes_max: header_bytes_max?,
            head_within: header_read_timeout?,
            body_within: body_read_timeout?,
            idle_within: idle_within?,
            write_within: write_within?,
            drain_within: drain_within?,
        },
    })
}

fn actors(reader: &mut Reader) -> Option<actors::Settings> {
    let has_key = reader.is_set("STRIPE_API_KEY");
    let answering = reader.required("TOLLGATE_ANSWER_BY", values::answering);
    if answering.is_some_and(|answering| answering.uses_api() && !has_key) {
        reader.note(Problem::Conflict(
            "TOLLGATE_ANSWER_BY: answers over the API need STRIPE_API_KEY; set it, or answer `direct`"
                .to_owned(),
        ));
    }
    let stand_in = reader.required("TOLLGATE_STAND_IN", values::stand_in);
    let in_flight_max = reader.required("TOLLGATE_IN_FLIGHT_MAX", values::count);
    let card_queue_max = reader.required("TOLLGATE_CARD_QUEUE_MAX", values::count);
    let card_idle_after = reader.required("TOLLGATE_CARD_IDLE_AFTER", values::span);
    let cards_resident_max = reader.required("TOLLGATE_CARDS_RESIDENT_MAX", values::count);
    let loads_max = reader.required("TOLLGATE_LOADS_MAX", values::count);
    let unconfirmed_after = reader.required("TOLLGATE_UNCONFIRMED_AFTER", values::span);
    let unconfirmed_max = reader.required("TOLLGATE_UNCONFIRMED_MAX", values::count);
    Some(actors::Settings {
        in_flight_max: in_flight_max?,
        is_journal_shared: false,
        card_queue_max: card_queue_max?,
        card_idle_after: card_idle_after?,
        cards_resident_max: cards_resident_max?,
        snapshot_bytes_max: actors::SNAPSHOT_BYTES_MAX,
        loads_max: loads_max?,
        stand_in: stand_in?,
        answering: answering?,
        unconfirmed_after: unconfirmed_after?,
        unconfirmed_max: unconfirmed_max?,
    })
}

fn journal(reader: &mut Reader) -> Option<journal::Settings> {
    let location = reader.required("TOLLGATE_JOURNAL", values::journal);
    let batch_max = reader.required("TOLLGATE_JOURNAL_BATCH_MAX", values::count);
    let loss = reader.required("TOLLGATE_JOURNAL_LOSS", values::loss);
    let copies = reader
        .required("TOLLGATE_JOURNAL_COPIES", values::count)
        .map(|copies| u32::try_from(copies).unwrap_or(u32::MAX));
    let restore_bytes_max = reader.required("TOLLGATE_JOURNAL_RESTORE_BYTES_MAX", values::bytes);
    let state_dir = reader.required("TOLLGATE_STATE_DIR", values::directory);
    Some(journal::Settings {
        location: location?,
        batch_max: batch_max?,
        accept_journal_loss: false,
        loss: loss?,
        copies: copies?,
        restore_bytes_max: restore_bytes_max?,
        state_dir: Some(state_dir?),
        node: String::new(),
    })
}

fn log(reader: &mut Reader) -> Option<log::Settings> {
    let filter = reader.required("TOLLGATE_LOG", values::log_filter);
    let format = reader.optional("TOLLGATE_LOG_FORMAT", log::Format::new);
    Some(log::Settings { filter: filter?, format: format.unwrap_or_else(|| log::Settings::default().format) })
}

fn cluster(reader: &mut Reader) -> Option<cluster::Settings> {
    let is_named = reader.is_set("TOLLGATE_NODE_ID");
    let node_id = reader.required("TOLLGATE_NODE_ID", values::node_id);
    let listen = reader.optional("TOLLGATE_PEER_LISTEN", values::address);
    let address = reader.optional("TOLLGATE_PEER_ADDRESS", values::peer_address);
    let forward_within = reader.required("TOLLGATE_FORWARD_WITHIN", values::span);
    match listen {
        Some(listen) => {
            if !is_named {
                reader.note(Problem::Conflict(
                    "TOLLGATE_PEER_LISTEN: a node of a cluster needs a TOLLGATE_NODE_ID of its own, such as its host's name"
                        .to_owned(),
                ));
            }
            if listen.ip().is_unspecified() && address.is_none() && !reader.is_set("TOLLGATE_PEER_ADDRESS") {
                reader.note(Problem::Conflict(format!(
                    "TOLLGATE_PEER_LISTEN={listen}: other nodes cannot reach a node there; set TOLLGATE_PEER_ADDRESS to its own address"
                )));
            }
        }
        None if address.is_some() && !reader.is_set("TOLLGATE_PEER_LISTEN") => {
            reader.note(Problem::Conflict(
                "TOLLGATE_PEER_ADDRESS: it has no effect without TOLLGATE_PEER_LISTEN; set both or neither"
                    .to_owned(),
            ));
        }
        None => {}
    }
    let identity = peer_identity(reader);
    let peers = listen.map(|listen| cluster::Peers { listen, address, identity });
    Some(cluster::Settings { node_id: node_id?, peers, forward_within: forward_within? })
}

/// A key that the operator's own authority has signed: all three files, or none.
fn peer_identity(reader: &mut Reader) -> Option<cluster::Identity> {
    const NAMES: [&str; 3] = ["TOLLGATE_PEER_CERT", "TOLLGATE_PEER_KEY", "TOLLGATE_PEER_CA"];
    let chain = reader.file("TOLLGATE_PEER_CERT", cluster::chain_from_pem);
    let key = reader.file("TOLLGATE_PEER_KEY", cluster::key_from_pem);
    let roots = reader.file("TOLLGATE_PEER_CA", cluster::roots_from_pem);
    let missing: Vec<&str> = NAMES.into_iter().filter(|name| !reader.is_set(name)).collect();
    if missing.len() < NAMES.len() && !missing.is_empty() {
        reader.note(Problem::Conflict(format!(
            "{}: nodes that an authority of your own signs need all of {}; set the rest, or none",
            missing.join(", "),
            NAMES.join(", ")
        )));
    }
    match cluster::Identity::certified(chain?, &key?, roots?) {
        Ok(identity) => Some(identity),
        Err(unusable) => {
            reader.note(Problem::Conflict(unusable.to_string()));
            None
        }
    }
}

/// Nodes find each other, and agree, in the journal's database.
fn refuse_cluster_without_database(reader: &mut Reader, journal: &Location) {
    if reader.is_set("TOLLGATE_PEER_LISTEN") && !journal.is_shared() {
        reader.note(Problem::Conflict(format!(
            "TOLLGATE_PEER_LISTEN: nodes of a cluster share a PostgreSQL journal, and {journal} is of one node alone; set TOLLGATE_JOURNAL=postgres://…, or unset this"
        )));
    }
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
    let file = reader.optional("TOLLGATE_POLICY", |text| Some(text.to_owned()));
    if let Some(path) = &file {
        reader.refuse_unreadable("TOLLGATE_POLICY", path);
    }
    let names = AMOUNT_LIMITS.map(|(name, _)| name).into_iter().chain(["TOLLGATE_CARD_VELOCITY"]);
    let given: Vec<&str> = names.filter(|name| reader.is_set(name)).collect();
    let mut limits = Vec::new();
    for (name, interval) in AMOUNT_LIMITS {
        let default =
            (file.is_none() && given.is_empty() && interval == Interval::Daily).then_some(DAILY_DEFAULT);
        if let Some(max) = reader.defaulted(name, default, values::amount) {
            limits.push(format!("{{amount: {max}, interval: {interval}}}"));
        }
    }
    for (max, interval) in reader.optional("TOLLGATE_CARD_VELOCITY", values::velocity).unwrap_or_default() {
        limits.push(format!("{{count: {max}, interval: {interval}}}"));
    }
    match file {
        Some(_) if !given.is_empty() => {
            reader.note(Problem::Conflict(format!(
                "TOLLGATE_POLICY: a policy file holds all limits; move {} into its `default.spending_limits` and unset it",
                given.join(", ")
            )));
            None
        }
        Some(path) => Some(PolicySource::File(path.into())),
        None => {
            let policy = environment_policy(reader, &limits)?;
            Some(if given.is_empty() {
                PolicySource::Journal(policy)
            } else {
                PolicySource::Environment(policy)
            })
        }
    }
}

/// The policy file that is tried beside the policy.
fn shadow_policy(reader: &mut Reader) -> Option<PathBuf> {
    let file = reader.optional("TOLLGATE_SHADOW_POLICY", |text| Some(text.to_owned()))?;
    reader.refuse_unreadable("TOLLGATE_SHADOW_POLICY", &file);
    Some(file.into())
}

/// The policy that the environment's limits stand for, by way of the file that would say the same.
fn environment_policy(reader: &mut Reader, limits: &[String]) -> Option<Arc<Policy>> {
    if limits.is_empty() {
        // None of those that were given can be read; that is noted already.
        return None;
    }
    let mut text =
        "# The limits that environment variables give.\nversion: 1\ndefault:\n  spending_limits:\n"
            .to_owned();
    for limit in limits {
        text.extend(["    - ", limit, "\n"]);
    }
    match policy_file::read(&text) {
        Ok(parsed) => Some(Arc::new(parsed.policy)),
        Err(mistakes) => {
            for mistake in mistakes {
                reader.note(Problem::Conflict(format!("TOLLGATE_CARD_LIMIT_*: {mistake}")));
            }
            None
        }
    }
}

#[cfg(test)]
mod tests;
