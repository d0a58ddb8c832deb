//! The console's side of the admin port: who sees a page, how a session begins, and the events of an open page.

use hyper::{Method, Request, StatusCode, body::Incoming, header::SET_COOKIE};

use super::{
    super::{body, console, reply::With as _, server::Reply, session},
    Admin, Books, Query,
    query::After,
    unreadable,
};
use crate::{clock, metrics::AdminRefusal};

/// How long a page waits for new decisions before it asks again.
const LIVE_SECONDS: u64 = 20;

/// More than the form of a token has.
const FORM_BYTES_MAX: usize = 8 * 1_024;

impl<B: Books> Admin<B> {
    /// Replies with a page of the console, or with the page that asks for the token.
    pub(super) async fn console(&self, path: &str, request: Request<Incoming>) -> Reply {
        let (is_post, now) = (request.method() == Method::POST, clock::now());
        match path {
            "/console/login" if is_post => return self.log_in(request).await,
            "/console/logout" if is_post => {
                return console::to("/console").with(SET_COOKIE, session::END).and_close();
            }
            _ => {}
        }
        let is_read = [Method::GET, Method::HEAD].contains(request.method());
        if !is_read {
            return self.wrong_method("GET, HEAD").and_close();
        }
        if let Some(file) = console::file(path) {
            return file;
        }
        match self.guard.reader(request.uri(), request.headers(), now) {
            // Every role may read.
            Ok(_) => {}
            Err(AdminRefusal::Unauthorized) => {
                let target = request.uri().path_and_query().map_or("/console", |target| target.as_str());
                self.metrics.sockets.admin_refused.get(AdminRefusal::Unauthorized).increment(1);
                return console::login(target, false);
            }
            Err(refusal) => return self.refuse_caller(refusal),
        }
        let Some(books) = self.books.get() else {
            return console::problem(
                StatusCode::SERVICE_UNAVAILABLE,
                "The node is starting. Try again shortly.",
            );
        };
        if path == "/console/live" {
            return self.live(books, &request).await;
        }
        let is_cluster = path.trim_end_matches('/') == "/console/cluster";
        let visit = console::Visit {
            books,
            now,
            session: self.guard.session(request.headers(), now),
            slow: if is_cluster { self.slow.list(clock::instant()) } else { Vec::new() },
            status: self.readiness.word(),
            metrics: if is_cluster { self.rendered().await.unwrap_or_default() } else { String::new() },
        };
        visit.page(path, request.uri().query()).await
    }

    /// The decisions that are recorded next, as events for a page. The browser names the last place that it has.
    async fn live(&self, books: &B, request: &Request<Incoming>) -> Reply {
        let search =
            Query::of_decisions(request.uri().query(), clock::now()).and_then(|query| query.search());
        let mut search = match search {
            Ok(search) => search,
            Err(wrong) => return self.wrong_query(&wrong),
        };
        let known = request.headers().get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
        search.after = known.map(After::Place).or(search.after).or(Some(After::Now));
        search.wait_seconds = LIVE_SECONDS;
        match self.search(books, search).await {
            Ok(found) => console::events(&found),
            Err(cause) => unreadable(cause),
        }
    }

    /// Begins a session for a form with the token.
    async fn log_in(&self, request: Request<Incoming>) -> Reply {
        if !session::is_same_origin(request.headers()) {
            return console::problem(StatusCode::FORBIDDEN, "The form was sent from another page.")
                .and_close();
        }
        let Ok(body) = body::gather(request.into_body(), FORM_BYTES_MAX).await else {
            return console::problem(StatusCode::BAD_REQUEST, "Expected a small form.").and_close();
        };
        let field = |wanted: &str| {
            form_urlencoded::parse(&body).find(|(name, _)| name == wanted).map(|(_, value)| value)
        };
        let target = field("target").unwrap_or_default();
        let given = field("token").unwrap_or_default();
        if let Some(cookie) = self.guard.begin_session(&given, clock::now()) {
            return console::to(&target).with(SET_COOKIE, cookie);
        }
        self.metrics.sockets.admin_refused.get(AdminRefusal::Unauthorized).increment(1);
        console::login(&target, true)
    }
}
