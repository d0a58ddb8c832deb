//! Requests that change something: from whom they come, why, and which part of the admin API makes the change.

use hyper::{Request, body::Bytes, body::Incoming, header::HeaderName};

use super::{
    super::{body, reply::With as _, server::Reply, session, token::Caller},
    Admin, Books, Call, Query, Route, log_filter, starting,
};
use crate::{clock, domain::Attribution, log, metrics::AdminRefusal};

/// The header with the reason of a change. JSON bodies may have it as `reason` instead.
const REASON: HeaderName = HeaderName::from_static("tollgate-reason");

/// The longest reason.
const REASON_CHARACTERS_MAX: usize = 500;

/// A change that a caller asks for and may make.
pub(super) struct Change {
    pub(super) caller: Caller,
    /// What the header has.
    reason: Option<String>,
    pub(super) query: Query,
    pub(super) body: Bytes,
}

impl Change {
    /// Who changes something, and why: the reason of the header, or else `in_body`.
    ///
    /// # Errors
    /// There is no usable reason.
    pub(super) fn attribution(&self, in_body: Option<&str>) -> Result<Attribution, String> {
        let attribution = self.noted(in_body)?;
        if attribution.reason.is_empty() {
            return Err("expected why, which is recorded: the header `Tollgate-Reason: …`, or `reason` in a JSON body"
                .to_owned());
        }
        Ok(attribution)
    }

    /// The same for a change that needs no reason, as programs make it: its note is one.
    ///
    /// # Errors
    /// There is a reason that is not usable.
    pub(super) fn noted(&self, note: Option<&str>) -> Result<Attribution, String> {
        let reason = self.reason.as_deref().or(note).unwrap_or_default().trim();
        if reason.chars().count() > REASON_CHARACTERS_MAX || reason.contains(char::is_control) {
            return Err(format!(
                "expected a reason of one line with at most {REASON_CHARACTERS_MAX} characters"
            ));
        }
        Ok(Attribution { by: self.caller.name.clone(), reason: reason.into() })
    }
}

impl<B: Books> Admin<B> {
    /// Makes the change that a request on a route asks for.
    pub(super) async fn change(
        &self,
        route: &'static Route,
        parameter: &str,
        request: Request<Incoming>,
    ) -> Reply {
        let (uri, headers) = (request.uri(), request.headers());
        let caller = match self.guard.caller(uri, headers) {
            Ok(caller) => caller,
            Err(refusal) => return self.refuse_caller(refusal).and_close(),
        };
        if !session::is_same_origin(headers) {
            let message = "expected a change from no web page, found one of another origin";
            return self.refuse(AdminRefusal::Forbidden, message).and_close();
        }
        if let Some(refused) = self.refuse_role(route, &caller) {
            return refused.and_close();
        }
        let query = match Query::read(route.parameters, uri.query(), clock::now()) {
            Ok(query) => query,
            Err(wrong) => return self.wrong_query(&wrong).and_close(),
        };
        let reason =
            headers.get(REASON).map(|reason| String::from_utf8_lossy(reason.as_bytes()).into_owned());
        let payload = route.body.as_ref();
        let bytes_max = payload.map_or(0, |payload| payload.bytes_max);
        let Ok(body) = body::gather(request.into_body(), bytes_max).await else {
            let about = payload.map_or("no body", |payload| payload.about);
            let message = format!("expected as the body, at once and of at most {bytes_max} bytes: {about}");
            return self.refuse(AdminRefusal::BadParameter, &message).and_close();
        };
        let change = Change { caller, reason, query, body };
        match route.call {
            Call::SetLog => self.change_log(&change),
            Call::PutPolicy => match self.books.get() {
                Some(books) => self.put_policy(books, &change).await,
                None => starting(),
            },
            Call::Operate(operate) => match self.books.get() {
                Some(books) => self.operate(books, (route, operate), parameter, &change).await,
                None => starting(),
            },
            Call::SetShadow => match self.books.get() {
                Some(books) => self.set_shadow(books, &change).await,
                None => starting(),
            },
            Call::Live
            | Call::Ready
            | Call::Metrics
            | Call::Decisions
            | Call::Authorization
            | Call::Card
            | Call::Cardholder
            | Call::Budgets
            | Call::Budget
            | Call::Unconfirmed
            | Call::Policy
            | Call::Policies
            | Call::PolicyVersion
            | Call::Shadow
            | Call::Node
            | Call::Slow
            | Call::Webhooks
            | Call::Log
            | Call::OpenApi => self.unknown_path(),
        }
    }

    /// Puts the filter in the body in force, until the node ends or the next one comes. It is no entry: it changes this process
    /// and nothing that is decided.
    fn change_log(&self, change: &Change) -> Reply {
        let attribution = match change.noted(None) {
            Ok(attribution) => attribution,
            Err(message) => return self.refuse(AdminRefusal::BadParameter, &message),
        };
        let Attribution { by, reason } = attribution;
        match String::from_utf8_lossy(&change.body).trim().parse::<log::Filter>() {
            Ok(filter) => {
                // Before it changes: the next filter may let nothing through, this line included.
                if let Some(before) = log::filter() {
                    tracing::warn!(%before, after = %filter, %by, %reason, "the filter of the log is about to change");
                }
                if log::change(&filter) {
                    tracing::info!(%filter, %by, "the log has another filter");
                }
                log_filter()
            }
            Err(not_a_filter) => self.refuse(AdminRefusal::BadFilter, &not_a_filter.to_string()),
        }
    }
}
