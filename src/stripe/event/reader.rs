//! From bytes to a tape: by the form of an earlier body, or by simd-json. The buffers are kept. What the tape says is for the
//! other files.

use std::mem;

use simd_json::{Buffers, ErrorType, INPUT_PADDING, Tape};

use twox_hash::XxHash3_64;

use super::{
    Incoming, Malformed, Reading,
    forms::Forms,
    incoming,
    tape::{Value, repeats_a_field},
};
use crate::domain::Timestamp;

/// The deepest nesting that is read; a full event has eight levels.
pub(super) const DEPTH_MAX: usize = 64;

/// Room that is made ahead, and kept after a body that needed more: a full event is about 5 KB.
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// The buffers of the parser, kept from body to body so that reading allocates only what it returns.
pub struct Reader {
    scratch: Vec<u8>,
    buffers: Buffers,
    tape: Tape<'static>,
    forms: Forms,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            scratch: Vec::new(),
            buffers: Buffers::with_max_depth(8 * 1024, DEPTH_MAX),
            tape: Tape(Vec::new()),
            forms: Forms::default(),
        }
    }
}

impl Reader {
    /// Reads a body that reached us at `received_at`.
    ///
    /// # Errors
    /// When the body is no event that could be answered; see [`Malformed`].
    pub fn read(
        &mut self,
        body: &[u8],
        received_at: Timestamp,
        reading: &Reading,
    ) -> Result<Incoming, Malformed> {
        let mut tape = mem::replace(&mut self.tape, Tape(Vec::new())).reset();
        if self.forms.read(body, &mut tape.0) {
            let incoming = incoming(Value::root(&tape.0), received_at, reading);
            self.tape = tape.reset();
            return incoming.map(|incoming| hashed(incoming, body));
        }
        let incoming = self.read_in_full(body, tape.reset(), received_at, reading);
        if body.len() > KEPT_BYTES_MAX {
            let forms = mem::take(&mut self.forms);
            *self = Self { forms, ..Self::default() };
        }
        incoming
    }

    fn read_in_full(
        &mut self,
        body: &[u8],
        tape: Tape<'_>,
        received_at: Timestamp,
        reading: &Reading,
    ) -> Result<Incoming, Malformed> {
        // The parser unescapes strings in place, and reads past the end in whole vectors.
        self.scratch.clear();
        self.scratch.extend_from_slice(body);
        self.scratch.extend_from_slice(&[0; INPUT_PADDING]);
        let mut tape = tape.reset();
        let parsed = simd_json::fill_tape_padded(&mut self.scratch, body.len(), &mut self.buffers, &mut tape);
        let incoming = match parsed {
            Ok(()) if repeats_a_field(&tape.0) => Err(Malformed::DuplicateKey),
            Ok(()) => incoming(Value::root(&tape.0), received_at, reading),
            Err(error) => Err(refusal(&error)),
        };
        if incoming.is_ok() {
            self.forms.learn(body, &tape.0);
        }
        self.tape = tape.reset();
        incoming.map(|incoming| hashed(incoming, body))
    }
}

/// A request with the hash of the body that brought it.
fn hashed(mut incoming: Incoming, body: &[u8]) -> Incoming {
    if let Incoming::Request(request) = &mut incoming {
        request.details.body_hash = XxHash3_64::oneshot(body);
    }
    incoming
}

/// What the parser's error means to a sender. The message of the parser itself would repeat a part of the body.
fn refusal(error: &simd_json::Error) -> Malformed {
    match error.error() {
        ErrorType::InvalidUtf8 => Malformed::NotUtf8,
        ErrorType::DepthLimitExceeded => Malformed::TooDeep,
        _ => Malformed::NotJson,
    }
}
