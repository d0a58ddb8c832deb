//! The known name that a misspelt one was probably meant to be.

/// The candidate that is closest to `name` in typing errors; else the shortest one that contains it. None where
/// nothing is close enough to be worth saying.
pub(crate) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = folded(name);
    let letters = wanted.chars().count();
    let mut closest: Option<(usize, &str)> = None;
    let mut container: Option<&str> = None;
    for candidate in candidates {
        let known = folded(candidate);
        let distance = strsim::osa_distance(&wanted, &known);
        if closest.is_none_or(|(least, _)| distance < least) {
            closest = Some((distance, candidate));
        }
        let contains = letters >= CONTAINED_LETTERS_MIN && known.contains(&wanted);
        if contains && container.is_none_or(|shortest| candidate.len() < shortest.len()) {
            container = Some(candidate);
        }
    }
    let typing_errors_max = letters.div_euclid(3).max(1);
    let misspelt = closest.filter(|(distance, _)| *distance <= typing_errors_max).map(|(_, name)| name);
    misspelt.or(container)
}

/// A part of a name that is shorter than this is in too many names to mean one.
const CONTAINED_LETTERS_MIN: usize = 4;

/// Case and the choice between `-`, `_` and a space are no difference in what was meant.
fn folded(name: &str) -> String {
    name.chars().map(|c| if matches!(c, '-' | ' ') { '_' } else { c.to_ascii_lowercase() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_is_found_and_a_strange_one_is_not() {
        let names =
            ["betting_casino_gambling", "fast_food_restaurants", "eating_places_restaurants", "daily"];
        let check = |text, expected| assert_eq!(nearest(text, names), expected, "{text}");
        check("fast_food_restaurant", Some("fast_food_restaurants"));
        check("Fast-Food Restaurants", Some("fast_food_restaurants"));
        check("dialy", Some("daily"));
        check("casino", Some("betting_casino_gambling"));
        check("restaurants", Some("fast_food_restaurants"));
        check("zzz", None);
        check("", None);
    }
}
