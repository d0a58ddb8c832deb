//! The forms of bodies that were read before. Most events differ from an earlier one only in their values: where all else is
//! the same, byte for byte, its tape has the same nodes, no name occurs twice, and nothing is nested deeper. So only the values
//! are read. Any other body is simd-json's to read.

use std::ops::Range;

use simd_json::Node;

use super::scalar::Scanner;

/// How many forms are kept: events of one kind have several, by what is there and what is null.
const FORMS_MAX: usize = 32;
/// So many bodies of unknown forms are learned at once, and one in so many later: it takes the place of the form that was
/// unused the longest.
const FORMS_FIRST: u64 = 64;
const LEARNED_EACH: u64 = 64;
/// Larger bodies are not learned; a full event is about 5 KB.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// The forms that are known, and how each was used.
#[derive(Default)]
pub(super) struct Forms {
    known: Vec<Form>,
    /// Which one the last body had.
    last: usize,
    /// Counts bodies.
    clock: u64,
    unknown: u64,
}

/// Everything of a body but its values.
struct Form {
    /// What stands before each value, and behind the last one.
    text: String,
    steps: Vec<Step>,
    marks: Vec<Mark>,
    /// Where on the tape objects and arrays begin.
    headers: Vec<(usize, Node<'static>)>,
    used_at: u64,
    /// With how many steps each known form begins as this one does.
    shared: Vec<usize>,
}

/// What stands before a value, or behind the last one.
struct Step {
    text: Range<usize>,
    marks: Range<usize>,
}

/// What the text before a value puts onto the tape.
#[derive(Clone, Copy)]
enum Mark {
    /// An object or an array begins.
    Begin,
    /// A name, by its place in the text of its step.
    Name(usize, usize),
}

impl Forms {
    /// Puts a body of a known form onto the tape. False if its form is not known, or a value is unusual.
    pub(super) fn read<'a>(&mut self, body: &'a [u8], nodes: &mut Vec<Node<'a>>) -> bool {
        let Ok(text) = str::from_utf8(body) else { return false };
        self.clock = self.clock.wrapping_add(1);
        let mut scanner = Scanner::new(text);
        let mut tried = 0_u32;
        let (mut number, mut step) = (self.last, 0);
        loop {
            let Some(form) = self.known.get_mut(number) else { return false };
            match form.read(step, &mut scanner, nodes) {
                Ok(()) => {
                    (form.used_at, self.last) = (self.clock, number);
                    return true;
                }
                Err(at) => step = at,
            }
            tried |= bit(number);
            // One that begins as this one does, as far as this one fits, and differs there.
            let next = |(other, shared): (usize, &usize)| {
                (*shared == step && tried & bit(other) == 0).then_some(other)
            };
            let Some(other) = form.shared.iter().enumerate().find_map(next) else { return false };
            number = other;
        }
    }

