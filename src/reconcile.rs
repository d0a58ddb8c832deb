//! `tollgate reconcile`: reads from Stripe's API what happened while nobody listened, and books it by the same way as
//! events. What differs is in `difference`; whose books they are, in `books`.

mod books;
mod difference;
mod progress;
mod stripes;

use std::{
    collections::BTreeSet,
    io::{self, Write},
};

use crate::{
    cli::{ReconcileOptions, Since, Verdict, tell_problems},
    clock,
    config::Load,
    domain::{AuthorizationId, CardId, SETTLED_KEPT_MAX, Timestamp, TransactionId},
    log,
    stripe::{
        api::{self, Api, Filter, GaveUp, Listing, Object, Page},
        cardholder_of,
    },
};
use books::{Books, NotReached};
use difference::{Difference, TransactionState};
use progress::Progress;
use stripes::{Sides, Told, Unread};

/// Reconciles, or with `--dry-run` only compares: then exit code 1 tells that something differs.
///
/// # Errors
/// The output cannot be written, or the system has no threads for us.
pub fn run(
    options: &ReconcileOptions,
    load: Load,
    is_terminal: bool,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Verdict> {
    let mut settings = match load() {
        Ok(loaded) => loaded.settings,
        Err(problems) => return tell_problems(&problems, err),
    };
    let Some(api) = settings.stripe.api.take() else {
        writeln!(err, "tollgate: expected STRIPE_API_KEY, found none: set a key that can read Stripe's API")?;
        return Ok(Verdict::BadSettings);
    };
    let now = clock::now();
    let since = match options.since {
        Since::At(at) => at,
        Since::Ago(span) => now.minus(span),
    };
    let filter = Filter { from: Some(since), to: options.until, card: options.card.clone() };
    let until = options.until.unwrap_or(now);
    if since > until {
        writeln!(err, "tollgate: expected --since to be before {until}, found {since}")?;
        return Ok(Verdict::Failed);
    }
    log::start(&log::Settings::warnings(settings.log.format));
    let client = Api::new(&api).of_account(options.account.clone());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        let books = Books::open(settings).await?;
        let progress = Progress::new(is_terminal, since, until);
        let mut run = Run {
            api: &client,
            version: &api,
            books: &books,
            filter,
            is_dry: options.dry_run,
            seen: BTreeSet::new(),
            compared: BTreeSet::new(),
            tally: Tally::default(),
            unavailable_in_a_row: 0,
            progress,
            out: &mut *out,
            err: &mut *err,
        };
        let ended = run.all().await;
        let tally = run.tally;
        books.close().await;
        ended.map(|()| tally)
    });
    match outcome {
        Ok(tally) => tally.tell(options.dry_run, out),
        Err(Failure::Output(error)) => Err(error),
        Err(failure) => {
            writeln!(err, "tollgate: {failure}")?;
            writeln!(
                err,
                "tollgate: everything recorded so far stays recorded; run the command again to continue"
            )?;
            Ok(Verdict::Unavailable)
        }
    }
}

