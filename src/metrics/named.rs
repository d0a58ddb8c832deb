//! Series whose label is a name that the policy in force declares: they come and go with it. Of many names the first have a
//! series each, and all others share one.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Mutex, PoisonError},
};

use super::{begin, catalogue::Family, label::OTHER};

/// How many names have a series of their own, for each family.
pub const NAMES_MAX: usize = 32;

/// One value for each name in force, and one for all others.
#[derive(Debug)]
pub struct Named {
    family: &'static Family,
    /// None where there is nothing to show.
    values: Mutex<BTreeMap<String, Option<f64>>>,
}

impl Named {
    /// Without names: only what all others share.
    pub(super) fn new(family: &'static Family) -> Self {
        Self { family, values: Mutex::new(BTreeMap::from([(OTHER.to_owned(), Some(0.0))])) }
    }

    /// From here on these names have series, the first [`NAMES_MAX`] of them. What a name has counted stays.
    pub(super) fn name<'a>(&self, names: impl Iterator<Item = &'a str>) {
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::take(&mut *values);
        let names = names.filter(|name| *name != OTHER).take(NAMES_MAX).chain([OTHER]);
        *values =
            names.map(|name| (name.to_owned(), before.get(name).copied().unwrap_or(Some(0.0)))).collect();
    }

    /// Counts one more under this name.
    pub fn increment(&self, name: &str) {
        self.change(name, |value| Some(value.unwrap_or(0.0) + 1.0));
    }

    /// Shows exactly these values: those of names without a series together as `joined` joins them, and nothing under a name
    /// that is not among them.
    pub fn show<'a>(&self, values: impl Iterator<Item = (&'a str, f64)>, joined: impl Fn(f64, f64) -> f64) {
        for value in self.values.lock().unwrap_or_else(PoisonError::into_inner).values_mut() {
            *value = None;
        }
        for (name, value) in values {
            self.change(name, |known| Some(known.map_or(value, |known| joined(known, value))));
        }
    }

    fn change(&self, name: &str, change: impl Fn(Option<f64>) -> Option<f64>) {
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let name = if values.contains_key(name) { name } else { OTHER };
        if let Some(value) = values.get_mut(name) {
            *value = change(*value);
        }
    }

    /// Its series in Prometheus' text format.
    pub(super) fn write(&self, text: &mut String) {
        begin(text, self.family);
        let Family { name, labels, .. } = self.family;
        let label = labels.first().map_or("", |(label, _)| *label);
        for (value_of, value) in self.values.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let Some(value) = value else { continue };
            let value_of = value_of.replace('\\', r"\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = writeln!(text, "{name}{{{label}=\"{value_of}\"}} {value}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::catalogue::BUDGET_DECLINES, *};

    fn lines(named: &Named) -> Vec<String> {
        let mut text = String::new();
        named.write(&mut text);
        text.lines().filter_map(|line| Some(line.split_once("budget=")?.1.to_owned())).collect()
    }

    #[test]
    fn names_come_and_go_with_the_policy_and_keep_what_they_have_counted() {
        let named = Named::new(&BUDGET_DECLINES);
        named.increment("a");
        assert_eq!(lines(&named), ["\"other\"} 1"]);
        named.name(["a", "b"].into_iter());
        for name in ["a", "a", "stranger"] {
            named.increment(name);
        }
        assert_eq!(lines(&named), ["\"a\"} 2", "\"b\"} 0", "\"other\"} 2"]);
        named.name(["a"].into_iter());
        assert_eq!(lines(&named), ["\"a\"} 2", "\"other\"} 2"]);
    }

    #[test]
    fn the_number_of_series_is_bounded_whatever_the_policy_declares() {
        let named = Named::new(&BUDGET_DECLINES);
        let budgets: Vec<String> = (0..1_000).map(|number| format!("b{number:04}")).collect();
        named.name(budgets.iter().map(String::as_str));
        for budget in &budgets {
            named.increment(budget);
        }
        let lines = lines(&named);
        assert_eq!(lines.len(), NAMES_MAX + 1);
        assert_eq!(lines[0], "\"b0000\"} 1");
        assert_eq!(lines[NAMES_MAX], format!("\"other\"}} {}", 1_000 - NAMES_MAX));
    }

    #[test]
    fn what_is_not_shown_has_no_series() {
        let named = Named::new(&BUDGET_DECLINES);
        named.name(["a", "b"].into_iter());
        named.show([("a", 0.5), ("c", 0.25), ("d", 0.75)].into_iter(), f64::max);
        assert_eq!(lines(&named), ["\"a\"} 0.5", "\"other\"} 0.75"]);
        named.show([].into_iter(), f64::max);
        assert!(lines(&named).is_empty());
    }
}
