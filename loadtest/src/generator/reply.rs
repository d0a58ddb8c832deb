//! Replies: where one ends, and whether Stripe would take it for a decision. Source:
//! <https://docs.stripe.com/issuing/controls/real-time-authorizations>.

use serde::Deserialize;

/// More headers than any reply has.
const HEADERS_MAX: usize = 32;

/// A whole HTTP reply, as far as Stripe looks at it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    has_version: bool,
    is_json: bool,
    pub(super) body: Vec<u8>,
}

/// It is something else than HTTP/1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct NotHttp;

/// What Stripe reads in a decision.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub(super) struct Decision<'a> {
    pub(super) approved: bool,
    pub(super) amount: Option<i64>,
    #[serde(borrow, default)]
    pub(super) metadata: Metadata<'a>,
}

/// What Tollgate says of its decision; other servers say nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
pub(super) struct Metadata<'a> {
    pub(super) tollgate_decision: Option<&'a str>,
    pub(super) tollgate_reason: Option<&'a str>,
}

impl Reply {
    /// The decision in it; none where Stripe would find a `webhook_error`.
    pub(super) fn decision(&self) -> Option<Decision<'_>> {
        let is_heard = self.status == 200 && self.has_version && self.is_json;
        let decision: Decision<'_> = is_heard.then(|| serde_json::from_slice(&self.body).ok()).flatten()?;
        decision.amount.is_none_or(|amount| amount > 0).then_some(decision)
    }
}

/// Reads a reply and whether its connection is kept; none where it is not all there yet.
pub(super) fn read(inbox: &[u8]) -> Result<Option<(Reply, bool)>, NotHttp> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Response::new(&mut headers);
    let body_at = match head.parse(inbox) {
        Ok(httparse::Status::Complete(body_at)) => body_at,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(NotHttp),
    };
    let header = |name: &str| {
        let found = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(found.value).ok().map(str::trim)
    };
    let rest = inbox.get(body_at..).unwrap_or_default();
    let is_chunked = header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
    let body = if is_chunked {
        unchunked(rest)?
    } else {
        let length: usize = header("content-length").and_then(|value| value.parse().ok()).ok_or(NotHttp)?;
        rest.get(..length).map(<[u8]>::to_vec)
    };
    let Some(body) = body else { return Ok(None) };
    let reply = Reply {
        status: head.code.ok_or(NotHttp)?,
        has_version: header("stripe-version").is_some_and(|version| !version.is_empty()),
        is_json: header("content-type").is_none_or(|value| value.starts_with("application/json")),
        body,
    };
    let is_kept = head.version == Some(1)
        && !header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    Ok(Some((reply, is_kept)))
}

/// The body of a reply that comes in chunks; none where it is not all there yet.
fn unchunked(mut rest: &[u8]) -> Result<Option<Vec<u8>>, NotHttp> {
    let mut body = Vec::new();
    loop {
        let Ok(httparse::Status::Complete((start, size))) = httparse::parse_chunk_size(rest) else {
            return if httparse::parse_chunk_size(rest).is_err() { Err(NotHttp) } else { Ok(None) };
        };
        let end = usize::try_from(size).ok().and_then(|size| start.checked_add(size)).ok_or(NotHttp)?;
        let (Some(chunk), Some(after)) = (rest.get(start..end), rest.get(end..)) else { return Ok(None) };
        let Some(after) = after.strip_prefix(b"\r\n") else {
            return if after.len() < 2 { Ok(None) } else { Err(NotHttp) };
        };
        if size == 0 {
            return Ok(Some(body));
        }
        body.extend_from_slice(chunk);
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const APPROVAL: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nStripe-Version: 2022-08-01\r\n\
        content-length: 17\r\n\r\n{\"approved\":true}";

    fn whole(text: &str) -> (Reply, bool) {
        read(text.as_bytes()).unwrap().unwrap()
    }

    #[test]
    fn a_reply_is_whole_at_its_last_byte_and_not_before() {
        for end in 0..APPROVAL.len() {
            assert_eq!(read(&APPROVAL.as_bytes()[..end]), Ok(None), "after {end} bytes");
        }
        let (reply, is_kept) = whole(APPROVAL);
        assert!(is_kept && reply.decision().unwrap().approved);
        assert_eq!(read(b"SMTP ready\r\n\r\n"), Err(NotHttp));
    }

    #[test]
    fn a_reply_in_chunks_is_the_same_reply() {
        let chunked = APPROVAL.replace(
            "content-length: 17\r\n\r\n{\"approved\":true}",
            "transfer-encoding: chunked\r\n\r\n5\r\n{\"app\r\nc\r\nroved\":true}\r\n0\r\n\r\n",
        );
        for end in 0..chunked.len() {
            assert_eq!(read(&chunked.as_bytes()[..end]), Ok(None), "after {end} bytes");
        }
        assert_eq!(whole(&chunked), whole(APPROVAL));
    }

    #[test]
    fn what_stripe_does_not_take_is_no_decision() {
        let check = |from: &str, to: &str| {
            assert_eq!(whole(&APPROVAL.replace(from, to)).0.decision(), None, "{to}");
        };
        check("200 OK", "201 Created");
        check("Stripe-Version: 2022-08-01\r\n", "");
        check("application/json", "text/plain");
        check("\"approved\":true", "\"approved\":  1 ");
        check("17\r\n\r\n{\"approved\":true}", "28\r\n\r\n{\"approved\":true,\"amount\":0}");
        assert!(!whole(&APPROVAL.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")).1);
    }
}
