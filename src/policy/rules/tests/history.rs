//! What rules see of a card's history, held against a count by hand: over voids, evictions, snapshots, and a policy that is new.
#![allow(clippy::arithmetic_side_effects, reason = "a test that overflows fails, as it should")]

use std::{collections::BTreeSet, time::Duration};

use fastrand::Rng;

use super::*;
use crate::domain::{
    AnswerBy, CardPolicy, Decided, Decision, DecisionId, Event, NeedsHistory, Outcome, PolicyVersion, Reason,
    Source, Stages,
    rule::{AVERAGED_LEAST, Rule, Then},
    windows_in_force,
};

/// One request as the count by hand knows it.
struct Asked {
    at: Timestamp,
    approved: bool,
    granted: i64,
    merchant: Merchant,
}

/// A card with all its events, and the count by hand.
#[derive(Default)]
struct Life {
    card: Card,
    events: Vec<Event>,
    asked: Vec<Asked>,
}

fn event(request: AuthorizationRequest, outcome: Outcome, source: Source) -> Event {
    let amount = request.asked.unwrap().amount;
    let decision = Decision {
        turn: 0,
        id: DecisionId::of(&request.authorization, request.question()),
        at: request.received_at,
        outcome,
        granted: match outcome {
            Outcome::Approved => amount,
            Outcome::Partial => amount / 2,
            Outcome::Declined => 0,
        },
        reason: Reason::Approved,
        violation: None,
        limits: Vec::new(),
        largest_approvable: None,
        would_pass: None,
        challenge: false,
        ruled: None,
        excepted: None,
        policy: PolicyVersion::new("test"),
        source,
        answer_by: AnswerBy::Direct,
        stages: Stages::default(),
    };
    let decided = Box::new(Decided { request: Arc::new(request), decision });
    if source == Source::StandIn { Event::StoodIn(decided) } else { Event::Decided(decided) }
}

impl Life {
    fn apply(&mut self, event: Event) {
        self.card.apply(&event);
        self.events.push(event);
    }

    fn ask(&mut self, random: &mut Rng, number: usize, at: Timestamp) {
        let mut request = purchase();
        request.authorization = AuthorizationId::new(&format!("iauth_{number}")).unwrap();
        request.event = EventId::new(&format!("evt_{number}")).unwrap();
        request.received_at = at;
        request.merchant = Merchant {
            category: Category::named(["bakeries", "book_stores"][random.usize(..2)]).unwrap(),
            country: [None, Country::new("US"), Country::new("GB"), Country::new("DE")][random.usize(..4)],
            network_id: NetworkId::new(&format!("{:03}", random.usize(..5))),
        };
        let outcome = [Outcome::Approved, Outcome::Partial, Outcome::Declined][random.usize(..3)];
        let merchant = request.merchant.clone();
        self.apply(event(request.clone(), outcome, Source::Policy));
        let mut approved = outcome != Outcome::Declined;
        let mut granted = match outcome {
            Outcome::Approved => 45_000,
            Outcome::Partial => 22_500,
            Outcome::Declined => 0,
        };
        if random.u8(..6) == 0 {
            // The stand-in's answer takes the place of ours.
            approved = random.bool();
            let outcome = if approved { Outcome::Approved } else { Outcome::Declined };
            granted = if approved { 45_000 } else { 0 };
            self.apply(event(request, outcome, Source::StandIn));
        }
        self.asked.push(Asked { at, approved, granted, merchant });
    }

    /// The card comes back from its journal.
    fn reload(&mut self) {
        let body = crate::domain::Event::Snapshot(Box::new(self.card.clone()));
        self.card = Card::default();
        self.card.apply(&body);
    }

    /// As a node does it: from what is in memory, or from the whole chain.
    fn adopt(&mut self, policy: &CardPolicy, now: Timestamp) {
        if self.card.adopt(windows_in_force(policy, None), false, now) == Err(NeedsHistory) {
            let mut card = Card::default();
            card.adopt(windows_in_force(policy, None), false, Timestamp::default()).unwrap();
            self.events.iter().for_each(|event| card.apply(event));
            card.adopt(windows_in_force(policy, None), false, now).unwrap();
            self.card = card;
        }
    }

