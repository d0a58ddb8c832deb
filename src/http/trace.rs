//! The trace that a request belongs to, as its `traceparent` header says: <https://www.w3.org/TR/trace-context/>. It is
//! carried into the log, and decides nothing.

use std::fmt;

use hyper::{HeaderMap, header::HeaderValue};

/// The name of the header.
const TRACEPARENT: &str = "traceparent";

/// A trace; shown as its id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct TraceParent {
    trace: u128,
}

impl TraceParent {
    /// The trace of a request. One that is not well formed is none, and so are two.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).into_iter();
        let only = values.next().filter(|_| values.next().is_none());
        only.map(HeaderValue::as_bytes).and_then(Self::parse)
    }

    /// `00-<32 digits>-<16 digits>-<2 digits>`; later versions may have more behind it.
    fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let mut parts = text.split('-');
        let version = digits(parts.next()?, 2)?;
        let trace = digits(parts.next()?, 32)?;
        let parent = digits(parts.next()?, 16)?;
        digits(parts.next()?, 2)?;
        let is_known = match version {
            0 => parts.next().is_none(),
            0xff => false,
            _ => true,
        };
        (is_known && trace != 0 && parent != 0).then_some(Self { trace })
    }
}

/// A number of exactly so many digits, as the standard writes them: base 16, small letters.
fn digits(text: &str, length: usize) -> Option<u128> {
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let is_written_so = text.len() == length && text.bytes().all(is_hex);
    u128::from_str_radix(text, 16).ok().filter(|_| is_written_so)
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.trace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn a_trace_is_taken_as_the_standard_writes_it() {
        let check = |text: &str, expected: Option<&str>| {
            let found = TraceParent::parse(text.as_bytes()).map(|trace| trace.to_string());
            assert_eq!(found.as_deref(), expected, "{text}");
        };
        check(&format!("00-{TRACE}-00f067aa0ba902b7-01"), Some(TRACE));
        check(&format!("00-{TRACE}-00f067aa0ba902b7-00"), Some(TRACE));
        check(&format!("cc-{TRACE}-00f067aa0ba902b7-01-what-will-be"), Some(TRACE));
        check(
            "00-0000000000000000000000000000000a-00f067aa0ba902b7-01",
            Some("0000000000000000000000000000000a"),
        );
        check("", None);
        check(TRACE, None);
        check(&format!("00-{TRACE}-00f067aa0ba902b7"), None);
        check(&format!("00-{TRACE}-00f067aa0ba902b7-01-more"), None);
        check(&format!("ff-{TRACE}-00f067aa0ba902b7-01"), None);
        check(&format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()), None);
        check(&format!("00-{TRACE}-0000000000000000-01"), None);
        check("00-00000000000000000000000000000000-00f067aa0ba902b7-01", None);
        check(&format!("00-+{}-00f067aa0ba902b7-01", &TRACE[1..]), None);
        check("00-Jenny Rosen-+1 555 0100-01", None);
    }

    #[test]
    fn two_traces_are_none() {
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_str(&format!("00-{TRACE}-00f067aa0ba902b7-01")).unwrap();
        assert_eq!(TraceParent::of(&headers), None);
        headers.append(TRACEPARENT, value.clone());
        assert!(TraceParent::of(&headers).is_some());
        headers.append(TRACEPARENT, value);
        assert_eq!(TraceParent::of(&headers), None);
    }
}
