//! What a program is made of.

use crate::schema::{AuthorChanges, BookChanges, NewAuthor, NewBook};

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Insert(NewBook),
    InsertReturning(NewBook),
    InsertReturningColumns(NewBook),
    /// With fields that may be a `DEFAULT`.
    InsertAuthor(NewAuthor),
    InsertAuthorReturning(NewAuthor),
    InsertMany(Vec<NewBook>),
    InsertManyReturning(Vec<NewBook>),
    InsertDefaults,
    /// Copies the books of this author under new titles.
    InsertSelect(i32),
    DoNothing(NewBook),
    DoNothingReturning(NewBook),
    Upsert(NewBook),
    UpsertReturning(NewBook),
    UpsertOnConstraint(NewBook),
    Update {
        id: i32,
        pages: i32,
    },
    UpdateReturning {
        id: i32,
        pages: i32,
    },
    /// Every book with at least so many pages gets one more.
    UpdateMany(i32),
    UpdateManyReturning(i32),
    UpdateChanges {
        id: i32,
        changes: BookChanges,
    },
    UpdateAuthor(AuthorChanges),
    /// Loads the book, and saves it with so many pages.
    Save {
        id: i32,
        pages: i32,
    },
    Delete(i32),
    DeleteReturning(i32),
    DeleteAuthor(i32),
    /// Every book with fewer pages.
    DeleteMany(i32),
    DeleteManyReturning(i32),
    /// One `DELETE` with so many parameters.
    DeleteWithBinds(usize),
    Find(i32),
    Books,
    Streamed,
    /// A result that fails at this row, taken row by row.
    StreamedUntil(i32),
    Join,
    Count,
    Exists(i32),
    ForUpdate(i32),
    Boxed {
        pages: Option<i32>,
        limit: i64,
    },
    Sql(String),
    /// A query with the text column `value`.
    SqlRows(String),
    Batch(String),
    Transaction(Vec<Step>, End),
    Build(Mode, Vec<Step>, End),
    /// In another session, which always is a plain one.
    Elsewhere(String),
    /// The member `n` of the context from here on.
    Context(i32),
}

/// How the closure of a transaction ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    /// Well, whatever its steps did.
    Commit,
    /// With its first error, where it stops.
    FirstError,
    /// By `RollbackTransaction`.
    Rollback,
}

/// How a transaction is built.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mode {
    ReadOnly,
    ReadWrite,
    RepeatableRead,
    Serializable,
    SerializableReadOnlyDeferrable,
    ReadCommittedDeferrable,
}

pub(crate) fn sql(text: &str) -> Step {
    Step::Sql(text.to_owned())
}

pub(crate) fn rows(text: &str) -> Step {
    Step::SqlRows(text.to_owned())
}

pub(crate) fn batch(text: &str) -> Step {
    Step::Batch(text.to_owned())
}

pub(crate) fn elsewhere(text: &str) -> Step {
    Step::Elsewhere(text.to_owned())
}

pub(crate) fn commit(steps: impl Into<Vec<Step>>) -> Step {
    Step::Transaction(steps.into(), End::Commit)
}

pub(crate) fn first_error(steps: impl Into<Vec<Step>>) -> Step {
    Step::Transaction(steps.into(), End::FirstError)
}

pub(crate) fn rollback(steps: impl Into<Vec<Step>>) -> Step {
    Step::Transaction(steps.into(), End::Rollback)
}

/// A book of the author 1.
pub(crate) fn book(title: &str) -> NewBook {
    NewBook {
        author: 1,
        title: title.to_owned(),
        pages: 10,
        tags: vec!["new".to_owned()],
    }
}
