//! Reading single values as people write them: spans, sizes, counts, stand-in answers, velocities. Each reader gives
//! the value or nothing; what was expected stands in the table.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use crate::{
    actors::{StandIn, StandInRule},
    domain::{AMOUNT_MAX, Answering, Interval, parse_span},
    journal::{Location, Loss},
    log::Filter,
};

/// `1200ms`, `5s`, `5m`, `1h 30m`.
pub(super) fn span(text: &str) -> Option<Duration> {
    let with_unit = text.bytes().any(|byte| byte.is_ascii_alphabetic());
    with_unit.then(|| humantime::parse_duration(text).ok()).flatten()
}

/// `64`, `100_000`.
pub(super) fn count(text: &str) -> Option<usize> {
    usize::try_from(digits(text)?).ok()
}

/// `256KiB`, `1MiB`, `65_536`, `65536B`.
pub(super) fn bytes(text: &str) -> Option<usize> {
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(unit_at)?;
    let factor: usize = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        _ => return None,
    };
    count(number.trim_end())?.checked_mul(factor)
}

/// Minor units: more than none, and few enough to be summed exactly.
pub(super) fn amount(text: &str) -> Option<i64> {
    let amount = i64::try_from(digits(text)?).ok()?;
    (1..=AMOUNT_MAX).contains(&amount).then_some(amount)
}

/// Digits, with `_` between them where it helps the eye.
fn digits(text: &str) -> Option<u64> {
    let well_formed = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_')
        && text.bytes().next().is_some_and(|byte| byte.is_ascii_digit())
        && text.bytes().last().is_some_and(|byte| byte.is_ascii_digit());
    well_formed.then(|| text.replace('_', "").parse().ok()).flatten()
}

/// `127.0.0.1:4242`, `[::1]:4242`, `localhost:4242`.
pub(super) fn address(text: &str) -> Option<SocketAddr> {
    match text.strip_prefix("localhost:") {
        Some(port) => port.parse().ok().map(|port: u16| SocketAddr::from(([127, 0, 0, 1], port))),
        None => text.parse().ok(),
    }
}

/// A short name that can stand in a URL.
pub(super) fn node_id(text: &str) -> Option<String> {
    let usable = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    (usable && (1..=64).contains(&text.len())).then(|| text.to_owned())
}

/// `10.0.0.5:4243`, `[::1]:4243`, `tollgate-a.internal:4243`.
pub(super) fn peer_address(text: &str) -> Option<String> {
    let (host, port) = text.rsplit_once(':')?;
    let is_ip = text.parse::<SocketAddr>().is_ok();
    let is_name = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
    let usable = !host.is_empty() && (is_ip || is_name) && port.parse::<u16>().is_ok_and(|port| port > 0);
    usable.then(|| text.to_owned())
}

/// `true` or `false`.
pub(super) fn switch(text: &str) -> Option<bool> {
    text.parse().ok()
}

/// A level, or directives. A word that is no level would be taken for the name of a module, and hide every line.
pub(super) fn log_filter(text: &str) -> Option<Filter> {
    text.parse().ok()
}

/// `sqlite:./data/tollgate.db`, `memory:` or `postgres://…`.
pub(super) fn journal(text: &str) -> Option<Location> {
    text.parse().ok()
}

/// `restore`, `stop` or `accept`.
pub(super) fn loss(text: &str) -> Option<Loss> {
    match text {
        "restore" => Some(Loss::Restore),
        "stop" => Some(Loss::Stop),
        "accept" => Some(Loss::Accept),
        _ => None,
    }
}

/// The path of a directory.
pub(super) fn directory(text: &str) -> Option<PathBuf> {
    (!text.is_empty() && !text.contains('\0')).then(|| PathBuf::from(text))
}

/// `decline`, `approve:5000x3`, or one of them by cause: `overload=decline,deadline=approve:2000`. A cause is named once.
pub(super) fn stand_in(text: &str) -> Option<StandIn> {
    if !text.contains('=') {
        let answer = stand_in_answer(text)?;
        return Some(StandIn { overload: answer, deadline: answer, journal: answer });
    }
    let (mut overload, mut deadline, mut journal) = (None, None, None);
    for part in text.split(',') {
        let (cause, answer) = part.split_once('=')?;
        let place = match cause.trim() {
            "overload" => &mut overload,
            "deadline" => &mut deadline,
            "journal" => &mut journal,
            _ => return None,
        };
        if place.replace(stand_in_answer(answer.trim())?).is_some() {
            return None;
        }
    }
    let or_decline = |answer: Option<StandInRule>| answer.unwrap_or(StandInRule::Decline);
    Some(StandIn {
        overload: or_decline(overload),
        deadline: or_decline(deadline),
        journal: or_decline(journal),
    })
}

/// How often a card is approved in a day, where the setting does not say.
const STAND_IN_APPROVALS: &str = "3";

fn stand_in_answer(text: &str) -> Option<StandInRule> {
    match text.split_once(':') {
        None => (text == "decline").then_some(StandInRule::Decline),
        Some(("approve", most)) => {
            let (most, times) = most.split_once('x').unwrap_or((most, STAND_IN_APPROVALS));
            let approvals_max = u32::try_from(amount(times)?).ok()?;
            amount(most).map(|amount_max| StandInRule::Approve { amount_max, approvals_max })
        }
        Some(_) => None,
    }
}

/// `direct`, `api`, or `split:10`: so many in a hundred directly.
pub(super) fn answering(text: &str) -> Option<Answering> {
    match text.split_once(':') {
        None if text == "direct" => Some(Answering::DIRECT),
        None if text == "api" => Some(Answering::API),
        Some(("split", percent)) => Answering::split(u8::try_from(digits(percent)?).ok()?),
        None | Some(_) => None,
    }
}

/// `10/1h,50/24h`: so many approvals in so long.
pub(super) fn velocity(text: &str) -> Option<Vec<(i64, Interval)>> {
    let parts = text.split(',').map(|part| {
        let (most, window) = part.trim().split_once('/')?;
        Some((amount(most)?, Interval::Rolling(parse_span(window)?)))
    });
    parts.collect()
}

#[cfg(test)]
mod tests;
