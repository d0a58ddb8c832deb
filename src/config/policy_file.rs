//! The policy file: YAML read into a policy, with every mistake told at once. What a policy does is up to the domain.

mod shape;
mod bundle;
mod budgets;
mod rules;
mod tests_key;
mod lists;
mod scalars;
mod check;
mod conflicts;
mod outline;
mod schema;
mod reference;

use super::yaml::{
    fields::{self, At},
    mistake::{self, Findings},
    node,
};
use sha2::{Digest as _, Sha256};

use crate::{
    domain::{Currency, Policy, PolicyVersion},
    policy::testing::PolicyTest,
};

pub use super::yaml::{Mistake, Place, Severity};
pub use budgets::tree;
pub use bundle::load;
pub use outline::outline;
pub use reference::reference;
pub use schema::json_schema;

/// The largest policy file, in bytes.
pub const FILE_BYTES_MAX: usize = 1 << 20;

/// A policy, and what is odd about it.
#[derive(Clone, PartialEq, Debug)]
pub struct Parsed {
    /// The policy. Its version is the beginning of the file's SHA-256.
    pub policy: Policy,
    /// Limits that never do anything, and warnings; no errors.
    pub mistakes: Vec<Mistake>,
    /// The currency of amounts that name none.
    pub currency: Option<Currency>,
    /// Its tests.
    pub tests: Vec<PolicyTest>,
}

/// Reads a policy file, with the files of its lists behind it as [`load`] puts them there.
///
/// # Errors
/// All mistakes, in the order of the file, at least one of them an error. Where the YAML itself is broken, only that.
pub fn read(text: &str) -> Result<Parsed, Vec<Mistake>> {
    let mut findings = Findings::default();
    let (written, files) = bundle::split(text);
    if written.len() > FILE_BYTES_MAX {
        let found = format!("the file has {} bytes", written.len());
        let advice = format!(
            "{FILE_BYTES_MAX} are the most; put cards that are alike into groups, and long lists into files"
        );
        findings.note(Severity::Error, Place::START, "", found, advice);
        return Err(findings.into_mistakes());
    }
    let mut root = node::parse(written).map_err(|mistake| vec![*mistake])?;
    bundle::inline(&mut root, &files, &mut findings);
    let parsed = shape::policy_file(At { node: &root, path: "" }, &mut findings).map(|mut file| {
        let currency = file.currency.as_ref().map(|currency| currency.value);
        let written = file.tests.take().unwrap_or_default();
        let tests = findings.ineffective(|findings| tests_key::compiled(written, currency, findings));
        let policy = check::policy(file, version_of(text), &mut findings).with_text(text);
        Parsed { policy, mistakes: Vec::new(), currency, tests }
    });
    let mistakes = findings.into_mistakes();
    match parsed {
        Some(parsed) if mistakes.iter().all(|mistake| mistake.severity != Severity::Error) => {
            Ok(Parsed { mistakes, ..parsed })
        }
        Some(_) | None => Err(mistakes),
    }
}

/// Reads a file of tests that stands beside a policy whose amounts are in `currency`.
///
/// # Errors
/// All mistakes, in the order of the file.
pub fn read_tests(text: &str, currency: Option<Currency>) -> Result<Vec<PolicyTest>, Vec<Mistake>> {
    let mut findings = Findings::default();
    let root = node::parse(text).map_err(|mistake| vec![*mistake])?;
    let written = shape::tests_file(At { node: &root, path: "" }, &mut findings).unwrap_or_default();
    let tests = tests_key::compiled(written, currency, &mut findings);
    let mistakes = findings.into_mistakes();
    if mistakes.is_empty() { Ok(tests) } else { Err(mistakes) }
}

/// Reads the bytes of a policy file, which may be no text at all.
///
/// # Errors
/// As [`read`]; and the first byte that is no UTF-8.
pub fn read_bytes(bytes: &[u8]) -> Result<Parsed, Vec<Mistake>> {
    match str::from_utf8(bytes) {
        Ok(text) => read(text),
        Err(error) => {
            let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let place = end_of(&String::from_utf8_lossy(before));
            let mut findings = Findings::default();
            findings.note(Severity::Error, place, "", "this byte is no UTF-8", "save the file as UTF-8");
            Err(findings.into_mistakes())
        }
    }
}

/// The place behind the last character of a text.
fn end_of(text: &str) -> Place {
    let last_line = text.rsplit('\n').next().unwrap_or_default();
    let line = text.split('\n').count();
    Place { line, column: last_line.chars().count().saturating_add(1), width: 1 }
}

/// The first 12 hexadecimal digits of the content's SHA-256.
fn version_of(text: &str) -> PolicyVersion {
    let digest = hex::encode(Sha256::digest(text));
    PolicyVersion::new(digest.get(..12).unwrap_or(&digest))
}

#[cfg(test)]
mod tests;
