//! JSON objects, written field by field: for the one record that every request writes. A serializer that has to work
//! for everything looks at each key as if it could need escapes. Reading is left to one.

use std::{fmt::Display, io::Write};

use serde::Serialize;

/// An object that is being written.
pub(super) struct Object<'a> {
    body: &'a mut Vec<u8>,
}

impl<'a> Object<'a> {
    /// Begins an object at the end of `body`.
    pub(super) fn begin(body: &'a mut Vec<u8>) -> Self {
        body.push(b'{');
        Self { body }
    }

    /// Ends it.
    pub(super) fn end(self) {
        end_with(self.body, b'}');
    }

    /// A field with a text, escaped where it needs it.
    pub(super) fn text(&mut self, key: &'static str, text: &str) {
        // To the end, whatever is found: so it is done for many bytes at once.
        if text.bytes().fold(true, |are_plain, byte| are_plain & is_plain(byte)) {
            return self.word(key, text);
        }
        self.key(key);
        // Writing to memory cannot fail.
        let _ = serde_json::to_writer(&mut *self.body, text);
        self.body.push(b',');
    }

    /// A field with a text that needs no escapes.
    pub(super) fn word(&mut self, key: &'static str, word: &str) {
        self.key(key);
        self.body.push(b'"');
        self.body.extend_from_slice(word.as_bytes());
        self.body.extend_from_slice(b"\",");
    }

    /// A field with something that shows itself without anything that needs escapes.
    pub(super) fn shown(&mut self, key: &'static str, shown: impl Display) {
        self.key(key);
        let _ = write!(self.body, "\"{shown}\",");
    }

    pub(super) fn number(&mut self, key: &'static str, number: i64) {
        self.key(key);
        write_number(self.body, number);
        self.body.push(b',');
    }

    /// A field that is only there when it is true.
    pub(super) fn flag(&mut self, key: &'static str, flag: bool) {
        if flag {
            self.key(key);
            self.body.extend_from_slice(b"true,");
        }
    }

    pub(super) fn null(&mut self, key: &'static str) {
        self.key(key);
        self.body.extend_from_slice(b"null,");
    }

    /// A field with an array, each element written by `write`.
    pub(super) fn array<T>(
        &mut self,
        key: &'static str,
        elements: impl IntoIterator<Item = T>,
        write: impl Fn(&mut Vec<u8>, T),
    ) {
        self.key(key);
        self.body.push(b'[');
        for element in elements {
            write(self.body, element);
            self.body.push(b',');
        }
        end_with(self.body, b']');
        self.body.push(b',');
    }

    /// A field with an object, whose fields are written by `write`.
    pub(super) fn object(&mut self, key: &'static str, write: impl FnOnce(&mut Object<'_>)) {
        self.key(key);
        let mut object = Object::begin(self.body);
        write(&mut object);
        object.end();
        self.body.push(b',');
    }

    /// A field with what serde writes.
    pub(super) fn serialized(&mut self, key: &'static str, value: &impl Serialize) {
        self.key(key);
        let _ = serde_json::to_writer(&mut *self.body, value);
        self.body.push(b',');
    }

    fn key(&mut self, key: &'static str) {
        self.body.push(b'"');
        self.body.extend_from_slice(key.as_bytes());
        self.body.extend_from_slice(b"\":");
    }
}

pub(super) fn write_number(body: &mut Vec<u8>, number: i64) {
    body.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Puts a bracket in the place of the last comma, if there is one.
fn end_with(body: &mut Vec<u8>, bracket: u8) {
    match body.last_mut() {
        Some(comma @ b',') => *comma = bracket,
        _ => body.push(bracket),
    }
}

const fn is_plain(byte: u8) -> bool {
    byte >= b' ' && byte != b'"' && byte != b'\\'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_a_reader_of_json_expects() {
        let mut body = Vec::new();
        let mut object = Object::begin(&mut body);
        object.text("plain", "evt_1");
        object.text("odd", "a\"b\\c\u{7}ü\u{2028}");
        object.word("word", "daily");
        object.shown("shown", 7);
        object.number("least", i64::MIN);
        object.flag("yes", true);
        object.flag("no", false);
        object.null("nothing");
        object.array("none", [0_i64; 0], write_number);
        object.array("some", [1, -2], write_number);
        object.end();
        let read: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let expected = serde_json::json!({
            "plain": "evt_1", "odd": "a\"b\\c\u{7}ü\u{2028}", "word": "daily", "shown": "7", "least": i64::MIN, "yes": true,
            "nothing": null, "none": [], "some": [1, -2],
        });
        assert_eq!(read, expected);
    }

    #[test]
    fn an_object_may_have_no_fields() {
        let mut body = Vec::new();
        Object::begin(&mut body).end();
        assert_eq!(body, b"{}");
    }
}