/// Why a run ends before its end.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// Nobody reads what it shows.
    #[error("the output cannot be written: {0}")]
    Output(#[from] io::Error),
    /// Stripe does not say.
    #[error(transparent)]
    Stripe(#[from] GaveUp),
    /// The books cannot be asked or told.
    #[error(transparent)]
    Books(#[from] NotReached),
}

/// One run over Stripe's books.
struct Run<'a> {
    api: &'a Api,
    version: &'a api::Settings,
    books: &'a Books,
    filter: Filter,
    is_dry: bool,
    /// Authorizations that were compared.
    seen: BTreeSet<AuthorizationId>,
    /// Transactions that were compared.
    compared: BTreeSet<TransactionId>,
    tally: Tally,
    unavailable_in_a_row: u32,
    progress: Progress,
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
}

/// What the books have of a transaction.
enum Known {
    /// This version, or none.
    Version(Option<TransactionState>),
    /// Nothing that can be told: the card has more than are kept in memory.
    PerhapsEvicted,
}

/// What came of it.
#[derive(Clone, Copy, Default)]
struct Tally {
    differences: u64,
    booked: u64,
    /// Objects that cannot be read as anything that is booked.
    unreadable: u64,
    /// Authorizations that differ even after everything was booked.
    unresolved: u64,
    /// Objects that the node did not take, or that Stripe did not give.
    passed_over: u64,
}

/// How many objects in a row may find the node unavailable. More are no matter of one object.
const UNAVAILABLE_IN_A_ROW_MAX: u32 = 3;

impl Run<'_> {
    /// Authorizations that were made in the time; then those that changed in it; then the transactions. Last the cards and
    /// cardholders as they are now.
    async fn all(&mut self) -> Result<(), Failure> {
        for listing in [Listing::Authorizations, Listing::AuthorizationUpdates, Listing::Transactions] {
            self.list(listing).await?;
        }
        if let Some(card) = self.filter.card.clone() {
            let found = self.api.object(Listing::Cards, card.as_str()).await;
            let page = match self.of_state(Listing::Cards, found.map_err(Into::into))? {
                Some(Some(page)) => page,
                Some(None) => {
                    return self.note(&format!(
                        "{card} is not compared: expected a card at Stripe, found none (404)"
                    ));
                }
                None => return Ok(()),
            };
            for object in &page.objects {
                let done = self.card_with_cardholder(object, page.read_at).await;
                self.past(object, done)?;
            }
            return Ok(());
        }
        for listing in [Listing::Cards, Listing::Cardholders] {
            let listed = self.list(listing).await;
            self.of_state(listing, listed)?;
        }
        Ok(())
    }

    async fn list(&mut self, listing: Listing) -> Result<(), Failure> {
        let api = self.api;
        let mut pages = api.list(listing, self.filter.clone());
        self.progress.begin(listing);
        while let Some(page) = pages.next().await? {
            self.nameless(&page)?;
            for object in &page.objects {
                let done = match listing {
                    Listing::Authorizations => self.authorization(object, page.read_at).await,
                    Listing::AuthorizationUpdates => self.update(object).await,
                    Listing::Transactions => self.transaction(object, page.read_at).await,
                    Listing::Cards => self.card(object, page.read_at).await,
                    Listing::Cardholders => self.cardholder(object, page.read_at).await,
                };
                self.past(object, done)?;
            }
            self.progress.read(&page);
        }
        self.progress.end(self.err)?;
        Ok(())
    }

    /// Goes on without the cards or cardholders where they are not there, or not for this key to read: purchases are
    /// reconciled, and each request brings its card's state along.
    fn of_state<T>(&mut self, listing: Listing, done: Result<T, Failure>) -> Result<Option<T>, Failure> {
        let failure = match done {
            Ok(done) => return Ok(Some(done)),
            Err(failure) => failure,
        };
        let cause = match &failure {
            Failure::Stripe(gave_up) => match gave_up.failure {
                api::Failure::Missing { .. } => Some("expected a list there, found none (404)".to_owned()),
                api::Failure::Unauthorized { status: 403 } => Some(gave_up.to_string()),
                _ => None,
            },
            Failure::Output(_) | Failure::Books(_) => None,
        };
        match cause {
            Some(cause) => {
                self.note(&format!("{} is not compared: {cause}", listing.path()))?;
                Ok(None)
            }
            None => Err(failure),
        }
    }

    /// Compares a card, and books what it is now if that differs. A card that the ledger has never heard of comes with its
    /// first request.
    async fn card(&mut self, object: &Object, read_at: Timestamp) -> Result<(), Failure> {
        let sides = Sides::new(self.version, self.api.account(), read_at);
        let (card, told, event) = match sides.card(object) {
            Ok(told) => told,
            Err(unread) => return self.unread(&object.id, &unread),
        };
        let Some(ours) = self.books.card(&card).await? else { return Ok(()) };
        self.state(&difference::of_state(card.as_str(), &ours, &told), event).await
    }

    async fn cardholder(&mut self, object: &Object, read_at: Timestamp) -> Result<(), Failure> {
        let sides = Sides::new(self.version, self.api.account(), read_at);
        let (cardholder, told, event) = match sides.cardholder(object) {
            Ok(told) => told,
            Err(unread) => return self.unread(&object.id, &unread),
        };
        let Some(ours) = self.books.cardholder(&cardholder).await? else { return Ok(()) };
        self.state(&difference::of_state(cardholder.as_str(), &ours, &told), event).await
    }

    async fn card_with_cardholder(&mut self, card: &Object, read_at: Timestamp) -> Result<(), Failure> {
        self.card(card, read_at).await?;
        match cardholder_of(card) {
            Some(cardholder) => self.cardholder(&cardholder, read_at).await,
            None => Ok(()),
        }
    }

    async fn state(&mut self, differences: &[Difference], event: Vec<u8>) -> Result<(), Failure> {
        if differences.is_empty() {
            return Ok(());
        }
        self.show(differences)?;
        if self.is_dry { Ok(()) } else { self.deliver(event).await }
    }

    /// Goes on behind an object that the node, or Stripe, does not let us reconcile: the ones behind it have nothing to do
    /// with that. A node that takes none of several in a row is not asked any further.
    fn past(&mut self, object: &Object, done: Result<(), Failure>) -> Result<(), Failure> {
        let failure = match done {
            Ok(()) => {
                self.unavailable_in_a_row = 0;
                return Ok(());
            }
            Err(failure) => failure,
        };
        let goes_on = match &failure {
            Failure::Output(_) => false,
            Failure::Stripe(gave_up) => gave_up.failure.is_of_one_object(),
            Failure::Books(refused) => {
                self.unavailable_in_a_row =
                    if refused.is_unavailable() { self.unavailable_in_a_row.saturating_add(1) } else { 0 };
                refused.is_of_one_object() && self.unavailable_in_a_row < UNAVAILABLE_IN_A_ROW_MAX
            }
        };
        if !goes_on {
            return Err(failure);
        }
        self.tally.passed_over = self.tally.passed_over.saturating_add(1);
        self.note(&format!("{} is passed over: {failure}", object.id))
    }

    /// Objects of a page that do not even name themselves.
    fn nameless(&mut self, page: &Page) -> Result<(), Failure> {
        let count = u64::try_from(page.nameless).unwrap_or(u64::MAX);
        if count == 0 {
            return Ok(());
        }
        self.tally.unreadable = self.tally.unreadable.saturating_add(count);
        self.note(&format!("{count} objects without an id or a time of creation are passed over"))
    }

    /// Compares an authorization, with the transactions that stand in it, and books what differs.
    async fn authorization(&mut self, object: &Object, read_at: Timestamp) -> Result<(), Failure> {
        let sides = Sides::new(self.version, self.api.account(), read_at);
        let told = match sides.authorization(object) {
            Ok(told) => told,
            Err(unread) => return self.unread(&object.id, &unread),
        };
        for (id, unread) in &told.unread {
            self.unread(id, unread)?;
        }
        self.seen.insert(told.id.clone());
        self.compared.extend(told.transactions.iter().map(|(state, _)| state.id.clone()));
        let ours = self.books.authorization(&told.id).await?;
        let differences = difference::of_authorization(ours.as_ref(), &told);
        if differences.is_empty() {
            return Ok(());
        }
        self.show(&differences)?;
        if self.is_dry {
            return Ok(());
        }
        for event in told.events(&differences) {
            self.deliver(event).await?;
        }
        let ours = self.books.authorization(&told.id).await?;
        let left = difference::of_authorization(ours.as_ref(), &told);
        if !left.is_empty() {
            self.tally.unresolved = self.tally.unresolved.saturating_add(1);
            self.note(&format!("{} still differs after booking: it may have changed meanwhile", told.id))?;
        }
        Ok(())
    }

    /// An event tells that an authorization changed; what it is now is asked anew.
    async fn update(&mut self, event: &Object) -> Result<(), Failure> {
        let Some((id, card)) = stripes::subject(event) else { return Ok(()) };
        if self.is_wanted(&card) { self.revisit(&id).await } else { Ok(()) }
    }

    async fn revisit(&mut self, id: &AuthorizationId) -> Result<(), Failure> {
        if self.seen.contains(id) {
            return Ok(());
        }
        self.seen.insert(id.clone());
        let found = self.api.object(Listing::Authorizations, id.as_str()).await?;
        let Some(Page { objects, read_at, .. }) = found else { return Ok(()) };
        for object in &objects {
            self.authorization(object, read_at).await?;
        }
        Ok(())
    }

    async fn transaction(&mut self, object: &Object, read_at: Timestamp) -> Result<(), Failure> {
        let sides = Sides::new(self.version, self.api.account(), read_at);
        let (state, booking) = match sides.transaction(object) {
            Ok(told) => told,
            Err(unread) => return self.unread(&object.id, &unread),
        };
        if let Some(authorization) = &state.authorization {
            // An older authorization, which this transaction has probably closed.
            self.revisit(authorization).await?;
        }
        if !self.compared.insert(state.id.clone()) {
            return Ok(());
        }
        let known = match self.known(&state).await? {
            Known::Version(known) => known,
            // It may have been booked and evicted: the newest version counts once, whatever the node had.
            Known::PerhapsEvicted => {
                return if self.is_dry { Ok(()) } else { self.deliver(booking.event(true)).await };
            }
        };
        let Some(difference) = difference::of_transaction(known.as_ref(), &state) else { return Ok(()) };
        self.show(std::slice::from_ref(&difference))?;
        if self.is_dry { Ok(()) } else { self.deliver(booking.event(known.is_some())).await }
    }

    /// The version of a transaction that the books have.
    async fn known(&self, state: &TransactionState) -> Result<Known, Failure> {
        let known = match &state.authorization {
            Some(authorization) => {
                self.books.authorization(authorization).await?.map(|ours| ours.transactions)
            }
            None => self.books.unlinked(&state.card).await?,
        };
        let known = known.unwrap_or_default();
        let is_full = state.authorization.is_none() && known.len() >= SETTLED_KEPT_MAX;
        let version = known.into_iter().find(|known| known.id == state.id);
        Ok(if is_full && version.is_none() { Known::PerhapsEvicted } else { Known::Version(version) })
    }

    fn is_wanted(&self, card: &CardId) -> bool {
        self.filter.card.as_ref().is_none_or(|wanted| wanted == card)
    }

    async fn deliver(&mut self, event: Vec<u8>) -> Result<(), Failure> {
        self.books.deliver(event).await?;
        self.tally.booked = self.tally.booked.saturating_add(1);
        Ok(())
    }

    fn show(&mut self, differences: &[Difference]) -> Result<(), Failure> {
        let is_first = self.tally.differences == 0;
        let count = u64::try_from(differences.len()).unwrap_or(u64::MAX);
        self.tally.differences = self.tally.differences.saturating_add(count);
        let out = &mut *self.out;
        self.progress.aside(|| {
            if is_first {
                writeln!(out, "{}", difference::HEADING)?;
            }
            differences.iter().try_for_each(|difference| writeln!(out, "{difference}"))
        })?;
        Ok(())
    }

    fn unread(&mut self, id: &str, unread: &Unread) -> Result<(), Failure> {
        self.tally.unreadable = self.tally.unreadable.saturating_add(1);
        self.note(&format!("{id} cannot be recorded: {unread}"))
    }

    fn note(&mut self, sentence: &str) -> Result<(), Failure> {
        let err = &mut *self.err;
        Ok(self.progress.aside(|| writeln!(err, "tollgate: {sentence}"))?)
    }
}

impl Tally {
    /// The last line, and what the run comes to.
    fn tell(self, is_dry: bool, out: &mut dyn Write) -> io::Result<Verdict> {
        let Self { differences, booked, unreadable, unresolved, passed_over } = self;
        let left = unreadable.saturating_add(passed_over);
        let is_whole = left == 0 && unresolved == 0;
        match (is_dry, differences) {
            (_, 0) if is_whole => write!(out, "no differences: the ledger agrees with Stripe")?,
            (true, _) => write!(out, "differences: {differences}; nothing was recorded")?,
            (false, _) => write!(out, "differences: {differences}; events recorded: {booked}")?,
        }
        if left > 0 {
            write!(out, "; objects passed over: {left}")?;
        }
        writeln!(out)?;
        let is_fine = is_whole && !(is_dry && differences > 0);
        Ok(if is_fine { Verdict::Done } else { Verdict::Failed })
    }
}
