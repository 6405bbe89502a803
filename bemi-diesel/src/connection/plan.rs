//! What is done so that the rows of a statement find their context. Pure: the connections carry it out.

use std::borrow::Cow;

use super::emit::{self, GUARD, UNGUARD, When};
use super::facts::Facts;
use super::policy::{ContextPolicy, Injection};
use super::statement::{Control, Dml, Kind, Rows, Statement};
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
    /// With this message among its values, in the text of its [`Inline`](super::inline::Inline).
    Inline(String),
    /// As it is, after this SQL, in the transaction that is open. If that fails, [`UNGUARD`] puts the
    /// transaction right.
    ///
    /// [`UNGUARD`]: emit::UNGUARD
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
    pub(super) form: Form,
    /// Whether no second row can follow, which the message would have to be kept from.
    pub(super) one: bool,
}

/// Where the message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Behind the `RETURNING` that is there already.
    Column,
    /// In a `RETURNING` of its own, in a statement that changes no more rows than its text has.
    Returning,
    /// Around the statement, which gives back the number of its rows in place of as many rows.
    Counted,
}

/// How the application wants a statement carried out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) wanted: Wanted,
    pub(super) enclosing: Enclosing,
    /// How many parameters are bound, where they can be more than the text uses. `None`: the statement cannot
    /// be made anew to carry a message.
    pub(super) bound: Option<u32>,
    /// Whether the message may go before a value: where the server evaluates it and knows its type.
    pub(super) inline: bool,
}

/// What the application wants to have back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// How many rows were changed.
    Count,
    /// What the statement's own `RETURNING` gives.
    Rows,
}

/// Whether a statement can have a transaction put around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Enclosing {
    Possible,
    /// Another statement could slip in between, or the result is read only later.
    Impossible,
}

/// Decides for one statement, and notes in `transaction` what it is about to write.
pub(super) fn plan(
    statement: &Statement,
    transaction: &mut Transaction,
    members: Members,
    facts: &Facts,
    policy: &ContextPolicy,
    request: Request,
) -> Plan {
    if facts.denied || policy.passes(&statement.kind) {
        return Plan::Forward;
    }
    let text = statement.text.as_ref();
    match (transaction, &statement.kind) {
        (Transaction::Autocommit, kind @ (Kind::Dml(_) | Kind::Write)) => {
            let Some(members) = members else {
                return Plan::Forward;
            };
            if policy.injection == Injection::Cheapest
                && let Kind::Dml(dml) = kind
                && let Some(plan) = tag(statement, dml, &members, facts, request)
            {
                return plan;
            }
            match request.enclosing {
                Enclosing::Possible => Plan::Enclose(format!(
                    "BEGIN;{}",
                    emit::select(Some(&members), text.map(AsRef::as_ref), When::Always)
                )),
                Enclosing::Impossible => Plan::Forward,
            }
        }
        (
            Transaction::Open(block),
            Kind::Control(Control::Commit | Control::CommitAndChain | Control::Prepare),
        ) => precede(block.end()),
        (Transaction::Open(block), kind) if kind.may_write() => precede(block.write(members, text)),
        _ => Plan::Forward,
    }
}

fn precede(message: Option<String>) -> Plan {
    message.map_or(Plan::Forward, |message| Plan::Precede(guarded(&message)))
}

/// A message in a transaction of the application's.
fn guarded(message: &str) -> String {
    format!("{GUARD};{message}")
}

/// The tag of a statement, if it takes one.
fn tag(
    statement: &Statement,
    dml: &Dml,
    members: &str,
    facts: &Facts,
    request: Request,
) -> Option<Plan> {
    let text = statement.text.as_deref();
    let parameter = dml.parameters.max(request.bound?) + 1;
    if parameter > MAX_PARAMETERS || facts.ruled.contains(&dml.target) {
        return None;
    }
    if statement.inline.is_some() && request.inline && parameter == dml.parameters + 1 {
        return Some(Plan::Inline(message(members, text, Lead::None)));
    }
    let (form, lead) = match (request.wanted, dml.returning, dml.rows) {
        (_, true, _) => (Form::Column, Lead::Row),
        (Wanted::Count, false, Rows::One | Rows::Listed) => (Form::Returning, Lead::Row),
        (Wanted::Count, false, Rows::Unknown) => (Form::Counted, Lead::None),
        // No rows are what the application gets, and it must stay so.
        (Wanted::Rows, false, _) => return None,
    };
    Some(Plan::Tag(Tag {
        message: message(members, text, lead),
        parameter,
        form,
        one: dml.rows == Rows::One,
    }))
}

/// How a batch of statements is sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BatchPlan<'a> {
    /// What is sent before it. As with [`Plan::Precede`].
    pub(super) before: Option<String>,
    /// What is sent for it.
    pub(super) sql: Cow<'a, str>,
    /// What `sql` has that the batch on its own has not.
    pub(super) rides: Rides<'a>,
}

/// The message that a batch carries.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Rides<'a> {
    Nothing,
    /// One behind its writes. If the user may not write it this is sent again, as nothing has happened.
    Behind(&'a str),
    /// One before its `COMMIT`. If the user may not write it this is sent instead; after any other
    /// failure the transaction may be open still, which the batch on its own would have ended.
    BeforeEnd(String),
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
    facts: &Facts,
    policy: &ContextPolicy,
) -> BatchPlan<'a> {
    let mut plan = BatchPlan {
        before: None,
        sql: Cow::Borrowed(sql),
        rides: Rides::Nothing,
    };
    if facts.denied || kinds.iter().all(|kind| policy.passes(kind)) {
        return plan;
    }
    let text = match kinds {
        [_] => emit::text(sql, policy.sql_bytes),
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
                plan.sql = format!("{};{sql}", guarded(&message)).into();
                plan.rides = Rides::BeforeEnd(format!("{UNGUARD};{sql}"));
            }
        }
        (Transaction::Open(block), _, members) => {
            let change = writes
                .then(|| block.write(members, text.as_ref()))
                .flatten();
            // If its end is somewhere inside, the message goes first and covers both sides of it.
            let ends = kinds.iter().any(|kind| {
                matches!(
                    kind,
                    Kind::Control(Control::Commit | Control::CommitAndChain | Control::Prepare)
                )
            });
            let settled = ends.then(|| block.settle()).flatten();
            plan.before = match (change, settled) {
                (Some(change), Some(settled)) => Some(format!("{change};{settled}")),
                (change, settled) => change.or(settled),
            }
            .as_deref()
            .map(guarded);
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
            plan.rides = Rides::Behind(sql);
        }
        _ => {}
    }
    plan
}

#[cfg(test)]
mod tests;
