//! What is stored and acknowledged, and when. Pure: the clock is an argument.

use std::time::{Duration, Instant};

use crate::error::ErrorKind;
use crate::stitch::{Transaction, Unreadable};
use crate::{Change, Lsn};

/// A backlog is stored in transactions, and a large transaction in parts, of about this many changes …
pub(super) const BATCH_CHANGES: usize = 10_000;

/// … or of about this many bytes of rows and contexts: this is memory, and rows can be large.
pub(super) const BATCH_BYTES: usize = 16 << 20;

/// A position that no change belongs to is stored after this long …
const IDLE_INTERVAL: Duration = Duration::from_secs(30);

/// … or after this long when it has moved by [`BUSY_BYTES`], as by the storing of a large batch.
const BUSY_INTERVAL: Duration = Duration::from_secs(1);

/// More log than storing a position writes: a few hundred bytes, after a checkpoint some pages of
/// 8 KiB. Where the source is the destination too, storing would otherwise go round in circles.
const BUSY_BYTES: u64 = 64 << 10;

/// How long more is left to gather after a batch, for each of its transactions and at most. So a source that commits
/// seldom sees each commit stored at once, and one that commits more often than every [`REST`] pays once for many.
const REST: Duration = Duration::from_millis(2);
const LONGEST_REST: Duration = Duration::from_millis(20);

/// With more transactions there is no rest, neither before they are stored nor after: what comes so fast is a backlog,
/// which is stored while it is read.
const BACKLOG: usize = 250;

/// Where to begin, given what the slot offers and what is stored.
///
/// The stored position is the authority: the server may send a stored transaction again after a
/// restart. It never falls behind the slot's by itself, as only what is stored is acknowledged. Nor is
/// it ever past the end of the log, unless the source is another one now: restored from a backup, or
/// taken over by a standby that was behind. It would write its log anew from there, and the server
/// would pass over all of it that lies before `stored`.
pub(crate) fn resume(slot: Lsn, stored: Lsn, end: Lsn) -> Result<Lsn, ErrorKind> {
    if stored < slot {
        Err(ErrorKind::Gap { stored, slot })
    } else if end < stored {
        Err(ErrorKind::Rewound { stored, end })
    } else {
        Ok(stored)
    }
}

/// Transactions to store, and the position that is stored with them.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) transactions: Vec<Transaction>,
    pub(crate) flush_lsn: Lsn,
}

/// A transaction that is stored in parts while it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Large {
    /// There is none.
    None,
    /// It is being read. Nothing else can be stored.
    Open,
    /// All of it has been read. What is left of it is stored at once.
    Read,
}

/// One replication stream's progress.
#[derive(Debug)]
pub(crate) struct Session {
    /// Read and not stored yet; none of them is empty.
    pending: Vec<Transaction>,
    pending_changes: usize,
    pending_bytes: usize,
    /// Everything before this has been read.
    read: Lsn,
    /// Everything before this is stored.
    flushed: Lsn,
    flushed_at: Instant,
    large: Large,
    /// How long to rest after what was stored last, or is being stored.
    rest: Duration,
    /// A batch is being stored.
    storing: bool,
    /// The server waits to hear that `read` is stored: it is shutting down.
    urgent: bool,
    /// Somebody waits until the position is stored that reaches here.
    wanted: Lsn,
}

impl Session {
    pub(crate) fn new(stored: Lsn, now: Instant) -> Self {
        Self {
            pending: Vec::new(),
            pending_changes: 0,
            pending_bytes: 0,
            read: stored,
            flushed: stored,
            flushed_at: now,
            large: Large::None,
            rest: Duration::ZERO,
            storing: false,
            urgent: false,
            wanted: Lsn::ZERO,
        }
    }

    /// Whether the transaction with this commit record is stored.
    pub(crate) fn is_stored(&self, commit_lsn: Lsn) -> bool {
        commit_lsn < self.flushed
    }

    /// What has been read and must be stored before anything else; `None` if there is nothing.
    pub(crate) fn pending(&mut self) -> Option<Batch> {
        (!self.pending.is_empty()).then(|| self.batch())
    }

    /// A part of a transaction is about to be stored.
    pub(crate) fn part(&mut self) {
        self.large = Large::Open;
    }

    /// Whether as much has been read as is stored at a time.
    pub(crate) fn is_full(&self) -> bool {
        self.pending_changes >= BATCH_CHANGES || self.pending_bytes >= BATCH_BYTES
    }

    /// A transaction has been read.
    pub(crate) fn transaction(&mut self, transaction: Transaction) {
        if transaction.end_lsn <= self.flushed {
            return;
        }
        self.read = self.read.max(transaction.end_lsn);
        let notes = !transaction.tracked.is_empty() || !transaction.partitions.is_empty();
        let unreadable = &transaction.unreadable;
        if !transaction.changes.is_empty() || !unreadable.is_empty() || notes {
            self.pending_changes += transaction.changes.len() + unreadable.len();
            self.pending_bytes += transaction.changes.iter().map(Change::size).sum::<usize>();
            self.pending_bytes += unreadable.iter().map(Unreadable::size).sum::<usize>();
            self.pending.push(transaction);
        }
        if self.large == Large::Open {
            self.large = Large::Read;
        }
    }

