//! The story with several nodes: the one that a card belongs to is killed while the card is in use, comes back, and
//! nobody who pays with a card has noticed. How the nodes are run is in `fleet`.

use std::{net::SocketAddr, time::Duration};

use super::{
    Failure,
    balancer::Targets,
    burst::{self, Buyers, Seen},
    client::Client,
    fleet::{self, Fleet},
    home::Home,
    page::Page,
    show_windows,
    story::{self, BOOKS, CARD, Expected, Question, SOFTWARE, Told},
};
use crate::{
    cli::{DemoOptions, interrupt::Interrupt},
    clock::{self, Instant, sleep},
    stripe::{self, Body, Merchant, Purchase},
};

/// What the others have bought before the node is killed.
const ANSWERS_BEFORE: usize = 100;
/// What is told apart as "around the kill".
const AROUND: Duration = Duration::from_secs(3);

/// Asked while the card's node is gone.
const MEANWHILE: [Question; 2] = [
    Question { because: Some("412.00 of the 500.00 USD daily limit is used"), ..BOOKS },
    Question {
        purchase: Purchase {
            authorization: "iauth_bikes",
            merchant: Merchant::named("BIKE SHOP", "bicycle_shops"),
            amount: 12_000,
            ..SOFTWARE
        },
        expected: Expected::Declined("spending_limit"),
        because: Some("at most 88.00 would have been approved"),
    },
];

/// Asked when it is back: the rest of the day, to the cent.
const AT_LAST: [Question; 1] = [Question {
    purchase: Purchase {
        authorization: "iauth_kiosk",
        merchant: Merchant::named("KIOSK", "news_dealers_and_newsstands"),
        amount: 15_000,
        is_amount_controllable: true,
        ..SOFTWARE
    },
    expected: Expected::Partial(8_800),
    because: Some("approved in part: 88.00 USD"),
}];

/// What the card's windows have used in the end.
const USED: [(&str, i64); 2] = [("daily", 50_000), ("rolling(1h)", 4)];

/// Plays it on nodes of its own, and ends them.
pub(super) async fn demo(
    options: &DemoOptions,
    home: &Home,
    interrupt: &mut Interrupt,
    page: &mut Page<'_>,
) -> Result<(), Failure> {
    let nodes = options.nodes;
    page.line(&format!(
        "{nodes} Tollgate nodes with one PostgreSQL journal. This demo plays Stripe: it sends"
    ))?;
    page.line("signed webhooks over HTTP to the nodes in turn, as a load balancer does. Policy:")?;
    page.line("500.00 USD a day and ten approvals an hour for each card, no gambling.")?;
    page.line("")?;
    let mut fleet = Fleet::launch(home, options.nodes)?;
    tokio::select! {
        biased;
        _ = interrupt.came() => return Err(Failure::interrupted()),
        played = play(&mut fleet, home, page) => played?,
    }
    if options.keep {
        tell_how_to_go_on(&fleet, home, page)?;
        interrupt.came().await;
        page.line("Stopping the nodes and the database ...")?;
        return fleet.stop().await;
    }
    fleet.stop().await?;
    page.line("Next: `--keep` leaves the nodes running; docs/operating.md says what happens")?;
    page.line("when a node hangs, is partitioned, or loses the database.")
}

async fn play(fleet: &mut Fleet, home: &Home, page: &mut Page<'_>) -> Result<(), Failure> {
    let targets = fleet.settled().await?;
    let anybody = |fleet: &Fleet, but: &str| {
        let admin = fleet.nodes().find(|(name, _)| *name != but).map(|(_, ports)| ports.admin);
        admin.ok_or_else(|| Failure::Unexpected("no node is left".to_owned()))
    };
    let mut client = Client::connect(targets.clone(), anybody(fleet, "")?, &home.secret).await?;
    let mut told = Told::default();
    told.ask(&story::FIRST, &mut client, page).await?;
    told.repeat_everywhere(&mut client, &webhooks(fleet), page).await?;

    let owner = client.card(CARD).await?.owner;
    client.read_at(anybody(fleet, &owner)?).await?;
    page.line("")?;
    page.line(&format!(
        "{owner} owns the card; other nodes forward its requests. Now {} more buyers use",
        burst::CONNECTIONS
    ))?;
    page.line(&format!("other cards. Meanwhile {owner} is killed (kill -9):"))?;
    let mut buyers = Buyers::start(&targets, &home.secret, 1);
    buyers.until(ANSWERS_BEFORE).await?;
    let killed = clock::instant();
    fleet.node(&owner)?.kill();
    told.ask(&MEANWHILE, &mut client, page).await?;
    told.repeat_everywhere(&mut client, &webhooks(fleet), page).await?;

    let heir = client.card(CARD).await?.owner;
    fleet.node(&owner)?.launch()?;
    targets.put_back(&owner, fleet.node(&owner)?.ready().await?.webhook);
    fleet.know_each_other().await?;
    let back_after = clock::instant().duration_since(killed);
    page.line("")?;
    let back = seconds(back_after);
    page.line(&format!("{heir} owns the card now. {owner} restarts and takes it back ({back}):"))?;
    told.ask(&AT_LAST, &mut client, page).await?;
    told.repeat_everywhere(&mut client, &webhooks(fleet), page).await?;
    show_windows(&mut client, &USED, page).await?;
    let found = client.card(CARD).await?.owner;
    if heir == owner || found != owner {
        let what = format!("the card should go from {owner} to another and back, found {heir} and {found}");
        return Err(Failure::Unexpected(what));
    }
    let seen = buyers.finish().await?;
    audit(&seen, &mut client).await?;
    show_buyers(&seen, killed, page)?;
    show_nodes(fleet, &targets, &owner, back_after, page).await
}

