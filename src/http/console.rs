//! The console: pages for people who look at decisions, from the same bodies as the admin API. It works without JavaScript
//! and only reads; who may see it is not decided here.

mod parts;
mod find;
mod decision;
mod budget;
mod card;
mod policies;
mod cluster;

use std::{collections::BTreeMap, fmt::Write as _};

use hyper::{
    StatusCode,
    header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, LOCATION, REFERRER_POLICY,
        X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
    },
};
use maud::{Markup, html};

use super::{
    admin::{Books, Query, Unreadable, WrongQuery},
    bodies::{AuthorizationBody, DecisionsBody},
    reply::{With as _, json},
    server::Reply,
    slow::DecisionTimes,
    token::Caller,
};
use crate::domain::{Account, AuthorizationId, CardId, CardholderId, Timestamp};
use parts::Tab;

/// As many decisions as a list shows at once.
const LIST: usize = 25;

/// Nothing but our own files, and no frame around us.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The files that pages refer to, which tell nothing.
const FILES: [(&str, &str, &str); 2] = [
    ("/console/look.css", "text/css; charset=utf-8", include_str!("console/look.css")),
    ("/console/live.js", "text/javascript; charset=utf-8", include_str!("console/live.js")),
];

/// What pages are made from.
pub(super) struct Visit<'a, B> {
    pub(super) books: &'a B,
    pub(super) now: Timestamp,
    /// Whose session it is, if it is one, which can be ended.
    pub(super) session: Option<Caller>,
    pub(super) slow: Vec<DecisionTimes>,
    pub(super) status: &'static str,
    /// The text of `/metrics`, where the page needs it.
    pub(super) metrics: String,
}

/// Why there is no page.
enum Missing {
    /// The ledger cannot be read.
    Unreadable,
    /// There is nothing under this address.
    NotFound(String),
    /// A parameter is wrong.
    Wrong(String),
}

impl From<Unreadable> for Missing {
    fn from(_: Unreadable) -> Self {
        Self::Unreadable
    }
}

impl From<WrongQuery> for Missing {
    fn from(WrongQuery(message): WrongQuery) -> Self {
        Self::Wrong(message)
    }
}

/// A file of the console.
pub(super) fn file(path: &str) -> Option<Reply> {
    let (_, kind, text) = FILES.into_iter().find(|(name, _, _)| *name == path)?;
    let reply = json(StatusCode::OK, text).with(CONTENT_TYPE, HeaderValue::from_static(kind));
    Some(guarded(reply).with(CACHE_CONTROL, HeaderValue::from_static("max-age=3600")))
}

/// The page that asks for the token. `target` is where the browser wanted to go.
pub(super) fn login(target: &str, is_wrong: bool) -> Reply {
    let content = html! {
        form.login method="post" action="/console/login" {
            h1 { "Sign in" }
            @if is_wrong { p.note role="alert" { "No token of this node is like that." } }
            input type="hidden" name="target" value=(target);
            label { "Your token, or " code { "TOLLGATE_ADMIN_TOKEN" } input type="password" name="token" autocomplete="current-password" autofocus required; }
            button.main type="submit" { "Sign in" }
        }
    };
    reply(StatusCode::UNAUTHORIZED, &parts::page(Tab::Elsewhere, "Sign in", None, &content))
}

/// To another page of the console.
pub(super) fn to(target: &str) -> Reply {
    let is_ours = target.starts_with("/console") && target.bytes().all(|byte| byte.is_ascii_graphic());
    let target = if is_ours { target } else { "/console" };
    let target = HeaderValue::from_str(target).unwrap_or(HeaderValue::from_static("/console"));
    guarded(json(StatusCode::SEE_OTHER, "")).with(LOCATION, target)
}

/// A page that says why there is none.
pub(super) fn problem(status: StatusCode, message: &str) -> Reply {
    let content = html! { h1 { (status.canonical_reason().unwrap_or("Error")) } p { (message) } p { a href="/console" { "Find" } } };
    reply(status, &parts::page(Tab::Elsewhere, "Error", None, &content))
}

