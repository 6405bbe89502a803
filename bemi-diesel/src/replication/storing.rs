//! The sink at work, while more is read.

use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{Instrument as _, Span};

use super::handle::Status;
use super::measure;
use super::session::Batch;
use crate::Lsn;
use crate::error::Error;
use crate::sink::postgres::PostgresSink;
use crate::stitch::{Part, Transaction};

/// What is to be stored.
pub(super) enum Due {
    Batch(Batch),
    /// The next changes of the transaction that is being read.
    Part(Part),
}

impl Due {
    fn span(&self) -> Span {
        match self {
            Self::Batch(batch) => {
                let transactions = batch.transactions.len();
                tracing::debug_span!("store", transactions, flush_lsn = %batch.flush_lsn)
            }
            Self::Part(part) => tracing::debug_span!("store_part", changes = part.changes.len()),
        }
    }
}

/// The sink, which stores one thing after another in a task of its own. What it is doing when this is dropped ends
/// with it.
pub(super) struct Storing {
    idle: Option<PostgresSink>,
    busy: JoinSet<Result<(PostgresSink, Option<Stored>), Error>>,
}

impl Storing {
    pub(super) fn new(sink: PostgresSink) -> Self {
        Self {
            idle: Some(sink),
            busy: JoinSet::new(),
        }
    }

    /// Whether nothing is being stored.
    pub(super) fn is_idle(&self) -> bool {
        self.idle.is_some()
    }

    /// Begins to store it. Only when [idle](Self::is_idle).
    pub(super) fn begin(&mut self, due: Due) {
        if let Some(sink) = self.idle.take() {
            let span = due.span();
            self.busy.spawn(store(sink, due).instrument(span));
        }
    }

    /// Waits until it is done, and becomes idle; `None` for a part. When it is idle it waits until the connection
    /// has ended, which is an error.
    ///
    /// Nothing is lost when the returned future is dropped.
    pub(super) async fn next(&mut self) -> Result<Option<Stored>, Error> {
        if let Some(sink) = &self.idle {
            sink.closed().await;
            return Err(sink.disconnected());
        }
        match self.busy.join_next().await {
            Some(Ok(outcome)) => {
                let (sink, stored) = outcome?;
                self.idle = Some(sink);
                Ok(stored)
            }
            Some(Err(ended)) if ended.is_panic() => std::panic::resume_unwind(ended.into_panic()),
            // The runtime is shutting down, or an error has come before.
            Some(Err(_)) | None => std::future::pending().await,
        }
    }

    /// Waits for what is being stored, if anything is, after which nothing can be stored any more.
    pub(super) async fn finish(&mut self) -> Result<Option<Stored>, Error> {
        match self.busy.join_next().await {
            Some(Ok(outcome)) => outcome.map(|(_sink, stored)| stored),
            Some(Err(_)) | None => Ok(None),
        }
    }

    /// What [`next`](Self::next) gives, if that is at hand.
    pub(super) fn try_next(&mut self) -> Option<Result<Option<Stored>, Error>> {
        (!self.is_idle())
            .then(|| self.next().now_or_never())
            .flatten()
    }
}

async fn store(mut sink: PostgresSink, due: Due) -> Result<(PostgresSink, Option<Stored>), Error> {
    let stored = match due {
        Due::Part(part) => {
            sink.store_part(&part).await?;
            None
        }
        Due::Batch(batch) => {
            failpoint!("read");
            let since = Instant::now();
            sink.store(&batch.transactions, batch.flush_lsn).await?;
            Some(Stored {
                transactions: batch.transactions,
                put_aside: sink.take_put_aside(),
                flush_lsn: batch.flush_lsn,
                took: since.elapsed(),
            })
        }
    };
    Ok((sink, stored))
}

/// A batch that is durable.
pub(super) struct Stored {
    transactions: Vec<Transaction>,
    /// How many of their changes were put aside.
    put_aside: u64,
    pub(super) flush_lsn: Lsn,
    took: Duration,
}

impl Stored {
    pub(super) fn count(self, slot: &str, status: &watch::Sender<Status>) {
        let changes: u64 = self.transactions.iter().map(Transaction::count).sum();
        let with_changes = self
            .transactions
            .iter()
            .filter(|transaction| transaction.count() > 0);
        let transactions = with_changes.count() as u64;
        let last = self.transactions.last();
        let committed_at = last.map(|transaction| transaction.committed_at);
        let delay = committed_at.map(measure::since);
        measure::stored(
            slot,
            transactions,
            changes,
            self.took,
            delay.unwrap_or_default(),
        );
        measure::put_aside(slot, self.put_aside);
        status.send_modify(|status| {
            status.flush_lsn = self.flush_lsn;
            status.changes += changes;
            status.put_aside += self.put_aside;
            status.transactions += transactions;
            status.batches += u64::from(changes > 0);
            status.last_committed_at = committed_at.or(status.last_committed_at);
            status.delay = delay.or(status.delay);
        });
    }
}
