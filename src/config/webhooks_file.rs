//! The file of the endpoints of outgoing webhooks: YAML read into endpoints, with every mistake at once. What is sent to them
//! is not known here.

use std::{
    fs,
    io::{self, Read as _},
    path::Path,
    sync::Arc,
};

use sha2::{Digest as _, Sha256};
use tokio::sync::{Notify, watch};
use tracing::warn;

use super::{
    file_watch::FileWatch,
    policy_watch::{LoadError, warn_of},
    yaml::{
        Mistake, Place, Severity,
        fields::{At, Fields, items, refuse_name, text},
        mistake::Findings,
        node::{self, Node, Value},
    },
};
use crate::{
    domain::Reason,
    outgoing::{Endpoint, Endpoints, Filter, Format, Kind, Url},
    policy::nearest::nearest,
    stripe::{Secret, api::Roots},
};

/// The largest file, in bytes; and the largest that it names.
const FILE_BYTES_MAX: usize = 256 * 1024;

/// The shortest secret: a short one is soon guessed.
const SECRET_BYTES_MIN: usize = 16;

/// Reads the file for the first time. The receiver has its endpoints, and every later ones; the future looks at the file every
/// two seconds and whenever `poke` is notified, for as long as it runs.
///
/// # Errors
/// Without a good file there is nothing to start with.
pub async fn watch_endpoints(
    path: &Path,
    poke: Arc<Notify>,
) -> Result<(watch::Receiver<Arc<Endpoints>>, impl Future<Output = ()> + use<>), LoadError> {
    let name = "webhooks";
    let mut file = FileWatch::new(path, load);
    let content = file.read().await;
    let bytes = content.map_err(|source| LoadError::Unreadable { name, path: path.to_owned(), source })?;
    let (endpoints, warnings) =
        read(&bytes).map_err(|mistakes| LoadError::Mistaken { name, path: path.to_owned(), mistakes })?;
    warn_of(path, &warnings);
    let (publish, receiver) = watch::channel(Arc::new(endpoints));
    let reread = async move {
        loop {
            let found = file.changed(&poke).await;
            let path = file.path();
            match found.map(|bytes| read(&bytes)) {
                Ok(Ok((endpoints, warnings))) => {
                    warn_of(path, &warnings);
                    publish.send_replace(Arc::new(endpoints));
                }
                Ok(Err(mistakes)) => {
                    warn_of(path, &mistakes);
                    warn!(path = %path.display(), "the webhooks file has mistakes; the endpoints stay as they are");
                }
                Err(error) => {
                    warn!(path = %path.display(), %error, "the webhooks file cannot be read; the endpoints stay as they are");
                }
            }
        }
    };
    Ok((receiver, reread))
}

/// Reads the file. Behind its content stands a hash of each file that it names, so that a changed secret is noticed.
///
/// # Errors
/// It cannot be read.
pub fn load(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = bounded(path)?;
    let named = str::from_utf8(&bytes).ok().and_then(|text| node::parse(text).ok());
    for file in named.iter().flat_map(files_of) {
        let content = bounded(Path::new(file)).unwrap_or_default();
        bytes.extend(format!("\n# {}", hex::encode(Sha256::digest(content))).into_bytes());
    }
    Ok(bytes)
}

