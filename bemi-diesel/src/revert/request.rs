//! What a program says to revert something.

use chrono::{DateTime, Utc};
use diesel::result::Error;
use serde_json::{Value, json};
use uuid::Uuid;

use super::client::Client;
use super::run::{self, Failure};
use super::selection::{Origin, Selection, time};
use super::trail::{Entry, Trail};
use super::{OnConflict, Plan, Refusal, RevertError, Reverted};
use crate::{Change, Context, Lsn, Operation, Xid};

/// Changes to take back.
///
/// What is said adds up: `Revert::new().context(user).since(monday)` are the changes that have both. The
/// trail has to reach as far as what is to be reverted: wait for the capture
/// ([`CaptureHandle::wait_for`](crate::CaptureHandle::wait_for)) where that matters, as for
/// [`Revert::to`].
///
/// A row goes back from what the last of its changes left to what the first of them found. By default
/// every row must still be as it was left, or nothing is reverted; see [`OnConflict`]. What triggers do,
/// they do at a revert as well. Numbers drawn from sequences stay drawn. A value of the type `json` comes
/// back with the same content, and not with the same white space.
///
/// [`plan`](Revert::plan) and [`apply`](Revert::apply) take a [`BemiConnection`](crate::BemiConnection),
/// or an [`AsyncBemiConnection`](crate::AsyncBemiConnection) and are then to be awaited.
#[derive(Clone, Debug, Default)]
pub struct Revert {
    what: What,
    on_conflict: OnConflict,
}

#[derive(Clone, Debug)]
enum What {
    Selected(Selection),
    Given(Vec<Change>),
    /// Read from another database.
    Read(Box<Selection>, ReadTrail),
}

#[derive(Clone)]
struct ReadTrail(Trail);

impl std::fmt::Debug for ReadTrail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} changes", self.0.entries.len())
    }
}

impl Default for What {
    fn default() -> Self {
        Self::Selected(Selection::default())
    }
}

impl Revert {
    /// Nothing yet: say what.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Everything that was committed after `instant`: the database, or with [`table`](Self::table) and
    /// [`primary_key`](Self::primary_key) a part of it, as of then.
    #[must_use]
    pub fn to(instant: DateTime<Utc>) -> Self {
        Self::new().select(|selection| selection.to = Some(time(instant)))
    }

    /// Everything whose commit lies after `lsn` in the log. See [`Revert::to`].
    #[must_use]
    pub fn to_lsn(lsn: Lsn) -> Self {
        Self::new().select(|selection| selection.to_lsn = Some(lsn))
    }

    /// That transaction and everything since: back to just before it. See [`Revert::to`].
    #[must_use]
    pub fn to_before(transaction: Xid) -> Self {
        Self::new().select(|selection| selection.to_before = Some(transaction))
    }

    /// These changes, as a query of [`changes`](crate::schema::changes) gives them: for a condition that
    /// nothing here can say. Their order does not matter.
    pub fn of(changes: impl IntoIterator<Item = Change>) -> Self {
        Self {
            what: What::Given(changes.into_iter().collect()),
            on_conflict: OnConflict::default(),
        }
    }

    /// The change with this identifier.
    #[must_use]
    pub fn change(self, id: Uuid) -> Self {
        self.select(|selection| selection.change = Some(id))
    }

    /// The changes of this transaction.
    #[must_use]
    pub fn transaction(self, transaction: Xid) -> Self {
        self.select(|selection| selection.transaction = Some(transaction))
    }

    /// The changes whose context has all these members, such as a request's identifier or a user's.
    #[must_use]
    pub fn context(self, members: Context) -> Self {
        self.select(|selection| selection.context.merge(members))
    }

    /// The changes of this table: `table` (in every schema) or `schema.table`. Said again, of that one
    /// too.
    #[must_use]
    pub fn table(self, table: impl Into<String>) -> Self {
        self.select(|selection| selection.tables.push(table.into()))
    }

    /// The changes of the record with this key, as in [`Change::primary_key`].
    #[must_use]
    pub fn primary_key(self, key: impl Into<String>) -> Self {
        self.select(|selection| selection.primary_key = Some(key.into()))
    }

