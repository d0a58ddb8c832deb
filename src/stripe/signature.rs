//! Whether a body was sent by someone who knows a signing secret, and lately. What the body says is not looked at.
//! Source: <https://docs.stripe.com/webhooks#verify-manually>; where Stripe's libraries differ, the strict reading.

#[cfg(test)]
mod tests;

use std::{borrow::Cow, fmt, time::Duration};

use hmac::{
    Hmac, KeyInit as _, Mac as _,
    digest::{CtOutput, Output},
};
use sha2::Sha256;

use crate::domain::Timestamp;

/// The header that carries time and signatures, as the `http` crates want it: lower case.
pub const SIGNATURE_HEADER: &str = "stripe-signature";

/// The longest signature header that is read, in bytes.
pub const HEADER_BYTES_MAX: usize = 16 * 1024;

/// Checks signatures against every configured secret. The keyed halves of the hash are computed once.
#[derive(Clone)]
pub struct Verifier {
    keyed: Vec<Hmac<Sha256>>,
    tolerance: Duration,
}

impl Verifier {
    /// Accepts what is signed with any of `secrets` at most `tolerance` ago or ahead, in whole seconds.
    #[must_use]
    pub fn new(secrets: &[Secret], tolerance: Duration) -> Self {
        Self { keyed: secrets.iter().map(Secret::keyed).collect(), tolerance }
    }

    /// Says which secret signed `body`, the raw bytes as they came, with the value of the `Stripe-Signature` header.
    ///
    /// Every `v1` of the header is compared with every secret, each comparison in constant time.
    ///
    /// # Errors
    /// When the header is missing, cannot be read, fits no secret, or fits one and is too old or too far ahead.
    pub fn verify(
        &self,
        header: Option<&[u8]>,
        body: &[u8],
        now: Timestamp,
    ) -> Result<SecretSlot, SignatureError> {
        let header = Header::read(header.ok_or(SignatureError::MissingHeader)?)?;
        let matching = self.keyed.iter().position(|keyed| {
            let expected = signature(keyed.clone(), header.time, body);
            header.candidates().filter(|candidate| *candidate == expected).count() > 0
        });
        let slot = matching.map(SecretSlot).ok_or(SignatureError::Mismatch)?;
        // After the hash, so that a time outside the tolerance is known to be the sender's own.
        if self.tolerates(&header, now) {
            Ok(slot)
        } else {
            let behind_seconds = now.as_seconds().saturating_sub(header.seconds);
            Err(SignatureError::TimestampOutsideTolerance { behind_seconds })
        }
    }

    /// Whether `header` may belong to a valid signature that was made about now. For a body that is not read: without it
    /// nobody can tell more.
    #[must_use]
    pub fn is_plausible(&self, header: Option<&[u8]>, now: Timestamp) -> bool {
        header.is_some_and(|bytes| Header::read(bytes).is_ok_and(|header| self.tolerates(&header, now)))
    }

    /// Whole seconds, as Stripe's libraries compare them.
    fn tolerates(&self, header: &Header<'_>, now: Timestamp) -> bool {
        now.as_seconds().abs_diff(header.seconds) <= self.tolerance.as_secs()
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("secrets", &self.keyed.len())
            .field("tolerance", &self.tolerance)
            .finish()
    }
}

/// The place of a secret in the list that was configured. It may be logged, the secret may not.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SecretSlot(pub usize);

/// Why a body is not believed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, thiserror::Error)]
pub enum SignatureError {
    /// There is no `Stripe-Signature`.
    #[error("expected a `Stripe-Signature` header, found none")]
    MissingHeader,
    /// The header is longer than [`HEADER_BYTES_MAX`].
    #[error("expected a `Stripe-Signature` of at most {HEADER_BYTES_MAX} bytes, found more")]
    HeaderTooLarge,
    /// The header is not a list of `key=value` with exactly one usable `t`.
    #[error("expected a `Stripe-Signature` such as `t=1492774577,v1=…`, found something else")]
    Malformed,
    /// No `v1` that could be a signature. Other schemes do not count: taking them would be a downgrade.
    #[error("expected a `v1` of 64 lower-case hexadecimal digits, found none")]
    NoCandidate,
    /// A configured secret fits, but the time is too far from ours: a wrong clock, or an old request sent again.
    #[error(
        "a configured secret fits the signature, but its time is {} this machine's clock: correct the clock, unless \
         somebody sends an old request again", Distance(*behind_seconds)
    )]
    TimestampOutsideTolerance {
        /// How far the signature's time is behind our clock; negative if it is ahead.
        behind_seconds: i64,
    },
    /// Another secret, or another body.
    #[error("no signature fits the body under any configured secret")]
    Mismatch,
}