/// As much of a file as is needed to say that it is too large.
fn bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let bytes_max = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    fs::File::open(path)?.take(bytes_max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The files that endpoints name.
fn files_of(root: &Node) -> Vec<&str> {
    let endpoints = entries(root).iter().filter(|(key, _)| key.name == "endpoints");
    let keys = endpoints.flat_map(|(_, all)| entries(all)).flat_map(|(_, endpoint)| entries(endpoint));
    let files = keys.filter(|(key, _)| matches!(&*key.name, "secret_file" | "ca_file"));
    files
        .filter_map(|(_, node)| if let Value::Text(path) = &node.value { Some(path.as_str()) } else { None })
        .collect()
}

fn entries(node: &Node) -> &[(node::Key, Node)] {
    if let Value::Map(entries) = &node.value { entries } else { &[] }
}

/// Reads the content of a file.
///
/// # Errors
/// All mistakes, in the order of the file, at least one of them an error.
pub fn read(bytes: &[u8]) -> Result<(Endpoints, Vec<Mistake>), Vec<Mistake>> {
    let mut findings = Findings::default();
    if bytes.len() > FILE_BYTES_MAX {
        let found = format!("the file has more than {FILE_BYTES_MAX} bytes");
        findings.note(
            Severity::Error,
            Place::START,
            "",
            found,
            "it has an entry for each endpoint, and nothing else",
        );
        return Err(findings.into_mistakes());
    }
    let Ok(content) = str::from_utf8(bytes) else {
        findings.note(Severity::Error, Place::START, "", "the file is no UTF-8", "save the file as UTF-8");
        return Err(findings.into_mistakes());
    };
    let root = node::parse(content).map_err(|mistake| vec![*mistake])?;
    let endpoints = file(At { node: &root, path: "" }, &mut findings);
    let mistakes = findings.into_mistakes();
    match endpoints {
        Some(endpoints) if mistakes.iter().all(|mistake| mistake.severity == Severity::Warning) => {
            Ok((Endpoints(endpoints), mistakes))
        }
        Some(_) | None => Err(mistakes),
    }
}

fn file(at: At<'_>, findings: &mut Findings) -> Option<Vec<Arc<Endpoint>>> {
    let mut fields = Fields::open(at, findings)?;
    let version = fields.read("version", findings, |at, findings| {
        if !matches!(at.node.value, Value::Number(1)) {
            let found = format!("unknown version {}", at.node.found());
            at.refuse(findings, found, "this program reads `version: 1`");
        }
        Some(())
    });
    if version.is_none() && !fields.has("version") {
        at.refuse(findings, "`version` is missing", "write `version: 1`");
    }
    let found = fields.read_mapping("endpoints", findings, endpoints);
    if found.is_none() && !fields.has("endpoints") {
        at.refuse(findings, "`endpoints` is missing", "write `endpoints:`, and each endpoint under its name");
    }
    fields.finish(findings);
    found
}

fn endpoints(at: At<'_>, findings: &mut Findings) -> Option<Vec<Arc<Endpoint>>> {
    let fields = Fields::open(at, findings)?;
    let mut endpoints = Vec::new();
    for (place, (key, path, node)) in fields.each().enumerate() {
        if place == Endpoints::MAX {
            let advice = format!("{} are the most; put a queue behind one of them", Endpoints::MAX);
            findings.note(Severity::Error, key.place, &path, "there are too many endpoints", advice);
            break;
        }
        if !is_name(&key.name) {
            let advice = "use 1 to 40 lower-case letters, digits, `-` and `_`: the journal keeps it";
            findings.note(
                Severity::Error,
                key.place,
                &path,
                "this cannot be the name of an endpoint",
                advice,
            );
        }
        endpoints.extend(endpoint(&key.name, At { node, path: &path }, findings).map(Arc::new));
    }
    Some(endpoints)
}

fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    (1..=40).contains(&name.len()) && name.bytes().all(is_plain)
}

fn endpoint(name: &str, at: At<'_>, findings: &mut Findings) -> Option<Endpoint> {
    let mut fields = Fields::open(at, findings)?;
    let has = |fields: &Fields<'_>, key: &str| fields.has(key);
    let url = fields.read("url", findings, url);
    if !has(&fields, "url") {
        at.refuse(
            findings,
            "`url` is missing",
            "write where events are sent: `url: https://example.com/hooks`",
        );
    }
    let given = fields.read("secret", findings, secret);
    let from_file = fields.read("secret_file", findings, secret_file);
    match (has(&fields, "secret"), has(&fields, "secret_file")) {
        (true, true) => {
            at.refuse(findings, "there are both `secret` and `secret_file`", "remove one of them");
        }
        (false, false) => at.refuse(
            findings,
            "`secret` is missing",
            "write `secret:` or `secret_file:`, so that the receiver knows that events are from here",
        ),
        (true, false) | (false, true) => {}
    }
    let format = fields.read("format", findings, |at, findings| {
        word(at, findings, "format", &Format::ALL.map(Format::as_str), Format::new)
    });
    let events = fields.read("events", findings, |at, findings| {
        list(at, findings, |at, findings| {
            word(at, findings, "event", &Kind::ALL.map(Kind::as_str), Kind::new)
        })
    });
    let filter = Filter {
        budgets: fields.read("budgets", findings, names).unwrap_or_default(),
        groups: fields.read("groups", findings, names).unwrap_or_default(),
        reasons: fields
            .read("reasons", findings, |at, findings| {
                list(at, findings, |at, findings| {
                    word(at, findings, "reason", &Reason::ALL.map(Reason::as_str), Reason::new)
                })
            })
            .unwrap_or_default(),
        min_amount: fields.read("min_amount", findings, amount),
    };
    let roots = fields.read("ca_file", findings, ca_file);
    fields.finish(findings);
    Some(Endpoint {
        name: name.into(),
        url: url?,
        secret: given.or(from_file)?,
        format: format.unwrap_or_default(),
        events: events.unwrap_or_default(),
        filter,
        roots,
    })
}