    /// The changes that are of this kind; [`Operation::Delete`] brings deleted rows back. Said again, of
    /// that one too.
    #[must_use]
    pub fn operation(self, operation: Operation) -> Self {
        self.select(|selection| selection.operations.push(operation))
    }

    /// The changes committed at `instant` or later.
    #[must_use]
    pub fn since(self, instant: DateTime<Utc>) -> Self {
        self.select(|selection| selection.since = Some(time(instant)))
    }

    /// The changes committed before `instant`.
    #[must_use]
    pub fn until(self, instant: DateTime<Utc>) -> Self {
        self.select(|selection| selection.until = Some(time(instant)))
    }

    /// What to do about conflicts. Defaults to [`OnConflict::Abort`].
    #[must_use]
    pub fn on_conflict(self, on_conflict: OnConflict) -> Self {
        Self {
            on_conflict,
            ..self
        }
    }

    /// Changes of a list, or that have been read, are what they are.
    fn select(mut self, set: impl FnOnce(&mut Selection)) -> Self {
        if let What::Selected(selection) = &mut self.what {
            set(selection);
        }
        self
    }

    /// What [`apply`](Self::apply) would do. It locks nothing and changes nothing.
    ///
    /// # Errors
    ///
    /// [`RevertError::Unspecified`], [`RevertError::Ambiguous`], [`RevertError::OtherDatabase`], and what
    /// the database says. Conflicts are in the plan.
    pub fn plan<'c, C: RevertConnection>(&self, connection: &'c mut C) -> C::Outcome<'c, Plan> {
        connection.plan(self.clone())
    }

    /// Reverts the changes, in one transaction, or in a savepoint of the open one.
    ///
    /// The member `revert` of its context says what was reverted; the other members are those of the
    /// [ambient](crate::scope) context.
    ///
    /// # Errors
    ///
    /// [`RevertError::Conflicts`] where one stands in the way; else as for [`plan`](Self::plan). Nothing
    /// has changed then.
    pub fn apply<'c, C: RevertConnection>(
        &self,
        connection: &'c mut C,
    ) -> C::Outcome<'c, Reverted> {
        connection.apply(self.clone())
    }

    /// Reads the changes from the database that holds `changes`, for where that is another one than the
    /// one to revert in. `source` is the [`Change::source`] and `database` the [`Change::database`] of
    /// that.
    ///
    /// # Errors
    ///
    /// As for [`plan`](Self::plan).
    pub fn read<'c, C: RevertConnection>(
        &self,
        connection: &'c mut C,
        source: i64,
        database: impl Into<String>,
    ) -> C::Outcome<'c, Revert> {
        connection.read(self.clone(), source, database.into())
    }

    /// What the context of the revert says of it.
    fn description(&self) -> Value {
        match &self.what {
            What::Selected(selection) => serde_json::to_value(selection).unwrap_or_default(),
            What::Read(selection, _) => serde_json::to_value(selection).unwrap_or_default(),
            What::Given(changes) => {
                // More would only make the context long.
                const NAMED: usize = 100;
                let ids: Vec<_> = changes.iter().take(NAMED).map(|change| change.id).collect();
                json!({"changes": ids, "count": changes.len()})
            }
        }
    }
}

/// The connections that a [`Revert`] takes: [`BemiConnection`](crate::BemiConnection) and
/// [`AsyncBemiConnection`](crate::AsyncBemiConnection).
#[expect(private_bounds, reason = "nobody else implements it")]
pub trait RevertConnection: Client<Error = Error> + Sized {
    /// A result, or the future of one.
    type Outcome<'c, T: Send + 'c>
    where
        Self: 'c;

    #[doc(hidden)]
    fn plan(&mut self, revert: Revert) -> Self::Outcome<'_, Plan>;
    #[doc(hidden)]
    fn apply(&mut self, revert: Revert) -> Self::Outcome<'_, Reverted>;
    #[doc(hidden)]
    fn read(&mut self, revert: Revert, source: i64, database: String) -> Self::Outcome<'_, Revert>;
}

