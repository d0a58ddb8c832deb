//! Literal vectors, and every odd header that official libraries disagree about.

use super::*;
use crate::stripe::sign;

const BODY: &[u8] = br#"{"id":"evt_vector","object":"event"}"#;
const AT: i64 = 1_791_496_587;
const GOOD: &str = "62f168c739e46de5dd2a13a63690c3cac6c7df363866987235316438907f4b66";
const SECRET: &str = "whsec_test_vector_secret";

fn secret(text: &str) -> Secret {
    Secret::new(text).unwrap()
}

fn verifier(secrets: &[&str]) -> Verifier {
    let secrets: Vec<_> = secrets.iter().map(|text| secret(text)).collect();
    Verifier::new(&secrets, Duration::from_mins(5))
}

fn verify(header: &str, now: i64) -> Result<SecretSlot, SignatureError> {
    verifier(&[SECRET]).verify(Some(header.as_bytes()), BODY, Timestamp::from_seconds(now))
}

/// A header whose `t` is well signed as the text that it is.
fn signed(time: &str) -> String {
    let signature = signature(secret(SECRET).keyed(), time.as_bytes(), BODY).into_bytes();
    format!("t={time},v1={}", hex::encode(signature))
}

#[test]
fn the_literal_vector_is_accepted_and_any_other_byte_is_not() {
    let header = format!("t={AT},v1={GOOD}");
    assert_eq!(verify(&header, AT), Ok(SecretSlot(0)));
    let check = |secret: &str, body: &[u8], expected| {
        let now = Timestamp::from_seconds(AT);
        assert_eq!(verifier(&[secret]).verify(Some(header.as_bytes()), body, now), expected);
    };
    check(SECRET, b"{\"id\":\"evt_vector\",\"object\":\"event\"}\n", Err(SignatureError::Mismatch));
    check(SECRET, b"", Err(SignatureError::Mismatch));
    check("test_vector_secret", BODY, Err(SignatureError::Mismatch));
    check("whsec_another", BODY, Err(SignatureError::Mismatch));
}

#[test]
fn odd_headers_are_read_as_the_strict_grammar_says() {
    use SignatureError::{Malformed, Mismatch, NoCandidate, TimestampOutsideTolerance};
    let ok = Ok(SecretSlot(0));
    let off = |behind_seconds| TimestampOutsideTolerance { behind_seconds };
    let junk = "0".repeat(64);
    let upper = GOOD.to_ascii_uppercase();
    let table: &[(&str, String, Result<SecretSlot, SignatureError>)] = &[
        ("plain", format!("t={AT},v1={GOOD}"), ok),
        ("any order", format!("v1={GOOD},t={AT}"), ok),
        ("space after the comma", format!("t={AT}, v1={GOOD}"), ok),
        ("white space around everything", format!(" \tt={AT} ,\tv1={GOOD}\t "), ok),
        ("white space inside an element", format!("t= {AT},v1={GOOD}"), Err(Malformed)),
        ("upper-case hexadecimal", format!("t={AT},v1={upper}"), Err(NoCandidate)),
        ("upper-case keys", format!("T={AT},V1={GOOD}"), Err(Malformed)),
        ("upper-case key of the signature", format!("t={AT},V1={GOOD}"), Err(NoCandidate)),
        ("trailing comma", format!("t={AT},v1={GOOD},"), ok),
        ("empty elements", format!(",,t={AT},, ,v1={GOOD}"), ok),
        ("bare word", format!("t={AT},v1={GOOD},foo"), Err(Malformed)),
        ("unknown elements", format!("foo=bar,t={AT},v2={GOOD},v1={GOOD}"), ok),
        ("bytes that are no text", format!("foo=\u{fffd},t={AT},v1={GOOD}"), ok),
        ("a second equals sign", format!("t={AT},v1={GOOD}=x"), Err(NoCandidate)),
        ("an empty signature before a good one", format!("t={AT},v1=,v1={GOOD}"), ok),
        ("junk beside a good one", format!("t={AT},v1=zz,v1={junk},v1={GOOD}"), ok),
        ("good one first", format!("t={AT},v1={GOOD},v1={junk}"), ok),
        ("two times, first wrong", format!("t=1,t={AT},v1={GOOD}"), Err(Malformed)),
        ("two times, last wrong", format!("t={AT},t=1,v1={GOOD}"), Err(Malformed)),
        ("a leading zero", signed(&format!("0{AT}")), Err(Malformed)),
        ("a plus", signed(&format!("+{AT}")), Err(Malformed)),
        ("a minus", signed(&format!("-{AT}")), Err(Malformed)),
        ("a fraction", signed(&format!("{AT}.0")), Err(Malformed)),
        ("letters behind", signed(&format!("{AT}abc")), Err(Malformed)),
        ("underscores", signed("1_791_496_587"), Err(Malformed)),
        ("milliseconds", signed(&format!("{AT}000")), Err(Malformed)),
        ("the largest integer", signed(&i64::MAX.to_string()), Err(Malformed)),
        ("twelve digits", signed("999999999999"), Err(off(AT - 999_999_999_999))),
        ("zero", signed("0"), Err(Malformed)),
        ("301 s ahead", signed(&(AT + 301).to_string()), Err(off(-301))),
        ("300 s ahead", signed(&(AT + 300).to_string()), ok),
        ("300 s ago", signed(&(AT - 300).to_string()), ok),
        ("301 s ago", signed(&(AT - 301).to_string()), Err(off(301))),
        ("301 s ago, and another signature", format!("t={},v1={GOOD}", AT - 301), Err(Mismatch)),
        ("only v0", format!("t={AT},v0={GOOD}"), Err(NoCandidate)),
        ("no v1", format!("t={AT}"), Err(NoCandidate)),
        ("63 digits", format!("t={AT},v1={}", &GOOD[1..]), Err(NoCandidate)),
        ("65 digits", format!("t={AT},v1={GOOD}0"), Err(NoCandidate)),
        ("no t", format!("v1={GOOD}"), Err(Malformed)),
        ("an empty t", format!("t=,v1={GOOD}"), Err(Malformed)),
        ("an empty key", format!("=x,t={AT},v1={GOOD}"), ok),
        ("only commas", ",,".to_owned(), Err(Malformed)),
        ("nothing", String::new(), Err(Malformed)),
        ("another signature", format!("t={AT},v1={junk}"), Err(Mismatch)),
        ("another time", format!("t={},v1={GOOD}", AT + 1), Err(Mismatch)),
    ];
    for (case, header, expected) in table {
        assert_eq!(verify(header, AT), *expected, "{case}: {header}");
    }
}