fn url(at: At<'_>, findings: &mut Findings) -> Option<Url> {
    let url = Url::new(text(at, findings, "the URL of the endpoint")?);
    match &url {
        // The text may be a secret.
        None => at.refuse(findings, "this is no URL of an endpoint", "write `https://`, a host, and a path"),
        Some(url) if url.is_exposed() => findings.note(
            Severity::Warning,
            at.node.place,
            at.path,
            "events go to another machine without encryption",
            "use `https://`; `ca_file` names a certificate authority of your own",
        ),
        Some(_) => {}
    }
    url
}

fn secret(at: At<'_>, findings: &mut Findings) -> Option<Secret> {
    let text = text(at, findings, "the secret that events are signed with")?;
    usable_secret(text).or_else(|| {
        at.refuse(findings, "the secret is too short", SECRET_ADVICE);
        None
    })
}

const SECRET_ADVICE: &str = "use 16 or more visible characters at random: `openssl rand -hex 32`";

fn usable_secret(text: &str) -> Option<Secret> {
    let text = text.trim();
    let is_usable = text.len() >= SECRET_BYTES_MIN && text.bytes().all(|byte| byte.is_ascii_graphic());
    Secret::new(text).filter(|_| is_usable)
}

fn secret_file(at: At<'_>, findings: &mut Findings) -> Option<Secret> {
    let content = named_file(at, findings)?;
    usable_secret(&content).or_else(|| {
        at.refuse(findings, "the secret in this file is too short", SECRET_ADVICE);
        None
    })
}

fn ca_file(at: At<'_>, findings: &mut Findings) -> Option<Roots> {
    let content = named_file(at, findings)?;
    Roots::new(&content).or_else(|| {
        at.refuse(
            findings,
            "this file has no certificates in PEM",
            "name a file that begins with `-----BEGIN CERTIFICATE-----`",
        );
        None
    })
}

fn named_file(at: At<'_>, findings: &mut Findings) -> Option<String> {
    let path = Path::new(text(at, findings, "the path of a file")?);
    if !path.is_absolute() {
        at.refuse(findings, "this path is relative", "write it from the root on: `/run/secrets/endpoint`");
        return None;
    }
    match bounded(path).map(String::from_utf8) {
        Ok(Ok(content)) => Some(content),
        Ok(Err(_)) => {
            at.refuse(findings, "this file is no text", "save it as UTF-8");
            None
        }
        Err(error) => {
            at.refuse(
                findings,
                format!("this file cannot be read: {error}"),
                "make it readable for the node",
            );
            None
        }
    }
}

fn amount(at: At<'_>, findings: &mut Findings) -> Option<i64> {
    if let Value::Number(number) = at.node.value
        && number > 0
    {
        return Some(number);
    }
    let found = format!("expected a whole number above 0, found {}", at.node.found());
    at.refuse(findings, found, "write minor units of the request's currency: 500.00 USD is `50000`");
    None
}

fn names(at: At<'_>, findings: &mut Findings) -> Option<Vec<Arc<str>>> {
    list(at, findings, |at, findings| text(at, findings, "a name of the policy").map(Into::into))
}

/// A list with something in it: an empty one would let nothing through.
fn list<T>(
    at: At<'_>,
    findings: &mut Findings,
    item: fn(At<'_>, &mut Findings) -> Option<T>,
) -> Option<Vec<T>> {
    let found: Vec<T> = items(at, findings, item)?.into_iter().flatten().map(|item| item.value).collect();
    if matches!(&at.node.value, Value::List(items) if items.is_empty()) {
        at.refuse(findings, "the list is empty", "remove the key to let everything through");
    }
    Some(found)
}

fn word<T>(
    at: At<'_>,
    findings: &mut Findings,
    kind: &str,
    words: &[&'static str],
    read: fn(&str) -> Option<T>,
) -> Option<T> {
    let text = text(at, findings, &format!("one of {}", words.join(", ")))?;
    let known = read(text);
    if known.is_none() {
        let nearest = || nearest(text, words.iter().copied());
        refuse_name(at, findings, kind, nearest, &format!("use one of {}", words.join(", ")));
    }
    known
}

#[cfg(test)]
mod tests;
