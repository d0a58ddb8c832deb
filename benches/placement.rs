//! Placement and rebalancing at 1,000 nodes and a billion cards, without a cluster: which node owns a card is a pure
//! function, so that it can be asked for any number of either. A billion cards are drawn by a sample of them, and what
//! follows for all is computed from the sample and said to be. `cargo bench --bench placement` prints the tables of
//! docs/scaling.md; as a test it makes a small pass.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::arithmetic_side_effects,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench that is wrong shall stop"
)]

use std::{hint::black_box, time::Instant};

use tollgate::cluster::Placement;

const ALL_CARDS: f64 = 1e9;

/// How much is drawn.
struct Scale {
    nodes: usize,
    cards: usize,
}

fn main() {
    let is_test = !std::env::args().any(|argument| argument == "--bench");
    if std::env::args().any(|argument| argument == "--list") {
        return println!("placement_at_scale: test");
    }
    let scale =
        if is_test { Scale { nodes: 50, cards: 20_000 } } else { Scale { nodes: 1_000, cards: 500_000 } };
    println!("{} nodes, a sample of {} of {ALL_CARDS:e} cards\n", scale.nodes, scale.cards);
    let cards: Vec<String> = (0..scale.cards).map(card).collect();
    let before = owners(&names(scale.nodes), &cards);
    spread(&scale, &before);
    traffic(&scale, &before);
    rebalancing(&scale, &cards, &before);
    cost(is_test);
}

/// Ids as Stripe makes them: the same beginning, and then letters and digits in no order.
fn card(number: usize) -> String {
    let mut random = fastrand::Rng::with_seed(number as u64);
    let tail: String = (0..24).map(|_| random.alphanumeric()).collect();
    format!("ic_{tail}")
}

fn names(nodes: usize) -> Vec<String> {
    (0..nodes).map(|n| format!("tollgate-{n}")).collect()
}

fn owners(names: &[String], cards: &[String]) -> Vec<usize> {
    let placement = Placement::new(names.iter().map(String::as_str));
    cards.iter().map(|card| placement.owner(card).unwrap()).collect()
}

/// Whether the counts scatter as draws do. If they do, what holds for the sample holds for all, at their own scatter.
fn spread(scale: &Scale, owners: &[usize]) {
    let mut owned = vec![0_u32; scale.nodes];
    for owner in owners {
        owned[*owner] += 1;
    }
    let mean = scale.cards as f64 / scale.nodes as f64;
    let square = owned.iter().map(|count| (f64::from(*count) - mean).powi(2) / mean).sum::<f64>();
    let per_degree = square / (scale.nodes - 1) as f64;
    // The statistic of a fair draw has mean 1 and this standard deviation.
    let tolerance = (2.0 / (scale.nodes - 1) as f64).sqrt();
    let [least, most] = [owned.iter().min(), owned.iter().max()].map(|count| f64::from(*count.unwrap()));
    println!("cards a node, in the sample: {mean:.0} on average, {least} to {most}");
    println!("  scatter against a fair draw: {per_degree:.3} (1 +- {tolerance:.3})");
    let all = ALL_CARDS / scale.nodes as f64;
    let deviation = (all * (1.0 - 1.0 / scale.nodes as f64)).sqrt();
    // The expected extreme of so many normal draws.
    let extreme = (2.0 * (scale.nodes as f64).ln()).sqrt();
    println!(
        "  a fair draw of all cards: {all:.0} +- {deviation:.0} a node, the fullest about {:.2} % above\n",
        100.0 * extreme * deviation / all
    );
    assert!((per_degree - 1.0).abs() < 6.0 * tolerance, "cards are not spread evenly: {per_degree}");
}

/// Cards are not alike: with Zipf's law, the most used card has a part of all traffic that no placement can divide.
fn traffic(scale: &Scale, owners: &[usize]) {
    println!("traffic a node, where the n-th card is used in proportion to 1/n^s:");
    for exponent in [0.0, 0.5, 0.8, 1.0] {
        let mut load = vec![0.0; scale.nodes];
        for (rank, owner) in owners.iter().enumerate() {
            load[*owner] += ((rank + 1) as f64).powf(-exponent);
        }
        let total: f64 = load.iter().sum();
        let mean = total / scale.nodes as f64;
        let most = load.iter().copied().fold(0.0, f64::max);
        println!(
            "  s = {exponent}: the busiest node has {:.2} times the average; the busiest card alone {:.3} % of all",
            most / mean,
            100.0 / total
        );
    }
    println!();
}

fn rebalancing(scale: &Scale, cards: &[String], before: &[usize]) {
    let all = names(scale.nodes);
    println!("rebalancing {} nodes:", scale.nodes);
    let step = |what: &str, names: &[String], expected: f64| {
        let place = |owner: usize| all.get(owner).cloned().unwrap_or_default();
        let after = owners(names, cards);
        let moved = before.iter().zip(&after).filter(|(before, after)| place(**before) != names[**after]);
        let moved = moved.count() as f64 / scale.cards as f64;
        println!(
            "  {what}: {:.4} % of the cards move (at least {:.4} % must); of a billion {:.0}",
            100.0 * moved,
            100.0 * expected,
            ALL_CARDS * moved
        );
        let tolerance = 6.0 * (expected / scale.cards as f64).sqrt();
        assert!((moved - expected).abs() < tolerance, "{what}: {moved} moved, {expected} expected");
    };
    let nodes = scale.nodes as f64;
    step("one node more", &names(scale.nodes + 1), 1.0 / (nodes + 1.0));
    step("one node less", &all[1..], 1.0 / nodes);
    step("a tenth more", &names(scale.nodes * 11 / 10), 1.0 - 1.0 / 1.1);
    let less: Vec<String> =
        all.iter().enumerate().filter(|(n, _)| n % 10 != 0).map(|(_, name)| name.clone()).collect();
    step("a tenth less", &less, 0.1);
    println!();
}

fn cost(is_test: bool) {
    println!("finding the owner of a card:");
    for nodes in [1, 3, 10, 100, 1_000] {
        let names = names(nodes);
        let placement = Placement::new(names.iter().map(String::as_str));
        let cards: Vec<String> = (0..1_000).map(card).collect();
        let rounds = if is_test { 1 } else { 200_000 / nodes.max(20) };
        let started = Instant::now();
        for _ in 0..rounds {
            for card in &cards {
                black_box(placement.owner(black_box(card)));
            }
        }
        let each = started.elapsed().as_secs_f64() / (rounds * cards.len()) as f64;
        println!("  {nodes:5} nodes: {:.0} ns", each * 1e9);
    }
}
