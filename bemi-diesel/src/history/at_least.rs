//! Reading one's own writes: waiting until the trail has them.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use diesel::dsl::sql;
use diesel::expression::SqlLiteral;
use diesel::result::QueryResult;
use diesel::sql_types::{BigInt, Bool, Nullable, Text, Timestamptz};
use diesel::{QueryableByName, sql_query};

use super::error::TravelError;
use super::query::History;
use crate::{Change, Lsn};

/// How long it is waited unless one says otherwise.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// The pauses between two looks double from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(4);
const LAST_PAUSE: Duration = Duration::from_millis(128);

/// How often whoever captures is asked to store how far it has come.
const REMINDER: Duration = Duration::from_secs(1);

/// Where the log of the captured database is, as an expression of diesel's. What was committed before it was
/// asked lies before it.
///
/// ```no_run
/// use bemi_diesel::history::{current_lsn, history};
/// use bemi_diesel::{BemiConnection, Change, Lsn};
/// use diesel::prelude::*;
///
/// # fn example(connection: &mut BemiConnection) -> QueryResult<()> {
/// // After the commit, and perhaps in another process:
/// let lsn: Lsn = diesel::select(current_lsn()).get_result(connection)?;
/// let changes: Vec<Change> = history().record("todos", 7).at_least(lsn).load(connection)?;
/// # Ok(())
/// # }
/// ```
pub fn current_lsn() -> SqlLiteral<BigInt> {
    sql("(pg_catalog.pg_current_wal_insert_lsn() - '0/0')::bigint")
}

/// A place in the log that the trail is to reach before it is asked; [`at_least`] makes one.
#[derive(Clone, Debug)]
#[must_use = "it waits for nothing until it is asked to"]
pub struct AtLeast {
    lsn: Lsn,
    timeout: Duration,
    database: Option<String>,
}

/// Waits until everything that was committed before `lsn` is stored, whichever process captures it: for
/// [`as_of`](crate::history::rows_as_of) and other questions than [`history`](crate::history::history), which
/// takes it [by itself](History::at_least).
///
/// ```no_run
/// # use bemi_diesel::Lsn;
/// # use bemi_diesel::history::{at_least, rows_as_of};
/// # fn example(trail: &mut diesel::PgConnection, lsn: Lsn) -> diesel::QueryResult<()> {
/// at_least(lsn).wait(trail)?;
/// let todos = rows_as_of("todos", lsn).load(trail)?;
/// # Ok(())
/// # }
/// ```
pub fn at_least(lsn: Lsn) -> AtLeast {
    AtLeast {
        lsn,
        timeout: DEFAULT_TIMEOUT,
        database: None,
    }
}

impl From<Lsn> for AtLeast {
    fn from(lsn: Lsn) -> Self {
        at_least(lsn)
    }
}

/// How far the changes of a database are stored.
#[derive(QueryableByName)]
struct Progress {
    #[diesel(sql_type = Text)]
    database: String,
    #[diesel(sql_type = BigInt)]
    flush_lsn: i64,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    covered_at: Option<DateTime<Utc>>,
    /// Whether it is the database that was asked.
    #[diesel(sql_type = Bool)]
    here: bool,
    /// Whether a message can be written to its log from here.
    #[diesel(sql_type = Bool)]
    reminds: bool,
}

const PROGRESS: &str = "SELECT database, (flush_lsn - '0/0')::bigint AS flush_lsn, \
        greatest(covered_at, last_committed_at) AS covered_at, here, here AND reminds AS reminds \
     FROM public._bemi_progress, \
     LATERAL (SELECT database = pg_catalog.current_database() \
                 AND source = (SELECT system_identifier FROM pg_catalog.pg_control_system()) AS here) place, \
     (SELECT NOT pg_catalog.pg_is_in_recovery() \
         AND pg_catalog.bool_and(pg_catalog.has_function_privilege(oid, 'EXECUTE')) AS reminds \
      FROM pg_catalog.pg_proc \
      WHERE proname = 'pg_logical_emit_message' AND pronamespace = 'pg_catalog'::pg_catalog.regnamespace) role";

/// One wait: when it began, and what was done since.
struct Wait<'a> {
    until: &'a AtLeast,
    began: Instant,
    pause: Duration,
    reminded: Option<Instant>,
}

impl<'a> Wait<'a> {
    fn new(until: &'a AtLeast) -> Self {
        Self {
            until,
            began: Instant::now(),
            pause: FIRST_PAUSE,
            reminded: None,
        }
    }

    /// What to run before the next look, or `None` when the place is reached.
    fn pause(&mut self, stored: Vec<Progress>) -> Result<Option<String>, TravelError> {
        let progress = self.until.choose(stored)?;
        let covered_lsn = Lsn::from_i64(progress.flush_lsn);
        if covered_lsn >= self.until.lsn {
            return Ok(None);
        }
        let waited = self.began.elapsed();
        let Some(left) = self
            .until
            .timeout
            .checked_sub(waited)
            .filter(|left| !left.is_zero())
        else {
            return Err(TravelError::NotReached {
                wanted_lsn: self.until.lsn,
                waited: self.until.timeout,
                covered_lsn,
                covered_at: progress.covered_at,
            });
        };
        // An idle position is stored twice a minute; a heartbeat has it stored at once.
        let due = self.reminded.is_none_or(|at| at.elapsed() >= REMINDER);
        let reminder = if progress.reminds && due {
            self.reminded = Some(Instant::now());
            "pg_catalog.pg_logical_emit_message(false, '_bemi_heartbeat', ''), "
        } else {
            ""
        };
        let pause = self.pause.min(left).as_secs_f64();
        self.pause = LAST_PAUSE.min(self.pause * 2);
        // The server sleeps, so that it takes no timer of anybody's runtime.
        Ok(Some(format!(
            "SELECT {reminder}pg_catalog.pg_sleep({pause})"
        )))
    }
}

