//! Changes into the table `changes`, together with the progress, in one transaction.

mod copy;
mod notes;
mod parts;
mod probe;

use tokio_postgres::Statement;
use tokio_postgres::types::{PgLsn, ToSql};

#[cfg(feature = "cli")]
use super::baseline::Baseline;
use super::encoding::Encoding;
use super::poison;
use super::store;
use crate::error::{Error, ErrorKind};
use crate::postgres::{Connection, Endpoint};
#[cfg(feature = "cli")]
use crate::setup::Server;
use crate::stitch::{Part, Transaction};
use crate::{Change, Lsn};

pub(super) use copy::Jsonb;

const STORING: &str = "storing changes";

/// The session that stores waits this long for a lock, then the stream is dropped and tried again: a
/// source that shuts down must not wait for whoever holds the lock.
const LOCK_TIMEOUT: &str = "SET lock_timeout = '5s'";

const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";

/// Moves the progress only from where this capture left it: whoever else has moved it in the meantime
/// has stored these changes already.
///
/// Where the log is this server's own it also takes a sample of where the log ends, and when. Once the
/// progress is past it, everything that was committed before that time is stored, also where nothing
/// was. The second is for transactions that had noted their time and not yet written their commit.
const ADVANCE: &str = "UPDATE public._bemi_progress SET flush_lsn = $5, changes = changes + $6, \
                       transactions = transactions + $7, last_committed_at = coalesce($8, last_committed_at), \
                       updated_at = now(), covered_at = CASE WHEN sampled_lsn <= $5 THEN sampled_at ELSE covered_at END, \
                       sampled_lsn = CASE WHEN sampled_lsn > $5 THEN sampled_lsn ELSE here.lsn END, \
                       sampled_at = CASE WHEN sampled_lsn > $5 THEN sampled_at ELSE here.at END \
                       FROM (SELECT CASE WHEN system_identifier = $1 THEN pg_current_wal_insert_lsn() END AS lsn, \
                             clock_timestamp() - interval '1 second' AS at FROM pg_control_system()) here WHERE source = $1 AND database = $2 AND slot = $3 AND flush_lsn = $4";

/// Keeps whoever else stores changes of this source away, unless somebody has moved the progress.
const CLAIM: &str = "SELECT FROM public._bemi_progress \
                     WHERE source = $1 AND database = $2 AND slot = $3 AND flush_lsn = $4 FOR UPDATE";

/// A connection to the destination that stores the changes of one source.
pub(crate) struct PostgresSink {
    connection: Connection,
    advance: Statement,
    copy: Statement,
    put_aside: Statement,
    encoding: Encoding,
    /// How many changes are stored of a transaction whose rest has not come yet. It holds our own
    /// transaction open.
    partial: Option<u64>,
    /// How many changes were put aside lately.
    aside: u64,
    source: i64,
    database: String,
    slot: String,
    publication: u32,
    /// Everything before this is stored.
    flush_lsn: Lsn,
}

impl PostgresSink {
    /// Connects, and waits until a predecessor whose connection was cut has ended: what it was storing
    /// is stored by then, or never will be.
    pub(crate) async fn open(
        endpoint: &Endpoint,
        source: i64,
        database: &str,
        slot: &str,
    ) -> Result<Self, Error> {
        let connection = Connection::open(endpoint).await?;
        let locking = connection.client.batch_execute(LOCK_TIMEOUT);
        connection
            .answer("preparing to store changes", locking)
            .await?;
        let progress = store::locked_progress(&connection, source, database).await?;
        if progress.slot != slot {
            let stored = progress.slot;
            return Err(Error::new(ErrorKind::OtherSlot { stored }));
        }
        let prepare = async |sql| {
            let preparing = connection.client.prepare(sql);
            connection
                .answer("preparing to store changes", preparing)
                .await
        };
        let (advance, copy) = (prepare(ADVANCE).await?, prepare(copy::COPY).await?);
        // Also to see now that it can be done.
        let put_aside = prepare(poison::INSERT).await?;
        Ok(Self {
            connection,
            advance,
            copy,
            put_aside,
            encoding: Encoding::new(endpoint.clone()),
            partial: None,
            aside: 0,
            source,
            database: database.to_owned(),
            slot: slot.to_owned(),
            publication: progress.publication,
            flush_lsn: progress.flush_lsn,
        })
    }

    /// Everything that was committed in the source before this is durable here.
    pub(crate) fn flush_lsn(&self) -> Lsn {
        self.flush_lsn
    }

    /// The identifier of the publication that the stored changes were read through.
    pub(crate) fn publication(&self) -> u32 {
        self.publication
    }

    /// How many changes were put aside since this was last asked.
    pub(crate) fn take_put_aside(&mut self) -> u64 {
        std::mem::take(&mut self.aside)
    }

    /// Waits until the connection has ended.
    pub(crate) async fn closed(&self) {
        self.connection.closed().await;
    }

    /// The error for a connection that [ended](Self::closed).
    pub(crate) fn disconnected(&self) -> Error {
        self.connection.disconnected()
    }

