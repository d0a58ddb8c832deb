//! The values of a usual body, one after another: text without escapes, whole numbers, short fractions. What is unusual or
//! wrong is not read here, but by simd-json; nothing is read here that simd-json would refuse.

use simd_json::{Node, StaticNode};

/// The most digits of a number that certainly fits.
const DIGITS_MAX: usize = 18;
/// The powers of ten that divide a number of so few digits to the nearest float.
const POWERS: [f64; 9] = [1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8];
/// The largest such number; above it, floats have gaps.
const FRACTION_MAX: u64 = 1 << 53;

/// A body that is read from its beginning to its end.
pub(super) struct Scanner<'a> {
    text: &'a str,
    /// What is read next.
    pub(super) place: usize,
}

impl<'a> Scanner<'a> {
    pub(super) const fn new(text: &'a str) -> Self {
        Self { text, place: 0 }
    }

    /// Passes over exactly this text. None if the body goes on with another one.
    pub(super) fn pass(&mut self, text: &str) -> Option<()> {
        let end = self.place.wrapping_add(text.len());
        (self.text.as_bytes().get(self.place..end)? == text.as_bytes()).then_some(())?;
        self.place = end;
        Some(())
    }

    /// The next byte.
    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.place).copied()
    }

    /// A part of the body.
    pub(super) fn part(&self, from: usize, to: usize) -> Option<&'a str> {
        self.text.get(from..to)
    }

    pub(super) const fn is_at_end(&self) -> bool {
        self.place == self.text.len()
    }

    /// The value that begins here, if it is a usual one.
    pub(super) fn scalar(&mut self) -> Option<Node<'a>> {
        let value = match self.next()? {
            b'"' => return self.string().map(Node::String),
            b'n' => self.word(b"ull", StaticNode::Null)?,
            b'f' => self.word(b"alse", StaticNode::Bool(false))?,
            b't' => self.word(b"rue", StaticNode::Bool(true))?,
            b'-' => {
                let first = self.next()?;
                self.number(first, true)?
            }
            first => self.number(first, false)?,
        };
        Some(Node::Static(value))
    }

    fn next(&mut self) -> Option<u8> {
        let byte = *self.text.as_bytes().get(self.place)?;
        self.place = self.place.wrapping_add(1);
        Some(byte)
    }

    /// A text without escapes, behind its first quotation mark: eight bytes at a time.
    fn string(&mut self) -> Option<&'a str> {
        let start = self.place;
        let bytes = self.text.as_bytes();
        let end = loop {
            let rest = bytes.get(self.place..)?;
            let Some(eight) = rest.first_chunk() else {
                let end = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20))?;
                break self.place.wrapping_add(end);
            };
            let special = special(u64::from_le_bytes(*eight));
            if special != 0 {
                break self.place.wrapping_add(usize::try_from(special.trailing_zeros() / 8).ok()?);
            }
            self.place = self.place.wrapping_add(8);
        };
        (*bytes.get(end)? == b'"').then_some(())?;
        self.place = end.wrapping_add(1);
        self.text.get(start..end)
    }

    /// A number, behind its first digit. What follows it is not looked at.
    fn number(&mut self, first: u8, is_negative: bool) -> Option<StaticNode> {
        let start = self.place;
        let mut number = digit(first)?;
        self.digits(&mut number);
        let whole = self.place.wrapping_sub(start);
        (whole == 0 || first != b'0').then_some(())?;
        let mut decimals = 0;
        if self.text.as_bytes().get(self.place) == Some(&b'.') {
            self.place = self.place.wrapping_add(1);
            let point = self.place;
            self.digits(&mut number);
            decimals = self.place.wrapping_sub(point);
            (decimals > 0).then_some(())?;
        }
        (whole.wrapping_add(decimals) < DIGITS_MAX).then_some(())?;
        if decimals > 0 {
            let fraction = float(number)? / POWERS.get(decimals)?;
            return Some(StaticNode::F64(if is_negative { -fraction } else { fraction }));
        }
        Some(if is_negative {
            StaticNode::I64(0_i64.wrapping_sub_unsigned(number))
        } else {
            StaticNode::U64(number)
        })
    }

    /// Adds the digits that follow to a number. Of too many the sum is of no use, and their count says so.
    fn digits(&mut self, number: &mut u64) {
        while let Some(digit) = self.text.as_bytes().get(self.place).and_then(|byte| digit(*byte)) {
            *number = number.wrapping_mul(10).wrapping_add(digit);
            self.place = self.place.wrapping_add(1);
        }
    }

    /// `null`, `true` or `false`, behind its first letter.
    fn word<const N: usize>(&mut self, rest: &[u8; N], value: StaticNode) -> Option<StaticNode> {
        (self.text.as_bytes().get(self.place..)?.first_chunk()? == rest).then_some(())?;
        self.place = self.place.wrapping_add(N);
        Some(value)
    }
}

/// The high bit of each byte that ends a text or needs a closer look: a quotation mark, a backslash, a control character.
/// Only the lowest such bit is certain.
const fn special(eight: u64) -> u64 {
    const ONES: u64 = u64::MAX / 0xFF;
    let quote = (eight ^ ONES.wrapping_mul(0x22)).wrapping_sub(ONES);
    let backslash = (eight ^ ONES.wrapping_mul(0x5C)).wrapping_sub(ONES);
    let control = eight.wrapping_sub(ONES.wrapping_mul(0x20));
    (quote | backslash | control) & !eight & (ONES << 7)
}

fn digit(byte: u8) -> Option<u64> {
    let digit = byte.wrapping_sub(b'0');
    (digit < 10).then_some(u64::from(digit))
}

/// A whole number that is a float exactly.
#[allow(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "floats have no gaps up to FRACTION_MAX"
)]
fn float(number: u64) -> Option<f64> {
    (number <= FRACTION_MAX).then_some(number as f64)
}

#[cfg(test)]
mod tests {
    use super::special;

    #[test]
    fn each_byte_of_eight_is_seen_by_itself() {
        for place in 0..8 {
            for byte in 0..=u8::MAX {
                let mut eight = *b"abcdef\xC3\xA4";
                eight[place] = byte;
                let found = special(u64::from_le_bytes(eight));
                let is_special = matches!(byte, b'"' | b'\\' | 0..0x20);
                assert_eq!(found != 0, is_special, "{byte} at {place}");
                if is_special {
                    assert_eq!(
                        usize::try_from(found.trailing_zeros() / 8).unwrap(),
                        place,
                        "{byte} at {place}"
                    );
                }
            }
        }
    }
}