impl SignatureError {
    /// Every cause, for metrics.
    pub const ALL: [Self; 6] = [
        Self::MissingHeader,
        Self::HeaderTooLarge,
        Self::Malformed,
        Self::NoCandidate,
        Self::TimestampOutsideTolerance { behind_seconds: 0 },
        Self::Mismatch,
    ];

    /// The label `cause` of the metric.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MissingHeader => "missing_header",
            Self::HeaderTooLarge => "header_too_large",
            Self::Malformed => "malformed",
            Self::NoCandidate => "no_candidate",
            Self::TimestampOutsideTolerance { .. } => "timestamp_outside_tolerance",
            Self::Mismatch => "mismatch",
        }
    }
}

/// `400 s behind`, or `400 s ahead of`.
struct Distance(i64);

impl fmt::Display for Distance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = if self.0 < 0 { "ahead of" } else { "behind" };
        write!(f, "{} s {direction}", self.0.unsigned_abs())
    }
}

/// A signing secret, whole, with its `whsec_`. It is shown nowhere but where it is asked for by [`Secret::reveal`].
#[derive(Clone)]
pub struct Secret {
    text: Box<str>,
    keyed: Hmac<Sha256>,
}

impl Secret {
    /// Takes any text that is not blank: a signature under an empty key can be made by anybody.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.is_empty() {
            return None;
        }
        let keyed = Hmac::new_from_slice(text.as_bytes()).ok()?;
        Some(Self { text: text.into(), keyed })
    }

    /// The secret itself: for a one-run secret that has to be shown to the person who started the run.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// A key for something else, which is not found from the secret's signatures: those are of texts that begin with a time.
    #[must_use]
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        self.keyed().chain_update("tollgate: ").chain_update(purpose).finalize().into_bytes().into()
    }

    /// The keyed hash, ready for a message.
    pub(super) fn keyed(&self) -> Hmac<Sha256> {
        self.keyed.clone()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

/// Several header lines of one name are one header, joined with commas (RFC 9110, section 5.3).
#[must_use]
pub fn join_headers<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Option<Cow<'a, [u8]>> {
    let mut lines = lines.into_iter();
    let mut joined = Cow::Borrowed(lines.next()?);
    for line in lines {
        let bytes = joined.to_mut();
        bytes.push(b',');
        bytes.extend_from_slice(line);
    }
    Some(joined)
}

/// The signature over a body that was sent at `time`, which is signed as the text that it is.
pub(super) fn signature(mut keyed: Hmac<Sha256>, time: &[u8], body: &[u8]) -> CtOutput<Hmac<Sha256>> {
    keyed.update(time);
    keyed.update(b".");
    keyed.update(body);
    keyed.finalize()
}

/// A header that follows the grammar, with at least one candidate.
struct Header<'a> {
    bytes: &'a [u8],
    time: &'a [u8],
    seconds: i64,
}

impl<'a> Header<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, SignatureError> {
        if bytes.len() > HEADER_BYTES_MAX {
            return Err(SignatureError::HeaderTooLarge);
        }
        let mut time = None;
        for element in elements(bytes) {
            let (key, value) = element.ok_or(SignatureError::Malformed)?;
            if key == b"t" && time.replace(value).is_some() {
                return Err(SignatureError::Malformed);
            }
        }
        let time = time.ok_or(SignatureError::Malformed)?;
        let header = Self { bytes, time, seconds: seconds(time).ok_or(SignatureError::Malformed)? };
        if header.candidates().next().is_none() {
            return Err(SignatureError::NoCandidate);
        }
        Ok(header)
    }

    fn candidates(&self) -> impl Iterator<Item = CtOutput<Hmac<Sha256>>> {
        elements(self.bytes)
            .flatten()
            .filter(|(key, _)| *key == b"v1")
            .filter_map(|(_, value)| decoded(value))
    }
}

/// The elements that are not empty, split at their first `=`; `None` for one that has none.
fn elements(header: &[u8]) -> impl Iterator<Item = Option<(&[u8], &[u8])>> {
    header.split(|byte| *byte == b',').map(trimmed).filter(|element| !element.is_empty()).map(|element| {
        let at = element.iter().position(|byte| *byte == b'=')?;
        let (key, value) = element.split_at_checked(at)?;
        Some((key, value.get(1..)?))
    })
}

/// Without the optional white space that HTTP allows around a list's elements.
fn trimmed(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// One to twelve digits without a leading zero: no sign, no fraction, no milliseconds.
fn seconds(text: &[u8]) -> Option<i64> {
    let plain = matches!(text, [b'1'..=b'9', ..]) && text.len() <= 12 && text.iter().all(u8::is_ascii_digit);
    if !plain {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// 64 lower-case hexadecimal digits.
fn decoded(text: &[u8]) -> Option<CtOutput<Hmac<Sha256>>> {
    if text.iter().any(u8::is_ascii_uppercase) {
        return None;
    }
    let mut bytes = Output::<Hmac<Sha256>>::default();
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(CtOutput::new(bytes))
}