    /// Stores `transactions` and moves the progress to `flush_lsn`: both or nothing. What is stored
    /// already, because somebody has set the progress back, is left as it is; what the destination refuses
    /// is put aside.
    ///
    /// After an error, or when the returned future is dropped, it is unknown which: a new sink reads it
    /// from the progress.
    pub(crate) async fn store(
        &mut self,
        transactions: &[Transaction],
        flush_lsn: Lsn,
    ) -> Result<(), Error> {
        let changes = transactions
            .iter()
            .flat_map(|transaction| &transaction.changes);
        let mut changes: Vec<&Change> = changes.collect();
        let unreadable = transactions
            .iter()
            .flat_map(|transaction| &transaction.unreadable);
        if self.partial.is_none() && unreadable.clone().next().is_some() {
            self.begin().await?;
        }
        while self.partial.is_none() {
            let storing = self.store_together(&changes, transactions, flush_lsn);
            let Err(error) = storing.await else {
                self.flush_lsn = flush_lsn;
                return Ok(());
            };
            self.run("ROLLBACK").await?;
            match self.mend(error, &mut changes).await {
                // One of them is refused: they are stored in parts, until it stands alone.
                Err(error) if poison::refusal(&error).is_some() => self.begin().await?,
                mended => mended?,
            }
        }
        if let Some(stored) = self.partial.take() {
            let stored = stored + self.copy_part(changes, unreadable).await?;
            for transaction in transactions {
                self.cover(transaction).await?;
            }
            self.note_tables(transactions).await?;
            failpoint!("parts-covered");
            self.advance(stored, transactions, flush_lsn).await?;
            failpoint!("parts-advanced");
            self.run("COMMIT").await?;
            failpoint!("parts-committed");
        }
        self.flush_lsn = flush_lsn;
        Ok(())
    }

    /// Stores the first changes of a transaction, or the next ones. They become durable with the rest of
    /// it, when that is [stored](Self::store).
    pub(crate) async fn store_part(&mut self, part: &Part) -> Result<(), Error> {
        if self.partial.is_none() {
            self.begin().await?;
            failpoint!("part-claimed");
        }
        let changes = part.changes.iter().collect();
        let stored = self.copy_part(changes, &part.unreadable).await?;
        failpoint!("part-stored");
        self.partial = Some(self.partial.unwrap_or(0) + stored);
        Ok(())
    }

    /// Stores rows that were there before they were tracked, and how far their table is read: both or
    /// nothing.
    #[cfg(feature = "cli")]
    pub(crate) async fn store_baseline(
        &mut self,
        server: &Server,
        changes: &[Change],
        baseline: &Baseline<'_>,
    ) -> Result<(), Error> {
        self.run(BEGIN).await?;
        let changes = changes.iter().collect();
        self.copy_part(changes, []).await?;
        baseline.save(&self.connection, server).await?;
        self.run("COMMIT").await
    }

    /// Begins a transaction that stores changes in parts.
    async fn begin(&mut self) -> Result<(), Error> {
        self.run(BEGIN).await?;
        self.claim().await?;
        self.partial = Some(0);
        Ok(())
    }

    async fn claim(&self) -> Result<(), Error> {
        let expected = self.flush_lsn;
        let binds: [&(dyn ToSql + Sync); 4] = [
            &self.source,
            &self.database,
            &self.slot,
            &PgLsn::from(expected.as_u64()),
        ];
        let claiming = self.connection.client.execute(CLAIM, &binds);
        match self.connection.answer(STORING, claiming).await? {
            1 => Ok(()),
            _ => Err(Error::new(ErrorKind::Fenced { expected })),
        }
    }

    async fn store_together(
        &self,
        changes: &[&Change],
        transactions: &[Transaction],
        flush_lsn: Lsn,
    ) -> Result<(), Error> {
        self.run(BEGIN).await?;
        failpoint!("begun");
        self.advance(changes.len() as u64, transactions, flush_lsn)
            .await?;
        failpoint!("advanced");
        if !changes.is_empty() {
            self.copy(changes).await?;
        }
        self.note_tables(transactions).await?;
        failpoint!("copied");
        self.run("COMMIT").await?;
        failpoint!("committed");
        Ok(())
    }

    async fn advance(
        &self,
        changes: u64,
        transactions: &[Transaction],
        flush_lsn: Lsn,
    ) -> Result<(), Error> {
        let expected = self.flush_lsn;
        let last = transactions.last();
        let with_changes = transactions
            .iter()
            .filter(|transaction| transaction.count() > 0);
        let binds = [
            &self.source as &(dyn ToSql + Sync),
            &self.database,
            &self.slot,
            &PgLsn::from(expected.as_u64()),
            &PgLsn::from(flush_lsn.as_u64()),
            &changes.cast_signed(),
            &i64::try_from(with_changes.count()).unwrap_or(i64::MAX),
            &last.map(|transaction| transaction.committed_at),
        ];
        let advancing = self.connection.client.execute(&self.advance, &binds);
        match self.connection.answer(STORING, advancing).await? {
            1 => Ok(()),
            _ => Err(Error::new(ErrorKind::Fenced { expected })),
        }
    }

    async fn run(&self, statement: &str) -> Result<(), Error> {
        let running = self.connection.client.batch_execute(statement);
        self.connection.answer(STORING, running).await
    }
}