    /// Learns the form of a body that has been put onto this tape by the full parser, and has no name twice in one object.
    pub(super) fn learn(&mut self, body: &[u8], nodes: &[Node<'_>]) {
        self.unknown = self.unknown.wrapping_add(1);
        let is_turn = self.unknown <= FORMS_FIRST || self.unknown.is_multiple_of(LEARNED_EACH);
        if !is_turn || body.len() > BODY_BYTES_MAX {
            return;
        }
        let Some(mut form) = str::from_utf8(body).ok().and_then(|text| Form::of(text, nodes)) else { return };
        form.used_at = self.clock;
        let mut place = self.known.len();
        if place >= FORMS_MAX {
            let oldest = self.known.iter().enumerate().min_by_key(|(_, form)| form.used_at);
            place = oldest.map_or(0, |(oldest, _)| oldest);
        }
        form.shared = self.known.iter().map(|known| known.shared_with(&form)).collect();
        for (known, shared) in self.known.iter_mut().zip(&form.shared) {
            match known.shared.get_mut(place) {
                Some(before) => *before = *shared,
                None => known.shared.push(*shared),
            }
        }
        if let Some(oldest) = self.known.get_mut(place) {
            *oldest = form;
        } else {
            form.shared.push(usize::MAX);
            self.known.push(form);
        }
        self.last = place;
    }
}

impl Form {
    /// The form of a body. None for one with escapes, or with values that only the full parser reads.
    fn of(body: &str, nodes: &[Node<'_>]) -> Option<Self> {
        let mut form = Self {
            text: String::new(),
            steps: Vec::new(),
            marks: Vec::new(),
            headers: Vec::new(),
            used_at: 0,
            shared: Vec::new(),
        };
        let mut scanner = Scanner::new(body);
        let (mut text, mut marks) = (0, 0);
        while let Some(byte) = scanner.peek() {
            let before = scanner.place;
            match byte {
                b'{' | b'[' => form.marks.push(Mark::Begin),
                b' ' | b'\n' | b'\r' | b'\t' | b',' | b':' | b'}' | b']' => {}
                _ => {
                    scanner.scalar()?;
                    let behind = body.get(scanner.place..)?.trim_start();
                    if byte == b'"' && behind.starts_with(':') {
                        let from = form.text.len().wrapping_sub(text);
                        let length = scanner.place.wrapping_sub(before);
                        form.marks.push(Mark::Name(
                            from.wrapping_add(1),
                            from.wrapping_add(length).wrapping_sub(1),
                        ));
                    } else {
                        form.steps.push(Step { text: text..form.text.len(), marks: marks..form.marks.len() });
                        (text, marks) = (form.text.len(), form.marks.len());
                        continue;
                    }
                }
            }
            scanner.place = scanner.place.max(before.wrapping_add(1));
            form.text.push_str(body.get(before..scanner.place)?);
        }
        form.steps.push(Step { text: text..form.text.len(), marks: marks..form.marks.len() });
        let headers = nodes.iter().enumerate().filter_map(|(place, node)| match *node {
            Node::Object { len, count } => Some((place, Node::Object { len, count })),
            Node::Array { len, count } => Some((place, Node::Array { len, count })),
            Node::String(_) | Node::Static(_) => None,
        });
        form.headers = headers.collect();
        // Only a form that gives the same tape is one.
        let mut own = Vec::new();
        let is_same = form.read(0, &mut Scanner::new(body), &mut own).is_ok() && own == nodes;
        is_same.then_some(form)
    }

    /// Puts the rest of a body onto the tape, from a step on. If the body differs in a step, the scanner and the tape are
    /// where they were before it.
    fn read<'a>(
        &self,
        from: usize,
        scanner: &mut Scanner<'a>,
        nodes: &mut Vec<Node<'a>>,
    ) -> Result<(), usize> {
        for (number, step) in self.steps.iter().enumerate().skip(from) {
            let (place, known) = (scanner.place, nodes.len());
            let is_last = number.wrapping_add(1) == self.steps.len();
            if self.step(step, is_last, scanner, nodes).is_none() {
                scanner.place = place;
                nodes.truncate(known);
                return Err(number);
            }
        }
        for (place, header) in &self.headers {
            if let Some(node) = nodes.get_mut(*place) {
                *node = *header;
            }
        }
        Ok(())
    }

    fn step<'a>(
        &self,
        step: &Step,
        is_last: bool,
        scanner: &mut Scanner<'a>,
        nodes: &mut Vec<Node<'a>>,
    ) -> Option<()> {
        let start = scanner.place;
        scanner.pass(self.text.get(step.text.clone())?)?;
        for mark in self.marks.get(step.marks.clone())? {
            nodes.push(match mark {
                // Its size follows from the form.
                Mark::Begin => Node::Object { len: 0, count: 0 },
                Mark::Name(from, to) => {
                    Node::String(scanner.part(start.wrapping_add(*from), start.wrapping_add(*to))?)
                }
            });
        }
        if is_last {
            return scanner.is_at_end().then_some(());
        }
        nodes.push(scanner.scalar()?);
        Some(())
    }

    /// With how many equal steps two forms begin.
    fn shared_with(&self, other: &Self) -> usize {
        self.texts().zip(other.texts()).take_while(|(one, other)| one == other).count()
    }

    fn texts(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().map(|step| self.text.get(step.text.clone()).unwrap_or_default())
    }
}

/// A bit for each of [`FORMS_MAX`].
fn bit(number: usize) -> u32 {
    u32::try_from(number).map_or(0, |number| 1_u32.wrapping_shl(number))
}

#[cfg(test)]
mod tests;