    /// Between transactions, the server has sent all that was committed before `wal_end`.
    pub(crate) fn keepalive(&mut self, wal_end: Lsn, reply_requested: bool) {
        self.read = self.read.max(wal_end);
        self.urgent |= reply_requested;
    }

    /// Somebody waits for the stored position to reach `lsn`.
    pub(crate) fn want(&mut self, lsn: Lsn) {
        self.wanted = lsn;
    }

    /// What to store now, if anything, while nothing is being stored. `more` tells whether something further has arrived
    /// already: a lone commit is stored at once, a backlog in batches, and what comes in quick succession after a rest.
    pub(crate) fn due(&mut self, now: Instant, more: bool) -> Option<Batch> {
        let due = match self.large {
            Large::Open => false,
            Large::Read => true,
            Large::None if self.pending.is_empty() => self.deadline().is_some_and(|at| at <= now),
            Large::None => self.is_full() || !more && self.rests_until().is_none_or(|at| at <= now),
        };
        due.then(|| self.batch())
    }

    fn batch(&mut self) -> Batch {
        (self.pending_changes, self.pending_bytes) = (0, 0);
        self.urgent = false;
        self.large = Large::None;
        self.storing = true;
        let transactions = self.pending.len();
        self.rest = if transactions > BACKLOG {
            Duration::ZERO
        } else {
            (REST * u32::try_from(transactions).unwrap_or(u32::MAX)).min(LONGEST_REST)
        };
        Batch {
            transactions: std::mem::take(&mut self.pending),
            flush_lsn: self.read,
        }
    }

    /// When something has to be stored although nothing further comes, while nothing is being stored; `None` if there is
    /// nothing to store.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        if !self.pending.is_empty() {
            return self.rests_until();
        }
        let patience = match self.read.as_u64() - self.flushed.as_u64() {
            0 => return None,
            _ if self.urgent || self.flushed < self.wanted && self.wanted <= self.read => {
                Duration::ZERO
            }
            BUSY_BYTES.. => BUSY_INTERVAL,
            _ => IDLE_INTERVAL,
        };
        Some(self.flushed_at + patience)
    }

    /// Until when what comes is left to gather; `None` if it is stored when nothing further has arrived.
    fn rests_until(&self) -> Option<Instant> {
        let is_awaited = self.urgent || self.flushed < self.wanted;
        let rests = !self.rest.is_zero() && self.pending.len() <= BACKLOG && !is_awaited;
        rests.then(|| self.flushed_at + self.rest)
    }

    /// What has been read is to be stored now.
    pub(crate) fn stop_resting(&mut self) {
        self.rest = Duration::ZERO;
    }

    /// A batch is durable.
    pub(crate) fn flushed(&mut self, flush_lsn: Lsn, now: Instant) {
        self.storing = false;
        self.flushed = flush_lsn;
        self.flushed_at = now;
    }

    /// Everything that was committed before this has been read.
    pub(crate) fn read(&self) -> Lsn {
        self.read
    }

    /// Everything that was committed before this is stored; what was not stored had nothing to store.
    pub(crate) fn captured(&self) -> Lsn {
        if self.pending.is_empty() && !self.storing {
            self.read
        } else {
            self.flushed
        }
    }
}

/// Whether a stream that nothing comes from is alive.
///
/// Silence alone tells nothing: an idle server has nothing to say, and one that reads through a huge
/// transaction says nothing for as long as that takes. But what an idle walsender has sent must arrive.
#[derive(Debug)]
pub(crate) struct Silence {
    patience: Duration,
    heard_at: Instant,
    /// How often something was missing since.
    missed: u32,
}

impl Silence {
    /// How often the server is asked until the patience is over.
    const CHECKS: u32 = 4;

    pub(crate) fn new(patience: Duration, now: Instant) -> Self {
        Self {
            patience,
            heard_at: now,
            missed: 0,
        }
    }

    /// Something came.
    pub(crate) fn broken(&mut self, now: Instant) {
        (self.heard_at, self.missed) = (now, 0);
    }

    /// When to ask the server next.
    pub(crate) fn check_at(&self) -> Instant {
        self.heard_at + self.patience / Self::CHECKS
    }

    /// The server was asked: everything before `read` has come, and `sent` is what an idle walsender has
    /// sent. Whether the stream is lost.
    pub(crate) fn checked(&mut self, read: Lsn, sent: Option<Lsn>, now: Instant) -> bool {
        self.heard_at = now;
        self.missed = match sent {
            Some(sent) if sent > read => self.missed + 1,
            _ => 0,
        };
        self.missed >= Self::CHECKS
    }
}

#[cfg(test)]
mod tests;
