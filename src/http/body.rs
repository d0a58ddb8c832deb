//! The bytes of a request's body, as they came, and not too many of them.

use std::{error::Error as _, io};

use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Bytes, Incoming};

/// Why there is no body to look at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unusable {
    /// More bytes than are read.
    TooLarge,
    /// The rest did not come in time.
    Late,
    /// It ended before its end, or its chunks make no sense.
    Broken,
}

/// How long the body says that it is.
pub(super) fn declared(body: &Incoming) -> Option<usize> {
    body.size_hint().exact().map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX))
}

/// Reads the whole body, counting. One that came in one piece, as an event does, is not copied. Memory grows with what
/// came, never with what was announced.
pub(super) async fn gather(mut body: Incoming, bytes_max: usize) -> Result<Bytes, Unusable> {
    let mut whole = Bytes::new();
    let mut pieces = Vec::new();
    while let Some(frame) = body.frame().await {
        // What is no data are trailers, which nobody asked for.
        let Ok(piece) = frame.map_err(|error| unusable(&error))?.into_data() else { continue };
        if whole.len().max(pieces.len()).saturating_add(piece.len()) > bytes_max {
            return Err(Unusable::TooLarge);
        }
        if whole.is_empty() && pieces.is_empty() {
            whole = piece;
        } else {
            if pieces.is_empty() {
                pieces.extend_from_slice(&std::mem::take(&mut whole));
            }
            pieces.extend_from_slice(&piece);
        }
    }
    Ok(if pieces.is_empty() { whole } else { pieces.into() })
}

fn unusable(error: &hyper::Error) -> Unusable {
    let cause = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    if cause.is_some_and(|cause| cause.kind() == io::ErrorKind::TimedOut) {
        Unusable::Late
    } else {
        Unusable::Broken
    }
}
