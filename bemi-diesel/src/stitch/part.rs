//! A transaction that is too large to be held whole.
//!
//! A change is settled once no message can change its context any more. A context covers the rows after it,
//! so what follows the first one is settled but for its end: a leading message also covers the row before
//! it, and a message is told to stand before the rows that begin where it ends. What comes before the first
//! context is taken all the same, as that may be at the very end, and gets it
//! [later](super::Transaction::late_context).

use super::{Open, RejectedContext, Stitcher};
use crate::{Change, JsonObject, Lsn};

/// The first changes of a transaction whose commit has not been read yet, or those that follow on such
/// ones.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// Where the commit record stands.
    pub(crate) commit_lsn: Lsn,
    pub(crate) changes: Vec<Change>,
    /// The messages under bemi's prefix that are no context.
    pub(crate) rejected: Vec<RejectedContext>,
}

/// A context that came after changes had been taken that it covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LateContext {
    /// It covers the transaction's changes with lower ordinals.
    pub(crate) before: u64,
    pub(crate) context: JsonObject,
}

impl Stitcher {
    /// Whether there is a [part](Self::take_part) to take.
    pub(crate) fn has_part(&self, changes: usize, bytes: usize) -> bool {
        let open = self.open.as_ref();
        open.is_some_and(|open| open.is_large(changes, bytes) && open.settled() > 0)
    }

    /// Takes the settled changes of the open transaction, if it holds as many as `changes` or as many bytes
    /// of rows and contexts as `bytes`.
    pub(crate) fn take_part(&mut self, changes: usize, bytes: usize) -> Option<Part> {
        let open = self.open.as_mut()?;
        if !open.is_large(changes, bytes) {
            return None;
        }
        let settled = open.settled();
        if settled == 0 {
            return None;
        }
        let rest = open.changes.split_off(settled);
        open.size = rest.iter().map(Change::size).sum();
        open.taken += settled as u64;
        Some(Part {
            commit_lsn: open.begin.final_lsn,
            changes: std::mem::replace(&mut open.changes, rest),
            rejected: std::mem::take(&mut open.rejected),
        })
    }
}

impl Open {
    fn is_large(&self, changes: usize, bytes: usize) -> bool {
        self.changes.len() >= changes || self.size >= bytes
    }

    /// How many of the changes are settled: all but those at the last position, and the one before.
    fn settled(&self) -> usize {
        let last = self.changes.last().map(|change| change.position);
        let at_last = self.changes.iter().rev();
        let at_last = at_last.take_while(|change| Some(change.position) == last);
        (self.changes.len() - at_last.count()).saturating_sub(1)
    }

    /// The first context has come: the changes that were taken get it too.
    pub(super) fn cover_taken(&mut self) {
        let first_held = self.changes.first().map(|change| change.ordinal);
        if let (1.., Some(before), Some(context)) = (self.taken, first_held, self.coverage.latest())
        {
            self.late_context = Some(LateContext {
                before,
                context: context.clone(),
            });
        }
    }
}
