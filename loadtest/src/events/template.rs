//! A text with slots: read once, then written as often as needed without reading or serialising anything.

/// JSON with slots: `$name` stands for what is filled in.
pub(super) struct Template(Vec<Part>);

struct Part {
    text: String,
    /// What follows the text; nothing at the end.
    slot: Option<String>,
}

impl Template {
    /// Reads a template; white space outside of texts is left out.
    pub(super) fn read(json: &str) -> Self {
        let compact = without_space(json);
        let mut parts = Vec::new();
        let mut pieces = compact.split('$');
        let mut text = pieces.next().unwrap_or_default();
        for piece in pieces {
            let end = piece.find(|c: char| !c.is_ascii_lowercase() && c != '_').unwrap_or(piece.len());
            let (slot, rest) = piece.split_at(end);
            parts.push(Part { text: text.to_owned(), slot: Some(slot.to_owned()) });
            text = rest;
        }
        parts.push(Part { text: text.to_owned(), slot: None });
        Self(parts)
    }

    /// Writes it, with what `fill` writes for each slot.
    pub(super) fn write(&self, out: &mut Vec<u8>, mut fill: impl FnMut(&str, &mut Vec<u8>)) {
        for part in &self.0 {
            out.extend_from_slice(part.text.as_bytes());
            if let Some(slot) = &part.slot {
                fill(slot, out);
            }
        }
    }
}

fn without_space(json: &str) -> String {
    let mut is_text = false;
    json.chars()
        .filter(|c| {
            is_text ^= *c == '"';
            is_text || !c.is_whitespace()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_filled_and_the_rest_stays_as_it_is() {
        let template = Template::read("{\n  \"a b\": \"$one\", \"two\": $two_more\n}\n");
        let mut out = Vec::new();
        template.write(&mut out, |slot, out| out.extend_from_slice(slot.to_uppercase().as_bytes()));
        assert_eq!(String::from_utf8(out).unwrap(), r#"{"a b":"ONE","two":TWO_MORE}"#);
    }
}