fn webhooks(fleet: &Fleet) -> Vec<SocketAddr> {
    fleet.nodes().map(|(_, ports)| ports.webhook).collect()
}

/// What was approved is in the books, once.
async fn audit(seen: &Seen, client: &mut Client) -> Result<(), Failure> {
    for (card, approved) in &seen.approved {
        let expected = [approved.saturating_mul(burst::PRICE), *approved];
        // What the stand-in answered is booked a little later.
        let give_up_at = clock::instant().checked_add(AROUND);
        loop {
            let found: Vec<i64> = client.card(card).await?.limits.iter().map(|limit| limit.used).collect();
            if found == expected {
                break;
            }
            if give_up_at.is_some_and(|give_up_at| clock::instant() > give_up_at) {
                let what = format!("{card} should have used {expected:?} of its limits, found {found:?}");
                return Err(Failure::Unexpected(what));
            }
            sleep(Duration::from_millis(10)).await;
        }
    }
    Ok(())
}

fn show_buyers(seen: &Seen, killed: Instant, page: &mut Page<'_>) -> Result<(), Failure> {
    let (purchases, cards) = (seen.requests(), seen.approved.len());
    page.line("")?;
    page.line(&format!("Meanwhile {purchases} purchases with {cards} other cards, all answered:"))?;
    let build = if cfg!(debug_assertions) { "  (debug build; use --release)" } else { "" };
    page.line(&format!("  p50 {}, p99 {}{build}", seen.p50(), seen.p99()))?;
    let longest = seen.longest_around(killed, AROUND);
    page.line(&format!("  slowest answer within {} s of the kill: {longest}", AROUND.as_secs()))?;
    let (again, stand_ins) = (seen.second_tries(), seen.stand_ins());
    page.line(&format!("  {again} retried at another node, {stand_ins} stand-in decisions"))?;
    page.line("  every approval is in the ledger once: no limit exceeded, nothing lost")
}

async fn show_nodes(
    fleet: &Fleet,
    targets: &Targets,
    killed: &str,
    back_after: Duration,
    page: &mut Page<'_>,
) -> Result<(), Failure> {
    page.line("")?;
    page.line("Answers by node (forwarded: sent to the owner of the card, since its start):")?;
    page.window(["node", "answered", "forwarded", "owns", ""])?;
    for target in targets.all() {
        let Some((_, ports)) = fleet.nodes().find(|(name, _)| *name == target.name) else { continue };
        let seen = fleet::cluster(ports).await?;
        let share =
            seen.members.iter().find(|member| member.node == target.name).map_or(0.0, |own| own.share);
        let (answered, forwarded) = (target.answered.to_string(), seen.forwards.answered.to_string());
        let share = format!("{:.0} %", share * 100.0);
        let note = if target.name == killed {
            format!("killed; back after {}", seconds(back_after))
        } else {
            String::new()
        };
        page.window([&target.name, &answered, &forwarded, &share, &note])?;
    }
    page.line("")
}

fn tell_how_to_go_on(fleet: &Fleet, home: &Home, page: &mut Page<'_>) -> Result<(), Failure> {
    let (event, header) = home.purchase()?;
    page.line("The nodes run until Ctrl-C, which stops and removes everything.")?;
    for (name, ports) in fleet.nodes() {
        page.line(&format!(
            "  {name}   webhook http://{}/webhook   admin http://{}/v1/node",
            ports.webhook, ports.admin
        ))?;
    }
    page.line(&format!("  secret   {}", home.secret.reveal()))?;
    page.line(&format!("  logs     {}", home.path().display()))?;
    page.line(&format!("  journal  {}", fleet.database().psql()))?;
    page.line("\nSend the same purchase of 25.00 USD to two nodes: both decline it, with the same\nbytes. The signature is valid for an hour:\n")?;
    for (_, ports) in fleet.nodes() {
        let url = format!("http://{}/webhook", ports.webhook);
        page.line(&stripe::curl(&url, &header, Body::File(&event.to_string_lossy())))?;
    }
    for (_, ports) in fleet.nodes().take(1) {
        page.line("\nSee why:\n")?;
        page.line(&format!(
            "curl -s http://{}/v1/authorizations/{}",
            ports.admin,
            story::YOURS.authorization
        ))?;
    }
    page.line("")
}

fn seconds(span: Duration) -> String {
    format!("{:.1} s", span.as_secs_f64())
}
