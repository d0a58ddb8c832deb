//! Money that many cards share, as a scenario has it: departments of one company, and customers with a balance. Which card
//! shares what, the policy that nodes need for it, and when balances are credited. What is used of it is elsewhere.

use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};

use crate::scenario::Limits;

/// One card of so many is a customer's; the others are the company's.
const CUSTOMER_CARD_EVERY: u64 = 10;

/// More could not all be credited before the first question: see [`crate::credits::NEWS_MAX`].
const CUSTOMERS_MAX: u64 = 10_000;

/// Budgets of a scenario. Amounts are in cents: with budgets, all cards are in dollars.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budgets {
    /// How many departments the company has; each card of the company belongs to one.
    pub departments: u64,
    /// What each department may spend in a day (UTC).
    pub department_daily: i64,
    /// What the company may spend for ever.
    pub company_all_time: i64,
    /// How many customers there are; the cards of each share a balance.
    pub customers: u64,
    /// How often each balance is credited: once before the first question, and then evenly over the run.
    pub credits: u32,
    /// How much each time.
    pub credit: i64,
}

/// What a card shares.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Share {
    /// The budget of a department, and that of the company above it.
    Department(u64),
    /// The balance of a customer.
    Customer(u64),
}

/// An account that cards share.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Account {
    /// That of the company.
    Company,
    /// That of a department.
    Department(u64),
    /// That of a customer.
    Customer(u64),
}

impl Share {
    /// The accounts that a card with this share charges, besides its own.
    #[must_use]
    pub fn accounts(self) -> Vec<Account> {
        match self {
            Self::Department(number) => vec![Account::Department(number), Account::Company],
            Self::Customer(number) => vec![Account::Customer(number)],
        }
    }
}

/// What a card's metadata has for it, as members of a JSON object.
impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Department(number) => write!(f, "\"department\":\"d{number}\""),
            Self::Customer(number) => {
                write!(f, "\"customer\":\"c{number}\",\"tollgate_group\":\"customers\"")
            }
        }
    }
}

impl Account {
    /// Where the admin API has it, behind `/v1/budgets/`; in decisions, behind `budget:`.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Company => "company".to_owned(),
            Self::Department(number) => format!("department/d{number}"),
            Self::Customer(number) => format!("customer/c{number}"),
        }
    }
}

impl Budgets {
    /// What the card of this number shares.
    #[must_use]
    pub fn share(&self, card: u64) -> Share {
        let of_customer = card.checked_rem(CUSTOMER_CARD_EVERY) == Some(0);
        let customer = card.checked_div(CUSTOMER_CARD_EVERY).unwrap_or_default().checked_rem(self.customers);
        if let Some(customer) = customer.filter(|_| of_customer) {
            return Share::Customer(customer);
        }
        // Counted without the customers' cards, so that each department has some.
        let before = card.checked_div(CUSTOMER_CARD_EVERY).unwrap_or_default().saturating_add(1);
        let place = card.saturating_sub(before);
        Share::Department(place.checked_rem(self.departments).unwrap_or_default())
    }

    /// The limit of an account on what is held and captured; none of a balance.
    #[must_use]
    pub const fn limit(&self, account: Account) -> Option<i64> {
        match account {
            Account::Company => Some(self.company_all_time),
            Account::Department(_) => Some(self.department_daily),
            Account::Customer(_) => None,
        }
    }

    /// The policy that nodes need, with these limits of each card.
    #[must_use]
    pub fn policy(&self, limits: &Limits) -> String {
        let mut of_cards = Vec::new();
        for (interval, limit) in [
            ("per_authorization", limits.per_authorization),
            ("daily", limits.daily),
            ("all_time", limits.all_time),
        ] {
            of_cards.extend(limit.map(|limit| format!("{{amount: {limit}, interval: {interval}}}")));
        }
        let mut text = String::from("version: 1\ncurrency: usd\nbudgets:\n");
        let _ = write!(
            text,
            "  company: {{spending_limits: [{{amount: {}, interval: all_time}}], owners: [finance]}}\n  \
             department: {{parent: company, per: card.metadata.department, spending_limits: [{{amount: {}, interval: daily}}]}}\n  \
             customer: {{per: card.metadata.customer, prepaid: true}}\n\
             default:\n  budgets: [department]\n  spending_limits: [{}]\n\
             groups:\n  customers: {{budgets: [customer]}}\n",
            self.company_all_time,
            self.department_daily,
            of_cards.join(", "),
        );
        text
    }

    /// What is wrong with them.
    ///
    /// # Errors
    /// Something is: what was expected.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.departments == 0 || self.department_daily <= 0 || self.company_all_time <= 0 {
            return Err("budgets of at least one department, with limits above 0");
        }
        if self.customers > CUSTOMERS_MAX {
            return Err("at most 10000 customers");
        }
        if self.customers > 0 && (self.credits == 0 || self.credit <= 0) {
            return Err("customers whose balances are credited at least once, with an amount above 0");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGETS: Budgets = Budgets {
        departments: 4,
        department_daily: 100,
        company_all_time: 300,
        customers: 3,
        credits: 2,
        credit: 50,
    };

    #[test]
    fn cards_are_spread_over_departments_and_customers() {
        let shares: Vec<Share> = (0..400).map(|card| BUDGETS.share(card)).collect();
        let of_many = Budgets { departments: 40, ..BUDGETS };
        let spread: Vec<Share> = (0..2_000).map(|card| of_many.share(card)).collect();
        assert!((0..40).all(|number| spread.contains(&Share::Department(number))));
        for number in 0..4 {
            assert!(shares.contains(&Share::Department(number)), "{number}");
        }
        for number in 0..3 {
            assert!(shares.contains(&Share::Customer(number)), "{number}");
        }
        let customers = shares.iter().filter(|share| matches!(share, Share::Customer(_))).count();
        assert_eq!(customers, 40);
    }

    #[test]
    fn a_mistake_says_what_was_expected() {
        assert_eq!(BUDGETS.check(), Ok(()));
        assert!(Budgets { departments: 0, ..BUDGETS }.check().is_err());
        assert!(Budgets { credits: 0, ..BUDGETS }.check().is_err());
        assert_eq!(Budgets { customers: 0, credits: 0, ..BUDGETS }.check(), Ok(()));
    }
}
