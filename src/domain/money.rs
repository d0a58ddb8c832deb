//! Amounts: whole minor units of one currency. No floats, no arithmetic that can wrap, no sum across currencies.

use std::{fmt, str::FromStr};

/// The largest amount that is taken for one, in minor units: thousands of them still fit a sum.
pub const AMOUNT_MAX: i64 = 1_000_000_000_000_000;

/// A currency by its ISO 4217 code, lower case as Stripe writes it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

/// A text that is no currency code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a currency as three letters such as `usd`, found `{0}`")]
pub struct NotACurrency(String);

impl Currency {
    /// The United States dollar.
    pub const USD: Self = Self(*b"usd");

    /// The code in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("???")
    }

    /// How many decimals an amount of this currency has in Stripe's API
    /// (<https://docs.stripe.com/currencies#zero-decimal>). `isk` and `ugx` have none in the world but two there.
    #[must_use]
    pub fn decimals(self) -> u32 {
        match &self.0 {
            b"bif" | b"clp" | b"djf" | b"gnf" | b"jpy" | b"kmf" | b"krw" | b"mga" | b"pyg" | b"rwf"
            | b"vnd" | b"vuv" | b"xaf" | b"xof" | b"xpf" => 0,
            b"bhd" | b"jod" | b"kwd" | b"omr" | b"tnd" => 3,
            _ => 2,
        }
    }

    /// One unit of the currency in minor units: 100 for dollars, 1 for yen.
    #[must_use]
    pub fn unit(self) -> i64 {
        10_i64.saturating_pow(self.decimals())
    }
}

impl FromStr for Currency {
    type Err = NotACurrency;

    fn from_str(text: &str) -> Result<Self, NotACurrency> {
        match text.as_bytes() {
            [a, b, c] if [a, b, c].iter().all(|byte| byte.is_ascii_alphabetic()) => {
                Ok(Self([*a, *b, *c].map(|byte| byte.to_ascii_lowercase())))
            }
            _ => Err(NotACurrency(text.chars().take(16).collect())),
        }
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An amount in minor units of a currency.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Money {
    /// Minor units: cents of a dollar, whole yen, thousandths of a dinar.
    pub amount: i64,
    /// What they are units of.
    pub currency: Currency,
}

impl Money {
    /// `amount` minor units of `currency`.
    #[must_use]
    pub const fn new(amount: i64, currency: Currency) -> Self {
        Self { amount, currency }
    }
}

/// For people: `20.00 USD`, `500 JPY`, `-1.250 KWD`.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", Plain(*self), self.currency.as_str().to_ascii_uppercase())
    }
}

impl fmt::Debug for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The amount for people without its currency: `20.00`.
pub(crate) struct Plain(pub(crate) Money);

impl fmt::Display for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Money { amount, currency } = self.0;
        let sign = if amount < 0 { "-" } else { "" };
        let digits = usize::try_from(currency.decimals()).unwrap_or(0);
        let unit = currency.unit().unsigned_abs().max(1);
        let (whole, part) = (amount.unsigned_abs().div_euclid(unit), amount.unsigned_abs().rem_euclid(unit));
        if digits == 0 { write!(f, "{sign}{whole}") } else { write!(f, "{sign}{whole}.{part:0digits$}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_read_as_their_currency_is_written() {
        let check = |amount, currency: &str, expected: &str| {
            assert_eq!(Money::new(amount, currency.parse().unwrap()).to_string(), expected);
        };
        check(2_000, "usd", "20.00 USD");
        check(5, "USD", "0.05 USD");
        check(-1_250, "kwd", "-1.250 KWD");
        check(500, "jpy", "500 JPY");
        check(100, "isk", "1.00 ISK");
        check(i64::MIN, "usd", "-92233720368547758.08 USD");
    }

    #[test]
    fn a_currency_is_three_letters() {
        assert!("us".parse::<Currency>().is_err());
        assert!("u$d".parse::<Currency>().is_err());
        assert_eq!("EuR".parse::<Currency>().unwrap().as_str(), "eur");
    }
}
