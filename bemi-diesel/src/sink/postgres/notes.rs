//! What a transaction tells beside its changes: contexts that came late, and tables.

use tokio_postgres::types::ToSql;

use super::copy::Jsonb;
use super::{PostgresSink, STORING};
use crate::error::Error;
use crate::sink::encoding::is_untranslatable;
use crate::sink::poison;
use crate::sink::store::{self, Holding};
use crate::stitch::{LateContext, Partitions, Tracked, Transaction};
use crate::{JsonObject, Lsn};

/// Goes by the unique key `changes_identity`.
const COVER: &str = "UPDATE public.changes SET context = $5 \
                     WHERE source = $1 AND commit_lsn = $2 AND ordinal >= $3 AND ordinal < $4";

/// How many changes are given their context in one statement: few enough that a server that does not
/// answer for so long will not.
const COVERED: usize = 2_000;

impl PostgresSink {
    /// Gives the transaction's parts the context that came after them.
    pub(super) async fn cover(&mut self, transaction: &Transaction) -> Result<(), Error> {
        let Some(LateContext { before, context }) = &transaction.late_context else {
            return Ok(());
        };
        self.run("SAVEPOINT part").await?;
        while let Err(error) = self
            .cover_rows(transaction.commit_lsn, *before, context)
            .await
        {
            self.run("ROLLBACK TO SAVEPOINT part").await?;
            if !is_untranslatable(&error) || !self.encoding.learn_context(context).await? {
                return Err(error);
            }
        }
        let place = (self.source, transaction.commit_lsn, *before);
        poison::cover(&self.connection, place, context).await
    }

    async fn cover_rows(
        &self,
        commit_lsn: Lsn,
        before: u64,
        context: &JsonObject,
    ) -> Result<(), Error> {
        let json = Jsonb(self.encoding.json(context));
        let commit_lsn = commit_lsn.as_i64();
        let preparing = self.connection.client.prepare(COVER);
        let cover = self.connection.answer(STORING, preparing).await?;
        for from in (0..before).step_by(COVERED) {
            let to = before.min(from + COVERED as u64).cast_signed();
            let from = from.cast_signed();
            let binds: [&(dyn ToSql + Sync); 5] = [&self.source, &commit_lsn, &from, &to, &json];
            let covering = self.connection.client.execute(&cover, &binds);
            self.connection.answer(STORING, covering).await?;
        }
        Ok(())
    }

    /// Notes the tables whose changes begin, and how partitioned ones are made up. One whose name the destination
    /// cannot hold is not covered there, as setup has it.
    pub(super) async fn note_tables(&self, transactions: &[Transaction]) -> Result<(), Error> {
        for transaction in transactions {
            for tracked in &transaction.tracked {
                self.note_tracked(transaction, tracked).await?;
            }
            for partitions in &transaction.partitions {
                self.note_partitions(transaction, partitions).await?;
            }
        }
        Ok(())
    }

    async fn note_partitions(
        &self,
        transaction: &Transaction,
        partitions: &Partitions,
    ) -> Result<(), Error> {
        let holding = Holding {
            oid: partitions.oid,
            parts: &partitions.parts,
            since_lsn: Lsn::new(transaction.commit_lsn.as_u64() + 1),
            ordinal: partitions.ordinal,
            since: transaction.committed_at,
            exact: partitions.exact,
        };
        self.run("SAVEPOINT partitions").await?;
        let (source, database) = (self.source, &self.database);
        match store::note_partitions(&self.connection, source, database, holding).await {
            Err(error) if is_untranslatable(&error) => {
                self.run("ROLLBACK TO SAVEPOINT partitions").await
            }
            noted => noted,
        }
    }

    async fn note_tracked(
        &self,
        transaction: &Transaction,
        tracked: &Tracked,
    ) -> Result<(), Error> {
        let commit_lsn = transaction.commit_lsn.as_i64();
        let binds: [&(dyn ToSql + Sync); 9] = [
            &self.source,
            &self.database,
            &&*tracked.schema,
            &&*tracked.table,
            &i64::from(tracked.oid),
            &commit_lsn,
            &tracked.ordinal.cast_signed(),
            &tracked.empty.then_some(transaction.committed_at),
            // Before this commit there was no such table.
            &(commit_lsn + 1),
        ];
        self.run("SAVEPOINT tracked").await?;
        let noting = self.connection.client.execute(store::COVER, &binds);
        match self.connection.answer(STORING, noting).await {
            Err(error) if is_untranslatable(&error) => {
                self.run("ROLLBACK TO SAVEPOINT tracked").await
            }
            noted => noted.map(|_rows| ()),
        }
    }
}
