//! Any header, any body: no panic, no signature taken that was not made, and the grammar as a plain reader has it.

use std::{sync::LazyLock, time::Duration};

use tollgate::{
    domain::Timestamp,
    stripe::{HEADER_BYTES_MAX, Secret, SecretSlot, SignatureError, Verifier, sign},
};

const NOW: i64 = 1_790_000_000;
const BODY: &[u8] = b"{}";

static SECRETS: LazyLock<Vec<Secret>> =
    LazyLock::new(|| ["whsec_a", "whsec_b"].into_iter().filter_map(Secret::new).collect());
static VERIFIER: LazyLock<Verifier> = LazyLock::new(|| Verifier::new(&SECRETS, Duration::from_mins(5)));

pub(crate) fn check(header: &[u8]) {
    let now = Timestamp::from_seconds(NOW);
    let verdict = VERIFIER.verify(Some(header), BODY, now);
    assert!(verdict.is_err(), "a signature out of nothing");
    assert_eq!(verdict, Err(plain(header)));

    // The same elements around a good signature: the good one counts, if the header can be read at all.
    let good = sign(&SECRETS[1], NOW, BODY);
    let (time, signature) = good.split_once(',').unwrap_or_default();
    for joined in [
        [header, b",", good.as_bytes()].concat(),
        [good.as_bytes(), b",", header].concat(),
        [time.as_bytes(), b",", header, b",", signature.as_bytes()].concat(),
    ] {
        let expected = match plain(&joined) {
            SignatureError::Mismatch => Ok(SecretSlot(1)),
            refused => Err(refused),
        };
        assert_eq!(VERIFIER.verify(Some(&joined), BODY, now), expected);
    }
}

/// The grammar, written down a second time.
fn plain(header: &[u8]) -> SignatureError {
    if header.len() > HEADER_BYTES_MAX {
        return SignatureError::HeaderTooLarge;
    }
    // Letter for byte, so that any bytes are text.
    let text: String = header.iter().map(|byte| char::from(*byte)).collect();
    let elements = text
        .split(',')
        .map(|element| element.trim_matches([' ', '\t']))
        .filter(|element| !element.is_empty());
    let Some(pairs) = elements.map(|element| element.split_once('=')).collect::<Option<Vec<_>>>() else {
        return SignatureError::Malformed;
    };
    let times: Vec<_> = pairs.iter().filter(|(key, _)| *key == "t").map(|(_, value)| *value).collect();
    let [time] = times[..] else { return SignatureError::Malformed };
    let is_plain =
        (1..=12).contains(&time.len()) && time.chars().all(|c| c.is_ascii_digit()) && !time.starts_with('0');
    if !is_plain {
        return SignatureError::Malformed;
    }
    let is_candidate =
        |value: &str| value.len() == 64 && value.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'));
    // Whatever its time is: if no secret fits, the time says nothing.
    if pairs.iter().any(|(key, value)| *key == "v1" && is_candidate(value)) {
        SignatureError::Mismatch
    } else {
        SignatureError::NoCandidate
    }
}