/// Events for the list of decisions: the rows that are new, and the place to go on from.
pub(super) fn events(found: &DecisionsBody) -> Reply {
    let mut text = String::from("retry: 300\n");
    if let Some(next) = &found.next {
        let _ = writeln!(text, "id: {next}");
    }
    let rows = html! { @for decision in &found.decisions { (find::row(decision, None)) } };
    let kind = if found.decisions.is_empty() { "none" } else { "rows" };
    let _ = write!(text, "event: {kind}\ndata: {}\n\n", rows.into_string().replace(['\n', '\r'], " "));
    guarded(json(StatusCode::OK, text)).with(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"))
}

impl<B: Books> Visit<'_, B> {
    /// The page at `path`, with the parameters of `query`.
    pub(super) async fn page(&self, path: &str, query: Option<&str>) -> Reply {
        let made =
            match path.strip_prefix("/console").unwrap_or_default().trim_start_matches('/').split_once('/') {
                None => self.top(path.trim_end_matches('/'), query).await,
                Some(("authorizations", id)) => self.authorization(id).await,
                Some(("cards", id)) => self.card(id).await,
                Some(("cardholders", id)) => self.cardholder(id, query).await,
                Some(("budgets", account)) => self.budget(account, query).await,
                Some(("policies", version)) => self.policy(version).await,
                Some(_) => Err(Missing::NotFound("There is no such page.".to_owned())),
            };
        match made {
            Ok(reply) => reply,
            Err(Missing::Unreadable) => {
                problem(StatusCode::SERVICE_UNAVAILABLE, "The ledger cannot be read now. Try again shortly.")
            }
            Err(Missing::NotFound(message)) => problem(StatusCode::NOT_FOUND, &message),
            Err(Missing::Wrong(message)) => problem(StatusCode::BAD_REQUEST, &message),
        }
    }

    async fn top(&self, path: &str, query: Option<&str>) -> Result<Reply, Missing> {
        match path {
            "/console" => {
                let wanted = form_urlencoded::parse(query.unwrap_or_default().as_bytes())
                    .find_map(|(name, value)| (name == "q").then(|| value.trim().to_owned()))
                    .filter(|wanted| !wanted.is_empty());
                match wanted {
                    Some(wanted) => self.lookup(&wanted).await,
                    None => self.find(query).await,
                }
            }
            "/console/budgets" => {
                Ok(self.shown(Tab::Budgets, "Budgets", &budget::list(&self.books.budgets().await?)))
            }
            "/console/policies" => {
                let content =
                    policies::page(&self.books.policies().await?, &self.books.policy_in_force(), self.now);
                Ok(self.shown(Tab::Policies, "Policies", &content))
            }
            "/console/cluster" => {
                let seen = cluster::Seen {
                    node: self.books.node().await,
                    unconfirmed: self.books.unconfirmed(),
                    slow: self.slow.clone(),
                    status: self.status,
                    metrics: self.metrics.clone(),
                };
                Ok(self.shown(Tab::Cluster, "Cluster", &cluster::page(&seen, self.now)))
            }
            _ => Err(Missing::NotFound("There is no such page.".to_owned())),
        }
    }

    async fn find(&self, query: Option<&str>) -> Result<Reply, Missing> {
        let query = Query::of_decisions(query, self.now)?;
        let search = query.search()?;
        // Before the search: what is recorded meanwhile comes twice rather than never.
        let end = self.books.decisions_after(search.filter.clone(), None, 1).await?.next;
        let found = self.books.decisions(search.filter, search.cursor, LIST).await?;
        let lives = self.lives(&found).await;
        let follow = end.filter(|_| search.cursor.is_none()).map(|end| {
            format!("/console/live?{}", query.without(&["cursor", "limit", "wait"]).with("after", Some(&end)))
        });
        let content = find::page(&query, &found, &lives, follow.as_deref());
        Ok(self.shown(Tab::Find, "Find", &content))
    }

    /// What became of each authorization; those that cannot be read now are left out.
    async fn lives(&self, found: &DecisionsBody) -> BTreeMap<String, AuthorizationBody> {
        let mut lives = BTreeMap::new();
        for decision in &found.decisions {
            let Some(id) = AuthorizationId::new(&decision.authorization) else { continue };
            if !lives.contains_key(id.as_str())
                && let Ok(Some(life)) = self.books.authorization(id).await
            {
                lives.insert(decision.authorization.clone(), life);
            }
        }
        lives
    }

    /// The page of whatever has this id; a budget or a group, if it is no id.
    async fn lookup(&self, wanted: &str) -> Result<Reply, Missing> {
        if let Some(account) = wanted.strip_prefix("budget:") {
            return Ok(to(&format!("/console/budgets/{account}")));
        }
        if self.books.budget(wanted, None).await?.is_some() {
            return Ok(to(&format!("/console/budgets/{wanted}")));
        }
        let group = || {
            let group: String = form_urlencoded::byte_serialize(wanted.as_bytes()).collect();
            to(&format!("/console?group={group}"))
        };
        let Some(id) = CardId::new(wanted) else { return Ok(group()) };
        let Some((kind, _)) = wanted.split_once('_') else { return Ok(group()) };
        match kind {
            "iauth" => Ok(to(&format!("/console/authorizations/{id}"))),
            "ic" => Ok(to(&format!("/console/cards/{id}"))),
            "ich" => Ok(to(&format!("/console/cardholders/{id}"))),
            "dec" | "evt" | "ipi" => match self.books.authorization_of(id.as_str().to_owned()).await? {
                Some(authorization) => Ok(to(&format!("/console/authorizations/{authorization}"))),
                None => Err(Missing::NotFound(format!(
                    "{wanted} was not found in the recent part of the journal."
                ))),
            },
            _ => Ok(group()),
        }
    }

    async fn authorization(&self, id: &str) -> Result<Reply, Missing> {
        let unknown = || Missing::NotFound(format!("No authorization {id} was ever seen here."));
        let known = AuthorizationId::new(id).ok_or_else(unknown)?;
        let body = self.books.authorization(known).await?.ok_or_else(unknown)?;
        Ok(self.shown(Tab::Elsewhere, id, &decision::page(&body, self.now)))
    }

    async fn card(&self, id: &str) -> Result<Reply, Missing> {
        let unknown = || Missing::NotFound(format!("No card {id} was ever seen here."));
        let known = CardId::new(id).ok_or_else(unknown)?;
        let body = self.books.card(known).await?.ok_or_else(unknown)?;
        Ok(self.shown(Tab::Elsewhere, id, &card::page(&body, self.now)))
    }

    async fn cardholder(&self, id: &str, query: Option<&str>) -> Result<Reply, Missing> {
        let unknown = || Missing::NotFound(format!("No cardholder {id} was ever seen here."));
        let known = CardholderId::new(id).ok_or_else(unknown)?;
        let query = Query::of_decisions(query, self.now)?.and("cardholder", known.as_str());
        let search = query.search()?;
        let body = self.books.cardholder(known).await?;
        let found = self.books.decisions(search.filter, search.cursor, LIST).await?;
        if body.is_none() && found.decisions.is_empty() && found.next.is_none() {
            return Err(unknown());
        }
        let lives = self.lives(&found).await;
        let content = card::cardholder_page(id, body.as_ref(), &query, &found, &lives);
        Ok(self.shown(Tab::Elsewhere, id, &content))
    }

    /// The page of a budget: `name`, or `name/key`; a form sends the key as it is written elsewhere.
    async fn budget(&self, account: &str, query: Option<&str>) -> Result<Reply, Missing> {
        let (name, key) = account.split_once('/').map_or((account, None), |(name, key)| (name, Some(key)));
        let wanted = form_urlencoded::parse(query.unwrap_or_default().as_bytes())
            .find_map(|(field, value)| (field == "key").then(|| value.trim().to_owned()))
            .filter(|wanted| !wanted.is_empty());
        if let Some(wanted) = wanted {
            let account = Account::budget(name, Some(&wanted));
            let key = account.as_budget().and_then(|(_, key)| key).unwrap_or_default();
            return Ok(to(&format!("/console/budgets/{name}/{key}")));
        }
        let unknown = || Missing::NotFound(format!("The policy in force has no budget {name}."));
        let body = self.books.budget(name, key).await?.ok_or_else(unknown)?;
        let mut children = Vec::with_capacity(body.children.len());
        for child in &body.children {
            let Some(of_all) = self.books.budget(child, None).await? else { continue };
            // A template of the same kind below has an account for the same key.
            let own = if of_all.per == body.per && key.is_some() {
                self.books.budget(child, key).await?
            } else {
                None
            };
            children.push(own.unwrap_or(of_all));
        }
        Ok(self.shown(Tab::Elsewhere, account, &budget::page(&body, &children, self.now)))
    }

    async fn policy(&self, version: &str) -> Result<Reply, Missing> {
        let unknown = || Missing::NotFound(format!("No policy {version} was ever in force here."));
        let body = self.books.policy_version(version.to_owned()).await?.ok_or_else(unknown)?;
        Ok(self.shown(Tab::Policies, version, &policies::version(&body, self.now)))
    }

    fn shown(&self, tab: Tab, title: &str, content: &Markup) -> Reply {
        reply(StatusCode::OK, &parts::page(tab, title, self.session.as_ref(), content))
    }
}

fn reply(status: StatusCode, page: &Markup) -> Reply {
    let html =
        json(status, page.0.clone()).with(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    guarded(html)
}

/// With what a browser has to be told: what may be loaded, that nothing is kept, and that no other page frames it.
fn guarded(reply: Reply) -> Reply {
    let headers = [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "same-origin"),
        (CACHE_CONTROL, "no-store"),
    ];
    headers.into_iter().fold(reply, |reply, (name, value)| reply.with(name, HeaderValue::from_static(value)))
}
