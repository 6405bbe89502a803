//! What is done so that the rows of a statement find their context. Pure: the connections carry it out.

use std::borrow::Cow;

use super::emit::{self, When};
use super::facts::Facts;
use super::statement::{Control, Dml, Kind, Statement};
use super::transaction::{Members, Transaction};
use crate::context::{Lead, message};

/// The highest number a parameter can have: the protocol counts them in 16 bits.
const MAX_PARAMETERS: u32 = 65_535;

/// How one statement is sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// As it is.
    Forward,
    /// With the message appended to it.
    Tag(Tag),
    /// As it is, after this SQL, in the transaction that is open.
    Precede(String),
    /// As it is, between this SQL and `COMMIT`. Three round trips, so only where a tag cannot be.
    Enclose(String),
}

/// The message that a statement carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tag {
    pub(super) message: String,
    /// The number of the parameter that holds it.
    pub(super) parameter: u32,
    /// Whether it goes behind a `RETURNING` that is there already.
    pub(super) returning: bool,
}

/// Whether a statement can have a transaction put around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Enclosing {
    Possible,
    /// Another statement could slip in between, or the result is read only later.
    Impossible,
}

/// Decides for one statement, and notes in `transaction` what it is about to write.
///
/// `facts` are `None` while the server has not been asked.
pub(super) fn plan(
    statement: &Statement,
    transaction: &mut Transaction,
    members: Members,
    facts: Option<&Facts>,
    enclosing: Enclosing,
) -> Plan {
    if facts.is_some_and(|facts| !facts.granted) {
        return Plan::Forward;
    }
    let text = statement.text.as_ref();
    match (transaction, &statement.kind) {
        (Transaction::Autocommit, kind @ (Kind::Dml(_) | Kind::Write)) => {
            let Some(members) = members else {
                return Plan::Forward;
            };
            let text = text.map(AsRef::as_ref);
            match (kind, enclosing) {
                (Kind::Dml(dml), _) if taggable(dml, facts, enclosing) => Plan::Tag(Tag {
                    message: message(&members, text, Lead::Row),
                    parameter: dml.parameters + 1,
                    returning: dml.returning,
                }),
                (_, Enclosing::Possible) => Plan::Enclose(format!(
                    "BEGIN;{}",
                    emit::select(Some(&members), text, When::Always)
                )),
                (_, Enclosing::Impossible) => Plan::Forward,
            }
        }
        (
            Transaction::Open(block),
            Kind::Control(Control::Commit | Control::CommitAndChain | Control::Prepare),
        ) => block.end().map_or(Plan::Forward, Plan::Precede),
        (Transaction::Open(block), kind) if kind.may_write() => block
            .write(members, text)
            .map_or(Plan::Forward, Plan::Precede),
        _ => Plan::Forward,
    }
}

/// While the server has not been asked, a transaction around the statement is the safe way; where
/// that is impossible, nearly every server takes the tag.
fn taggable(dml: &Dml, facts: Option<&Facts>, enclosing: Enclosing) -> bool {
    dml.parameters < MAX_PARAMETERS
        && facts.map_or(enclosing == Enclosing::Impossible, |facts| {
            !facts.ruled.contains(&dml.target)
        })
}

/// How a batch of statements is sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BatchPlan<'a> {
    /// What is sent before it.
    pub(super) before: Option<String>,
    /// What is sent for it.
    pub(super) sql: Cow<'a, str>,
    /// Whether a failure of `sql` may have left a transaction open that the batch on its own would
    /// have ended, as `COMMIT` does even when it fails.
    pub(super) ends: bool,
}

/// Decides for the batch `sql`, whose statements are of `kinds`.
///
/// Another statement makes an implicit transaction of a batch, so one is added only where all of
/// them can run in one.
pub(super) fn plan_batch<'a>(
    sql: &'a str,
    kinds: &[Kind],
    transaction: &mut Transaction,
    members: Members,
    facts: Option<&Facts>,
) -> BatchPlan<'a> {
    let mut plan = BatchPlan {
        before: None,
        sql: Cow::Borrowed(sql),
        ends: false,
    };
    if facts.is_some_and(|facts| !facts.granted) {
        return plan;
    }
    let text = match kinds {
        [_] => Some(emit::text(sql)),
        _ => None,
    };
    let writes = kinds.iter().any(Kind::may_write);
    match (transaction, kinds, members) {
        (
            Transaction::Open(block),
            [Kind::Control(Control::Commit | Control::CommitAndChain | Control::Prepare)],
            _,
        ) => {
            if let Some(message) = block.end() {
                plan.sql = format!("{message};{sql}").into();
                plan.ends = true;
            }
        }
        (Transaction::Open(block), _, members) => {
            if writes {
                plan.before = block.write(members, text.as_ref());
            }
            if kinds.iter().any(|kind| {
                matches!(
                    kind,
                    Kind::Control(Control::Commit | Control::CommitAndChain | Control::Prepare)
                )
            }) {
                // The end is somewhere inside: the message goes first and covers both sides of it.
                let message = block.settle();
                plan.before = match (plan.before.take(), message) {
                    (Some(before), Some(message)) => Some(format!("{before};{message}")),
                    (before, message) => before.or(message),
                };
            }
        }
        (Transaction::Autocommit, _, Some(members))
            if writes
                && kinds
                    .iter()
                    .all(|kind| matches!(kind, Kind::Read | Kind::Dml(_) | Kind::Write)) =>
        {
            let message = emit::select(Some(&members), text.as_deref(), When::Wrote);
            // On a line of its own: the batch may end in a comment.
            plan.sql = format!("{sql}\n;{message}").into();
        }
        _ => {}
    }
    plan
}

#[cfg(test)]
mod tests;