#[cfg(feature = "sync")]
impl RevertConnection for crate::BemiConnection {
    type Outcome<'c, T: Send + 'c> = Result<T, RevertError>;

    fn plan(&mut self, revert: Revert) -> Result<Plan, RevertError> {
        at_once(plan(self, revert))
    }

    fn apply(&mut self, revert: Revert) -> Result<Reverted, RevertError> {
        at_once(apply(self, revert))
    }

    fn read(
        &mut self,
        revert: Revert,
        source: i64,
        database: String,
    ) -> Result<Revert, RevertError> {
        at_once(read(self, revert, Origin { source, database }))
    }
}

#[cfg(feature = "async")]
impl RevertConnection for crate::AsyncBemiConnection {
    type Outcome<'c, T: Send + 'c> = futures_util::future::BoxFuture<'c, Result<T, RevertError>>;

    fn plan(&mut self, revert: Revert) -> Self::Outcome<'_, Plan> {
        Box::pin(plan(self, revert))
    }

    fn apply(&mut self, revert: Revert) -> Self::Outcome<'_, Reverted> {
        Box::pin(apply(self, revert))
    }

    fn read(&mut self, revert: Revert, source: i64, database: String) -> Self::Outcome<'_, Revert> {
        Box::pin(read(self, revert, Origin { source, database }))
    }
}

/// The outcome of a future that never waits, as that of a blocking connection.
#[cfg(feature = "sync")]
fn at_once<T>(future: impl Future<Output = Result<T, RevertError>>) -> Result<T, RevertError> {
    let outcome = futures_util::FutureExt::now_or_never(future);
    outcome.unwrap_or_else(|| unreachable!("a blocking connection is always ready"))
}

async fn plan<C: Client<Error = Error>>(
    client: &mut C,
    revert: Revert,
) -> Result<Plan, RevertError> {
    let trail = trail(client, revert.what).await?;
    Ok(run::plan(client, trail, revert.on_conflict).await?)
}

async fn apply<C: Client<Error = Error>>(
    client: &mut C,
    revert: Revert,
) -> Result<Reverted, RevertError> {
    let context = Context::new().with("revert", revert.description());
    let trail = trail(client, revert.what).await?;
    let applied = run::apply(client, trail, revert.on_conflict, &context);
    Ok(crate::scope(context.clone(), applied).await?)
}

async fn read<C: Client<Error = Error>>(
    client: &mut C,
    revert: Revert,
    origin: Origin,
) -> Result<Revert, RevertError> {
    let what = match revert.what {
        What::Selected(selection) => {
            refuse_everything(&selection)?;
            let trail = run::load(client, &selection, &origin).await?;
            What::Read(Box::new(selection), ReadTrail(trail))
        }
        given => given,
    };
    Ok(Revert { what, ..revert })
}

async fn trail<C: Client<Error = Error>>(
    client: &mut C,
    what: What,
) -> Result<Trail, Failure<Error>> {
    if let What::Selected(selection) = &what {
        refuse_everything(selection)?;
    }
    let origin = run::origin(client).await?;
    let trail = match what {
        What::Selected(selection) => run::load(client, &selection, &origin).await?,
        What::Read(_, ReadTrail(trail)) => trail,
        What::Given(changes) => {
            let mut entries: Vec<Entry> = changes.iter().map(Entry::from).collect();
            entries.retain(|entry| {
                !matches!(
                    entry.operation,
                    Operation::Snapshot | Operation::Ddl | Operation::Gap
                )
            });
            entries.sort_by_key(Entry::position);
            entries.dedup_by_key(|entry| entry.id);
            run::load_earlier(client, entries, &origin).await?
        }
    };
    let foreign =
        |entry: &Entry| entry.source != origin.source || entry.database != origin.database;
    if trail.entries.iter().any(foreign) {
        return Err(Refusal::OtherDatabase.into());
    }
    Ok(trail)
}

fn refuse_everything(selection: &Selection) -> Result<(), Failure<Error>> {
    if selection.is_empty() {
        return Err(Refusal::Unspecified.into());
    }
    Ok(())
}
