//! `tollgate demo`: a newcomer's first minutes. A node of its own is asked real, signed questions over real sockets, is
//! stopped and started in the middle, and is compared with what it should say. The questions are in `story`; the story
//! of several nodes is in `cluster`.

mod story;
mod cluster;
mod client;
mod burst;
mod balancer;
mod connection;
mod home;
mod fleet;
mod leash;
mod database;
mod page;

pub mod order;
pub mod purchase;
pub mod tail;

use std::io::{self, Write};

use crate::{
    cli::{DemoOptions, Verdict, check::Colours, interrupt::Interrupt},
    clock,
    node::Node,
};
use balancer::Targets;
use burst::Buyers;
use client::Client;
use home::Home;
use page::{Page, amount};
use story::Told;

/// Plays the demo. It checks itself: exit code 1 where anything is not as expected.
///
/// # Errors
/// The output cannot be written, or the system has no threads for us.
pub fn run(
    options: &DemoOptions,
    colours: Colours,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Verdict> {
    let mut page = Page::new(out, colours);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match runtime.block_on(demo(options, &mut page)) {
        Ok(()) => Ok(Verdict::Done),
        Err(failure) => failure.tell(err),
    }
}

/// Why a demo ends before its end.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// Nobody reads what it shows.
    #[error("the output cannot be written: {0}")]
    Output(#[from] io::Error),
    /// The node, or this machine, did something else than it should.
    #[error("{0}")]
    Unexpected(String),
    /// What it needs is not on this machine.
    #[error("{0}")]
    Missing(String),
}

impl Failure {
    /// For `map_err`: what failed while `doing` something.
    fn during<E: std::fmt::Display>(doing: &str) -> impl Fn(E) -> Self {
        move |cause| Self::Unexpected(format!("cannot {doing}: {cause}"))
    }

    fn interrupted() -> Self {
        Self::Unexpected("it was interrupted".to_owned())
    }

    fn tell(self, err: &mut dyn Write) -> io::Result<Verdict> {
        match self {
            Self::Output(error) => Err(error),
            Self::Unexpected(what) => {
                writeln!(err, "tollgate: the demo did not go as expected: {what}")?;
                Ok(Verdict::Failed)
            }
            Self::Missing(what) => {
                writeln!(err, "tollgate: {what}")?;
                Ok(Verdict::Unavailable)
            }
        }
    }
}

async fn demo(options: &DemoOptions, page: &mut Page<'_>) -> Result<(), Failure> {
    let mut interrupt = Interrupt::listen_to_terminal().map_err(Failure::during("listen to signals"))?;
    let mut home = Home::furnished()?;
    if options.nodes > 1 {
        return cluster::demo(options, &home, &mut interrupt, page).await;
    }
    let node = tokio::select! {
        biased;
        _ = interrupt.came() => return Err(Failure::interrupted()),
        node = play(&home, page) => node?,
    };
    if options.keep {
        home.keep(node, &mut interrupt, page).await
    } else {
        node.stop().await;
        page.line("Next: `demo --keep` leaves a node running; README.md connects it to Stripe.")
    }
}

/// The story, on one node and then on another that starts from its journal.
async fn play(home: &Home, page: &mut Page<'_>) -> Result<Node, Failure> {
    page.line("One Tollgate node with its journal on disk. This demo plays Stripe: it sends")?;
    page.line("signed webhooks over HTTP. Policy: 500.00 USD a day and ten approvals an hour")?;
    page.line("for each card, no gambling.")?;
    page.line("")?;
    let node = home.start().await?;
    let mut client = connect(&node, home).await?;
    let mut told = Told::default();
    told.ask(&story::FIRST, &mut client, page).await?;
    told.ask(&story::SECOND, &mut client, page).await?;
    told.repeat_one(&mut client, page).await?;
    story::forge(&mut client, page).await?;
    story::settle(&mut client, page).await?;
    story::share(&mut told, &mut client, page).await?;

    let stopping = clock::instant();
    drop(client);
    node.stop().await;
    let node = home.start().await?;
    let restart_ms = clock::instant().duration_since(stopping).as_millis();
    page.line("")?;
    page.line(&format!(
        "The node stops; another starts from its journal ({restart_ms} ms, drain included):"
    ))?;
    let mut client = connect(&node, home).await?;
    told.repeat_all(&mut client, page).await?;
    story::go_on(&mut client, page).await?;
    show_windows(&mut client, &story::USED, page).await?;
    show_burst(&node, home, page).await?;
    Ok(node)
}

/// One node is a cluster of one.
fn targets(node: &Node) -> Targets {
    Targets::new([(String::new(), node.webhook())])
}

async fn connect(node: &Node, home: &Home) -> Result<Client, Failure> {
    Client::connect(targets(node), node.admin(), &home.secret).await
}

/// The card's windows as operators see them, and what they must have come to.
async fn show_windows(
    client: &mut Client,
    expected: &[(&str, i64)],
    page: &mut Page<'_>,
) -> Result<(), Failure> {
    let card = client.card(story::CARD).await?;
    page.line("")?;
    page.line(&format!("Usage of the card, from GET /v1/cards/{}:", story::CARD))?;
    page.window(["window", "limit", "used", "remaining", "resets at"])?;
    for limit in &card.limits {
        let shown = |number: i64| if limit.measure == "amount" { amount(number) } else { number.to_string() };
        let resets_at = limit.resets_at.as_deref().unwrap_or("never");
        let (max, used, remaining) = (shown(limit.max), shown(limit.used), shown(limit.remaining));
        page.window([&limit.window, &max, &used, &remaining, &to_the_second(resets_at)])?;
    }
    let used: Vec<(&str, i64)> = card.limits.iter().map(|limit| (&*limit.window, limit.used)).collect();
    if used == expected {
        Ok(())
    } else {
        Err(Failure::Unexpected(format!("the windows should have used {expected:?}, found {used:?}")))
    }
}

/// `2026-11-22T10:00:00.123456Z` without what only machines read.
fn to_the_second(time: &str) -> String {
    time.split_once('.').map_or_else(|| time.to_owned(), |(second, _)| format!("{second}Z"))
}

async fn show_burst(node: &Node, home: &Home, page: &mut Page<'_>) -> Result<(), Failure> {
    let burst = Buyers::start(&targets(node), &home.secret, burst::QUESTIONS_EACH).finish().await?;
    page.line("")?;
    page.line(&format!(
        "{} more requests on {} connections, each durable before its answer:",
        burst.requests(),
        burst::CONNECTIONS
    ))?;
    let build = if cfg!(debug_assertions) { "  (debug build; use --release)" } else { "" };
    page.line(&format!("  p50 {}, p99 {}{build}", burst.p50(), burst.p99()))?;
    page.line("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told_apart_from_what_went_wrong() {
        let check = |failure: Failure, verdict: Verdict, told: &str| {
            let mut err = Vec::new();
            assert_eq!(failure.tell(&mut err).unwrap(), verdict);
            assert_eq!(String::from_utf8(err).unwrap(), told);
        };
        check(Failure::Missing("no X here".into()), Verdict::Unavailable, "tollgate: no X here\n");
        let told = "tollgate: the demo did not go as expected: it was interrupted\n";
        check(Failure::interrupted(), Verdict::Failed, told);
    }
}