impl AtLeast {
    /// How long to wait. Defaults to 10 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The captured database that the place is of. Defaults to the one that is asked, or else to the only
    /// one whose changes are stored there.
    pub fn database(mut self, name: &str) -> Self {
        self.database = Some(name.to_owned());
        self
    }

    fn choose(&self, mut stored: Vec<Progress>) -> Result<Progress, TravelError> {
        match &self.database {
            Some(name) => stored.retain(|progress| progress.database == *name),
            None if stored.iter().any(|progress| progress.here) => {
                stored.retain(|progress| progress.here);
            }
            None => {}
        }
        if stored.len() > 1 {
            let databases = stored.into_iter().map(|progress| progress.database);
            return Err(TravelError::Several(databases.collect()));
        }
        stored.pop().ok_or(TravelError::NoTrail)
    }

    /// Waits. A capture that has nothing to store is asked to say how far it has come, by a message in the
    /// log with the prefix `_bemi_heartbeat`, where the connection is to the captured database. Where it goes to
    /// another one that holds the changes, a position that no change belongs to is stored within half a minute.
    ///
    /// In a transaction it must not be `REPEATABLE READ` or above, which sees nothing new.
    ///
    /// # Errors
    ///
    /// Those of diesel, and [`TravelError::NotReached`] inside `QueryBuilderError` once the timeout is over.
    #[cfg(feature = "sync")]
    pub fn wait<C>(&self, connection: &mut C) -> QueryResult<()>
    where
        C: diesel::connection::LoadConnection<Backend = diesel::pg::Pg>,
    {
        use diesel::RunQueryDsl;

        let mut wait = Wait::new(self);
        while let Some(pause) = wait.pause(sql_query(PROGRESS).load(connection)?)? {
            sql_query(pause).execute(connection)?;
        }
        Ok(())
    }

    /// [Waits](Self::wait) over a connection of diesel-async's.
    ///
    /// # Errors
    ///
    /// The same.
    #[cfg(feature = "async")]
    pub async fn wait_async<C>(&self, connection: &mut C) -> QueryResult<()>
    where
        C: diesel_async::AsyncConnection<Backend = diesel::pg::Pg>,
    {
        use diesel_async::RunQueryDsl;

        let mut wait = Wait::new(self);
        while let Some(pause) = wait.pause(sql_query(PROGRESS).load(connection).await?)? {
            sql_query(pause).execute(connection).await?;
        }
        Ok(())
    }
}

/// A question that first waits for the trail; [`History::at_least`] makes one.
#[must_use = "a question does nothing until it is loaded"]
pub struct HistoryAtLeast {
    history: History,
    at_least: AtLeast,
}

impl History {
    /// Waits until everything that was committed before `lsn` is stored, and asks then: so a request shows
    /// its own change, whichever process captures it. [`current_lsn`] gives the place, after the commit.
    ///
    /// ```no_run
    /// # use bemi_diesel::history::{at_least, history};
    /// # use bemi_diesel::{BemiConnection, Change, Lsn};
    /// # use std::time::Duration;
    /// # fn example(connection: &mut BemiConnection, lsn: Lsn) -> diesel::QueryResult<()> {
    /// let patience = at_least(lsn).timeout(Duration::from_secs(1));
    /// let changes: Vec<Change> = history().table("todos").at_least(patience).load(connection)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn at_least(self, lsn: impl Into<AtLeast>) -> HistoryAtLeast {
        HistoryAtLeast {
            history: self,
            at_least: lsn.into(),
        }
    }
}

impl HistoryAtLeast {
    /// [Waits](AtLeast::wait), and loads the changes.
    ///
    /// # Errors
    ///
    /// Those of diesel, and [`TravelError::NotReached`] inside `QueryBuilderError` once the timeout is over.
    #[cfg(feature = "sync")]
    pub fn load<C>(self, connection: &mut C) -> QueryResult<Vec<Change>>
    where
        C: diesel::connection::LoadConnection<Backend = diesel::pg::Pg>,
    {
        self.at_least.wait(connection)?;
        diesel::RunQueryDsl::load(self.history, connection)
    }

    /// [Loads](Self::load) over a connection of diesel-async's.
    ///
    /// # Errors
    ///
    /// The same.
    #[cfg(feature = "async")]
    pub async fn load_async<C>(self, connection: &mut C) -> QueryResult<Vec<Change>>
    where
        C: diesel_async::AsyncConnection<Backend = diesel::pg::Pg>,
    {
        self.at_least.wait_async(connection).await?;
        diesel_async::RunQueryDsl::load(self.history, connection).await
    }
}