    fn check(&self, request: &AuthorizationRequest, now: Timestamp, seed: u64) {
        let since = |span: u64| now.minus(Duration::from_secs(span));
        let within = |span: u64| self.asked.iter().filter(move |asked| asked.at > since(span));
        let approved = |span: u64| within(span).filter(|asked| asked.approved);
        let distinct = |span: u64, of: fn(&Merchant) -> Option<String>| {
            approved(span).filter_map(|asked| of(&asked.merchant)).collect::<BTreeSet<_>>().len()
        };
        let country: fn(&Merchant) -> Option<String> =
            |merchant| merchant.country.map(|country| country.to_string());
        let id: fn(&Merchant) -> Option<String> =
            |merchant| merchant.network_id.as_ref().map(ToString::to_string);
        let ever = 1_000_000_000;
        let latest = |approved_only: bool| {
            let asked = self.asked.iter().filter(|asked| asked.approved || !approved_only);
            asked.map(|asked| asked.at).max().map(|at| now.since(at).as_secs())
        };
        let is_first = |of: fn(&Merchant) -> Option<String>| {
            let known: BTreeSet<_> = approved(ever).filter_map(|asked| of(&asked.merchant)).collect();
            of(&request.merchant).is_some_and(|value| !known.contains(&value))
        };
        let span = |seconds: Option<u64>| match seconds {
            Some(seconds) => format!("{}s", seconds.max(1)),
            None => "3650d".to_owned(),
        };
        let mut probes = vec![
            format!("attempts(1h) == {}", within(3_600).count()),
            format!("attempts(all_time) == {}", self.asked.len()),
            format!("declines(6h) == {}", within(21_600).filter(|asked| !asked.approved).count()),
            format!("count(6h) == {}", approved(21_600).count()),
            format!("distinct(merchant.country, 6h) == {}", distinct(21_600, country)),
            format!("distinct(merchant.id, all_time) == {}", distinct(ever, id)),
            format!("{}is_first(merchant.country)", if is_first(country) { "" } else { "!" }),
            format!("{}is_first(merchant.id)", if is_first(id) { "" } else { "!" }),
        ];
        let (count, sum) = (approved(ever).count(), approved(ever).map(|asked| asked.granted).sum::<i64>());
        probes.push(match i64::try_from(count) {
            Ok(count) if count >= AVERAGED_LEAST => {
                format!("has(average(all_time)) && average(all_time) == {}", sum / count)
            }
            _ => "!has(average(all_time))".to_owned(),
        });
        for (name, seconds) in [("attempt", latest(false)), ("approval", latest(true))] {
            if seconds != Some(0) {
                let order = if seconds.is_some() { "==" } else { ">" };
                probes.push(format!("since_last({name}) {order} {}", span(seconds)));
            }
        }
        let facts = Facts::new(&self.card, request, request.asked.unwrap(), now);
        for probe in probes {
            let condition = compiled(&probe).unwrap_or_else(|errors| panic!("{probe}: {errors:?}"));
            let traced = trace(&condition, &facts);
            assert!(condition.holds(&facts), "seed {seed}: {probe}, found {traced:?}");
        }
    }
}

const ALL: &str = "attempts(1h) + attempts(all_time) + declines(6h) + count(6h) > 0 || distinct(merchant.country, 6h) > 0 || \
     distinct(merchant.id, all_time) > 0 || is_first(merchant.country) || is_first(merchant.id) || has(average(all_time))";

#[test]
fn a_history_is_what_a_count_by_hand_makes_of_it() {
    let with = |text: &str| {
        let mut policy = CardPolicy::permissive(PolicyVersion::new("test"));
        policy.rules = [Rule::new("r".into(), compiled(text).unwrap(), Then::Flag, None)].into();
        policy
    };
    let (all, few) = (with(ALL), with("count(6h) > 0"));
    for seed in 0..60 {
        let mut random = Rng::with_seed(seed);
        let mut life = Life::default();
        let mut now = Timestamp::parse(NOW).unwrap();
        for number in 0..60 {
            now = now.plus(Duration::from_secs(random.u64(1..4_000)));
            // Most of the time the policy looks at the history; one that does again has to have it all.
            life.adopt(if random.u8(..5) == 0 { &few } else { &all }, now);
            life.ask(&mut random, number, now);
            if random.u8(..8) == 0 {
                now = now.plus(Duration::from_hours(random.u64(1..40)));
                life.card.forget(now);
            }
            if random.u8(..8) == 0 {
                life.reload();
            }
            let later = now.plus(Duration::from_secs(random.u64(0..9_000)));
            life.adopt(&all, later);
            let mut request = purchase();
            request.merchant.network_id = NetworkId::new(&format!("{:03}", random.usize(..6)));
            life.check(&request, later, seed);
            now = later;
        }
    }
}
