//! The transaction a connection is in, and which messages its rows still need. Pure.
//!
//! In a transaction the context rides on its end: one message before `COMMIT` covers every row, as
//! a row without a message before it takes the first one after it. Only when the context changes on
//! the way does a message go out earlier, because a row takes the latest message *before* it if there
//! is one: at the change both are written, the old context for the rows so far and the new one for
//! those to come.

use std::sync::Arc;

use super::emit::{self, When};
use super::statement::Control;
use crate::context::MembersJson;

/// A context in its wire form, or none: code outside every scope.
pub(super) type Members = Option<MembersJson>;

/// The transaction that a connection is in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Transaction {
    /// None: every statement is one of its own.
    #[default]
    Autocommit,
    /// One that the application began.
    Open(Block),
    /// One that the application began and that the server refuses to go on with.
    Failed(Block),
    /// One that was put around a single statement, and that ends with it. It is seen from outside
    /// only when the statement was abandoned half-way: by a cancelled future, or a panic.
    Enclosed,
}

/// What happened in a transaction so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Block {
    coverage: Coverage,
    /// The open savepoints, and how far the log was at each: rolling back to one takes the messages
    /// since then out of the log, and with them the rows they were for.
    savepoints: Vec<(String, Coverage)>,
}

/// Which message the rows of a transaction have or need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Coverage {
    /// Nothing has run that may write.
    #[default]
    Clean,
    /// Rows may have been written with `members` as their context, and no message yet.
    Due { members: Members, text: Text },
    /// The latest message in the log is this context.
    Told(Members),
}

/// The text of the statements that a due message covers.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Text {
    /// They all have this one, as those in a loop do.
    One(Arc<str>),
    /// More than one, or one that is not known.
    Many,
}

impl Text {
    /// The text of these statements and `other` ones.
    fn and(self, other: &Self) -> Self {
        if self == *other { self } else { Self::Many }
    }

    fn one(&self) -> Option<&str> {
        match self {
            Self::One(text) => Some(text),
            Self::Many => None,
        }
    }
}

impl Transaction {
    /// Follows `control`, which the server has accepted.
    pub(super) fn apply(&mut self, control: &Control) {
        let current = std::mem::take(self);
        *self = match (current, control) {
            // In a transaction `BEGIN` is a warning and changes nothing.
            (Self::Open(block), Control::Begin) => Self::Open(block),
            (Self::Autocommit | Self::Failed(_) | Self::Enclosed, Control::Begin) => {
                Self::Open(Block::default())
            }
            (_, Control::Commit | Control::Prepare | Control::Rollback) => Self::Autocommit,
            (
                Self::Open(_) | Self::Failed(_),
                Control::CommitAndChain | Control::RollbackAndChain,
            ) => Self::Open(Block::default()),
            (Self::Open(mut block), Control::Savepoint(name)) => {
                block
                    .savepoints
                    .push((name.clone(), block.coverage.clone()));
                Self::Open(block)
            }
            (Self::Open(mut block), Control::Release(name)) => {
                if let Some(at) = block.savepoint(name) {
                    block.savepoints.truncate(at);
                }
                Self::Open(block)
            }
            (Self::Open(mut block) | Self::Failed(mut block), Control::RollbackTo(name)) => {
                if let Some(at) = block.savepoint(name) {
                    block.savepoints.truncate(at + 1);
                    block.coverage = block.savepoints[at].1.clone();
                }
                Self::Open(block)
            }
            (
                other,
                Control::CommitAndChain
                | Control::RollbackAndChain
                | Control::Savepoint(_)
                | Control::Release(_)
                | Control::RollbackTo(_),
            ) => other,
        };
    }

    /// A statement other than transaction control went well, so the transaction is alive.
    pub(super) fn succeeded(&mut self) {
        if let Self::Failed(block) = self {
            *self = Self::Open(std::mem::take(block));
        }
    }

    /// The server refused a statement.
    pub(super) fn failed(&mut self) {
        if let Self::Open(block) = self {
            *self = Self::Failed(std::mem::take(block));
        }
    }
}

impl Block {
    /// Notes that a statement with `text` is about to write with `members` as its context. Returns
    /// what must be written into the log before it.
    pub(super) fn write(&mut self, members: Members, text: Option<&Arc<str>>) -> Option<String> {
        let text = text.map_or(Text::Many, |text| Text::One(Arc::clone(text)));
        let (coverage, before) = match std::mem::take(&mut self.coverage) {
            Coverage::Clean => (Coverage::Due { members, text }, None),
            Coverage::Due {
                members: old,
                text: before,
            } if old == members => (
                Coverage::Due {
                    members,
                    text: before.and(&text),
                },
                None,
            ),
            Coverage::Due { members: old, text } => {
                let so_far = emit::select(old.as_deref(), text.one(), When::Wrote);
                let to_come = emit::select(members.as_deref(), None, When::Always);
                (Coverage::Told(members), Some(format!("{so_far};{to_come}")))
            }
            Coverage::Told(old) if old == members => (Coverage::Told(members), None),
            Coverage::Told(_) => {
                let to_come = emit::select(members.as_deref(), None, When::Always);
                (Coverage::Told(members), Some(to_come))
            }
        };
        self.coverage = coverage;
        before
    }

    /// What must be written into the log before the transaction ends well.
    pub(super) fn end(&self) -> Option<String> {
        match &self.coverage {
            Coverage::Due {
                members: Some(members),
                text,
            } => Some(emit::select(Some(members), text.one(), When::Wrote)),
            Coverage::Clean | Coverage::Due { members: None, .. } | Coverage::Told(_) => None,
        }
    }

    /// What must be written now because the transaction will end without being asked again.
    pub(super) fn settle(&mut self) -> Option<String> {
        let Coverage::Due {
            members: Some(members),
            text,
        } = &self.coverage
        else {
            return None;
        };
        let message = emit::select(Some(members), text.one(), When::Always);
        self.coverage = Coverage::Told(Some(members.clone()));
        Some(message)
    }

    /// The latest savepoint called `name`.
    fn savepoint(&self, name: &str) -> Option<usize> {
        self.savepoints.iter().rposition(|(own, _)| own == name)
    }
}

#[cfg(test)]
mod tests;