#[test]
fn a_time_outside_the_tolerance_says_by_how_much_and_that_a_secret_fits() {
    let check = |at: i64, expected: &str| {
        let refused = verify(&signed(&at.to_string()), AT).unwrap_err().to_string();
        assert!(refused.starts_with("a configured secret fits the signature, but its time is "), "{refused}");
        assert!(refused.contains(expected), "{refused}");
    };
    check(AT - 400, "400 s behind this machine's clock");
    check(AT + 3_600, "3600 s ahead of this machine's clock");
}

#[test]
fn a_header_is_plausible_without_its_body_if_its_time_is_about_now() {
    let check = |header: Option<&str>, expected: bool| {
        let now = Timestamp::from_seconds(AT);
        let found = verifier(&[SECRET]).is_plausible(header.map(str::as_bytes), now);
        assert_eq!(found, expected, "{header:?}");
    };
    let junk = "0".repeat(64);
    check(Some(&format!("t={AT},v1={junk}")), true);
    check(Some(&format!("t={},v1={junk}", AT - 301)), false);
    check(Some(&format!("t={AT}")), false);
    check(Some("junk"), false);
    check(None, false);
}

#[test]
fn a_missing_or_huge_header_is_refused() {
    let now = Timestamp::from_seconds(AT);
    assert_eq!(verifier(&[SECRET]).verify(None, BODY, now), Err(SignatureError::MissingHeader));
    let padding = HEADER_BYTES_MAX - format!("t={AT},v1={GOOD},").len();
    let fits = format!("t={AT},v1={GOOD},{}", "v".repeat(padding - 1) + "=");
    assert_eq!(fits.len(), HEADER_BYTES_MAX);
    assert_eq!(verify(&fits, AT), Ok(SecretSlot(0)));
    assert_eq!(verify(&format!("{fits}x"), AT), Err(SignatureError::HeaderTooLarge));
}

#[test]
fn a_secret_can_be_rolled_from_both_ends() {
    let now = Timestamp::from_seconds(AT);
    let signed_by = |text: &str| sign(&secret(text), AT, BODY);
    let check = |secrets: &[&str], header: &str, expected| {
        assert_eq!(verifier(secrets).verify(Some(header.as_bytes()), BODY, now), expected, "{secrets:?}");
    };
    // We know both; Stripe signs with either.
    check(&["whsec_old", "whsec_new"], &signed_by("whsec_old"), Ok(SecretSlot(0)));
    check(&["whsec_old", "whsec_new"], &signed_by("whsec_new"), Ok(SecretSlot(1)));
    // We know one; Stripe signs with both, in either order.
    let (old, new) = (signed_by("whsec_old"), signed_by("whsec_new"));
    let both = [
        format!("{old},{}", new.split_once(',').unwrap().1),
        format!("{new},{}", old.split_once(',').unwrap().1),
    ];
    for header in &both {
        check(&["whsec_old"], header, Ok(SecretSlot(0)));
        check(&["whsec_other", "whsec_new"], header, Ok(SecretSlot(1)));
        check(&["whsec_other"], header, Err(SignatureError::Mismatch));
    }
    check(&[], &old, Err(SignatureError::Mismatch));
}

#[test]
fn several_header_lines_are_one_header() {
    let time = format!("t={AT}").into_bytes();
    let good = format!("v1={GOOD}").into_bytes();
    let joined = join_headers([time.as_slice(), good.as_slice()]).unwrap();
    assert_eq!(verify(std::str::from_utf8(&joined).unwrap(), AT), Ok(SecretSlot(0)));
    assert_eq!(join_headers([]), None);
    assert!(matches!(join_headers([time.as_slice()]), Some(Cow::Borrowed(_))));
}

#[test]
fn nothing_shows_a_secret() {
    let secret = secret("whsec_hidden");
    let verifier = Verifier::new(std::slice::from_ref(&secret), Duration::from_mins(5));
    let shown = format!("{secret:?} {verifier:?} {:?}", crate::stripe::Settings::new(vec![secret.clone()]));
    assert!(!shown.contains("hidden"), "{shown}");
    assert!(Secret::new(" \n").is_none());
    assert_eq!(Secret::new("whsec_file\n").unwrap().reveal(), "whsec_file");
}
