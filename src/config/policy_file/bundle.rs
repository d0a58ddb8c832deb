//! A policy file with the files of its lists, as one text: what a node records, and what gives the same policy again.

use std::{
    fs,
    io::{self, Read as _},
    path::Path,
};

use super::{
    FILE_BYTES_MAX,
    mistake::{Findings, Severity},
    node::{self, Key, Node, Value},
};

/// The largest file of a list, and all of them together, in bytes.
const LIST_BYTES_MAX: usize = 4 << 20;

/// What a file of a list begins with, behind the policy: its name and its length follow.
const MARK: &str = "# tollgate: the list file ";

/// A file of a list.
pub(super) struct ListFile<'a> {
    name: &'a str,
    content: &'a str,
}

/// Reads a policy file, and the files of its lists, which are named relative to it.
///
/// # Errors
/// One of them cannot be read, or is no text, or is too large.
pub fn load(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = bounded(path, FILE_BYTES_MAX)?;
    let Some(root) = str::from_utf8(&bytes).ok().and_then(|text| node::parse(text).ok()) else {
        return Ok(bytes);
    };
    let mut total = 0_usize;
    for (_, name, _) in files_of(&root) {
        let wrong = |kind, what: &dyn std::fmt::Display| {
            io::Error::new(kind, format!("its list file {name}: {what}"))
        };
        let place = path.parent().unwrap_or_else(|| Path::new("")).join(name);
        let content = bounded(&place, LIST_BYTES_MAX).map_err(|error| wrong(error.kind(), &error))?;
        total = total.saturating_add(content.len());
        if total > LIST_BYTES_MAX {
            let what = format!("all list files together have more than {LIST_BYTES_MAX} bytes");
            return Err(wrong(io::ErrorKind::FileTooLarge, &what));
        }
        if str::from_utf8(&content).is_err() {
            return Err(wrong(io::ErrorKind::InvalidData, &"it is no UTF-8"));
        }
        if !bytes.ends_with(b"\n") {
            bytes.push(b'\n');
        }
        bytes.extend(format!("{MARK}{} {name}\n", content.len()).into_bytes());
        bytes.extend(content);
    }
    Ok(bytes)
}

/// As much of a file as is needed to say that it is too large.
fn bounded(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let bytes_max = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    fs::File::open(path)?.take(bytes_max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The policy, and the files behind it.
pub(super) fn split(text: &str) -> (&str, Vec<ListFile<'_>>) {
    let first = if text.starts_with(MARK) {
        Some(0)
    } else {
        text.find(&format!("\n{MARK}")).map(|at| at.saturating_add(1))
    };
    let Some(first) = first else { return (text, Vec::new()) };
    let (policy, mut rest) = text.split_at_checked(first).unwrap_or((text, ""));
    let mut files = Vec::new();
    while let Some((content, name, behind)) = next(rest) {
        files.push(ListFile { name, content });
        rest = behind.strip_prefix('\n').unwrap_or(behind);
    }
    (policy, files)
}

fn next(rest: &str) -> Option<(&str, &str, &str)> {
    let (head, rest) = rest.strip_prefix(MARK)?.split_once('\n')?;
    let (length, name) = head.split_once(' ')?;
    let (content, behind) = rest.split_at_checked(length.parse().ok()?)?;
    Some((content, name, behind))
}

/// The lists of a policy that are in files: their places among the entries, and the names.
fn files_of(root: &Node) -> impl Iterator<Item = (usize, &str, &Node)> {
    let lists = entries(root).iter().find(|(key, _)| key.name == "lists").map(|(_, lists)| entries(lists));
    lists.unwrap_or_default().iter().enumerate().filter_map(|(place, (_, list))| {
        let file = entries(list).iter().find(|(key, _)| key.name == "file");
        match file {
            Some((_, node)) => match &node.value {
                Value::Text(name) if !name.is_empty() => Some((place, name.as_str(), node)),
                Value::Null
                | Value::Switch(_)
                | Value::Number(_)
                | Value::OtherNumber
                | Value::Text(_)
                | Value::List(_)
                | Value::Map(_) => None,
            },
            None => None,
        }
    })
}

fn entries(node: &Node) -> &[(Key, Node)] {
    match &node.value {
        Value::Map(entries) => entries,
        Value::Null
        | Value::Switch(_)
        | Value::Number(_)
        | Value::OtherNumber
        | Value::Text(_)
        | Value::List(_) => &[],
    }
}

/// Puts the entries of the files where the lists name them.
pub(super) fn inline(root: &mut Node, files: &[ListFile<'_>], findings: &mut Findings) {
    let found: Vec<(usize, Option<Node>)> = files_of(root)
        .map(|(place, name, node)| {
            let file = files.iter().find(|file| file.name == name);
            if file.is_none() {
                let found = format!("the list file `{name}` is not read here");
                findings.note(
                    Severity::Error,
                    node.place,
                    "lists",
                    found,
                    "name a policy file, not its content",
                );
            }
            (place, Some(file.map_or_else(|| list(node, ""), |file| list(node, file.content))))
        })
        .collect();
    let Value::Map(top) = &mut root.value else { return };
    let Some((_, Node { value: Value::Map(lists), .. })) =
        top.iter_mut().find(|(key, _)| key.name == "lists")
    else {
        return;
    };
    for (place, list) in found {
        if let (Some((_, node)), Some(list)) = (lists.get_mut(place), list) {
            *node = list;
        }
    }
}

/// One entry a line; empty lines and those that begin with `#` are none.
fn list(file: &Node, content: &str) -> Node {
    let lines = content.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let entry = |line: &str| Node {
        place: file.place,
        raw: format!("{line:?}"),
        value: Value::Text(line.to_owned()),
    };
    Node { place: file.place, raw: String::new(), value: Value::List(lines.map(entry).collect()) }
}
