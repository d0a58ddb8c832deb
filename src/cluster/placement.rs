//! Rendezvous hashing: which of several nodes owns an account. Every node that knows the same names gives the same
//! owner, without asking anybody. Who is alive is not known here.

use std::hash::Hasher as _;

use twox_hash::XxHash64;

/// Nodes by their names. Each of them has a score for each account, and the highest score owns it: a node that comes
/// takes its part from all others alike, and a node that goes leaves its part to all others alike. Nothing else moves.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Placement {
    /// The nodes, in the order in which they were named.
    nodes: Box<[Box<str>]>,
}

impl Placement {
    /// Places accounts on these nodes.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        Self { nodes: names.into_iter().map(Box::from).collect() }
    }

    /// The place of the owner among the nodes, in the order in which they were named. Nothing where there is no node.
    #[must_use]
    pub fn owner(&self, account: &str) -> Option<usize> {
        self.owner_among(account, |_| true)
    }

    /// The place of the one that owns the account where only some nodes count: so all agree who is next, too.
    pub fn owner_among(&self, account: &str, counts: impl Fn(usize) -> bool) -> Option<usize> {
        let nodes = self.nodes.iter().enumerate().filter(|(place, _)| counts(*place));
        nodes.map(|(place, node)| (score(account, node), place)).max().map(|(_, place)| place)
    }

    /// The part of all accounts that each node owns: counted on a sample, to within about one in a hundred.
    #[must_use]
    pub fn shares(&self) -> Vec<f64> {
        const SAMPLE: u32 = 8_192;
        let mut owned = vec![0_u32; self.nodes.len()];
        for account in 0..SAMPLE {
            if let Some(count) = self.owner(&account.to_string()).and_then(|place| owned.get_mut(place)) {
                *count = count.saturating_add(1);
            }
        }
        owned.into_iter().map(|count| f64::from(count) / f64::from(SAMPLE)).collect()
    }
}

/// The lower 63 bits of XXH64 of `account/node`: what a load balancer can compute and compare too, so that it sends a
/// request to the owner itself (`deploy/haproxy.cfg` does).
fn score(account: &str, node: &str) -> u64 {
    let mut hasher = XxHash64::with_seed(0);
    hasher.write(account.as_bytes());
    hasher.write(b"/");
    hasher.write(node.as_bytes());
    hasher.finish() & (u64::MAX >> 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CARDS: usize = 60_000;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|n| format!("tollgate-{n}")).collect()
    }

    fn placed(names: &[String]) -> Vec<usize> {
        let placement = Placement::new(names.iter().map(String::as_str));
        (0..CARDS).map(|n| placement.owner(&format!("ic_1NvPyY2eZvKYlo2C{n:08}")).unwrap()).collect()
    }

    /// How far a count of `CARDS` draws, each with this chance, may be from its mean: five standard deviations.
    fn tolerance(chance: f64) -> f64 {
        5.0 * (f64::from(u32::try_from(CARDS).unwrap()) * chance * (1.0 - chance)).sqrt()
    }

    fn is_near(count: usize, chance: f64) -> bool {
        let [count, all] = [count, CARDS].map(|n| f64::from(u32::try_from(n).unwrap()));
        (count - all * chance).abs() <= tolerance(chance)
    }

    #[test]
    fn a_node_that_comes_takes_its_part_from_all_alike_and_nothing_else_moves() {
        for nodes in [1, 2, 3, 5, 20, 100] {
            let (before, after) = (placed(&names(nodes)), placed(&names(nodes + 1)));
            let mut taken = vec![0; nodes];
            for (before, after) in before.iter().zip(&after).filter(|(before, after)| before != after) {
                assert_eq!(*after, nodes, "a card went from one old node to another");
                taken[*before] += 1;
            }
            let part = 1.0 / f64::from(u32::try_from(nodes + 1).unwrap());
            assert!(is_near(taken.iter().sum(), part), "{nodes} nodes: {taken:?}");
            let each = part / f64::from(u32::try_from(nodes).unwrap());
            assert!(taken.iter().all(|taken| is_near(*taken, each)), "{nodes} nodes: {taken:?}");
        }
    }

    #[test]
    fn a_node_that_goes_leaves_its_part_to_all_alike_and_nothing_else_moves() {
        let all = names(5);
        let (gone, left) = (2, [0, 1, 3, 4]);
        let remaining: Vec<String> = left.iter().map(|n| all[*n].clone()).collect();
        let mut inherited = [0; 4];
        for (before, after) in placed(&all).into_iter().zip(placed(&remaining)) {
            if before == gone {
                inherited[after] += 1;
            } else {
                assert_eq!(before, left[after], "a card of a node that stayed has moved");
            }
        }
        assert!(inherited.iter().all(|count| is_near(*count, 0.05)), "{inherited:?}");
    }

    #[test]
    fn cards_are_spread_evenly() {
        for nodes in [2, 3, 7, 50] {
            let mut owned = vec![0; nodes];
            for owner in placed(&names(nodes)) {
                owned[owner] += 1;
            }
            let part = 1.0 / f64::from(u32::try_from(nodes).unwrap());
            assert!(owned.iter().all(|count| is_near(*count, part)), "{nodes} nodes: {owned:?}");
            let shares = Placement::new(names(nodes).iter().map(String::as_str)).shares();
            assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{shares:?}");
        }
    }

    #[test]
    fn the_order_of_the_names_does_not_matter() {
        let mut reversed = names(9);
        reversed.reverse();
        for (one, other) in placed(&names(9)).into_iter().zip(placed(&reversed)) {
            assert_eq!(one, 8 - other);
        }
    }

    /// Old and new versions run side by side during an upgrade: they have to agree.
    #[test]
    fn every_version_places_a_card_on_the_same_node() {
        let placement = Placement::new(["node-a", "node-b", "node-c"]);
        let owners = ["ic_1", "ic_2", "ic_3", "ic_4", "ic_5", "ic_6", "ic_7", "ic_8"];
        let owners = owners.map(|card| placement.owner(card).unwrap());
        // As the reference implementation of XXH64 has it.
        assert_eq!(owners, [1, 0, 2, 0, 2, 1, 1, 1]);
        assert_eq!(Placement::new([]).owner("ic_1"), None);
    }
}
