//! Which rows a context covers.
//!
//! - A row takes the latest message before it in its own transaction; if there is none, the first one
//!   after it; if there is none at all, `{}`. A later message replaces the earlier one, and `{}` ends
//!   it.
//! - A message with the hint `{"_bemi": {"lead": true}}` was emitted by the first row of a statement,
//!   and also covers that row: the one immediately before it. That row must be the last thing in the
//!   transaction before the message. If another message of ours stands between, or the row is of a
//!   table that is not tracked or left out by the rules, the statement's own row is not among the
//!   changes (its table may not be published at all), and no row before it is touched. `TRUNCATE` returns no rows, so it is
//!   never what a leading message was emitted by.
//! - A message that is no context changes nothing, but is one that stands between.
//!
//! The server does not always send what stands in the log in its order. It merges a transaction's
//! subtransactions (savepoints, and the blocks of PL/pgSQL that catch errors) by positions, and takes as
//! a row's position where its record begins, but as a message's where its record **ends**: right there
//! the next record may begin, that of a row in another subtransaction, and which of the two comes first
//! is left to chance. So rows that begin where a message ends come after it, in whatever order they are
//! sent.
//!
//! What the log does not tell: a leading message emitted by a row of a table that is not published is
//! taken for that of the published row before it, if no other message of ours stands between the two.
//! That takes a transaction of several statements.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::value::RawValue;

use crate::context::Lead;
use crate::pgoutput::LogicalMessage;
use crate::value::{TooDeep, member_prefix, try_storable_json};
use crate::{Change, JsonObject, Lsn, MAX_MESSAGE_BYTES, Operation, RESERVED_MEMBER};

/// A message under bemi's prefix that is no context. It is attached to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RejectedContext {
    /// Where the message ends in the log.
    pub(crate) lsn: Lsn,
    /// Why.
    pub(crate) reason: RejectReason,
}

/// Why a message is no context. Says nothing of its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RejectReason {
    /// It is longer than [`MAX_MESSAGE_BYTES`].
    TooLarge,
    /// It is not UTF-8. The message is written in the database's encoding, which may be another.
    NotUtf8,
    /// It is not JSON, or JSON of another kind.
    NotAnObject,
    /// It is nested deeper than `jsonb` allows.
    TooDeep,
}

impl fmt::Display for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => write!(f, "it is longer than {MAX_MESSAGE_BYTES} bytes"),
            Self::NotUtf8 => f.write_str("it is not UTF-8"),
            Self::NotAnObject => f.write_str("it is not a JSON object"),
            Self::TooDeep => f.write_str("it is nested too deep"),
        }
    }
}

/// What the rows and messages of the transaction so far mean for the next ones.
#[derive(Debug, Default)]
pub(super) struct Coverage {
    /// The latest context; `None` before the first one.
    latest: Option<JsonObject>,
    preceding: Preceding,
    /// The position of the latest row, and what stands before the rows that share it.
    position: Lsn,
    before_position: Preceding,
}

/// What stands immediately before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Preceding {
    /// A change that a leading message covers.
    Row,
    /// Something else, or nothing.
    #[default]
    Other,
}

impl Coverage {
    /// The latest context; `None` before the first one.
    pub(super) fn latest(&self) -> Option<&JsonObject> {
        self.latest.as_ref()
    }

    /// The context of the next change, `{}` while it is not known.
    pub(super) fn row(&mut self, operation: Operation, position: Lsn) -> JsonObject {
        self.follow(position);
        self.preceding = match operation {
            Operation::Truncate | Operation::Ddl | Operation::Gap => Preceding::Other,
            _ => Preceding::Row,
        };
        self.latest.clone().unwrap_or_default()
    }

    /// A row came that is not among the changes: of a table that is not tracked, or left out.
    pub(super) fn passed_over(&mut self, position: Lsn) {
        self.follow(position);
        self.preceding = Preceding::Other;
    }

    fn follow(&mut self, position: Lsn) {
        if self.position != position {
            self.position = position;
            self.before_position = self.preceding;
        }
    }

    /// A message came; `changes` are those that were sent before it.
    pub(super) fn message(
        &mut self,
        message: &LogicalMessage,
        changes: &mut [Change],
    ) -> Result<(), RejectReason> {
        // Rows that begin where the message ends follow it.
        let preceding = if self.position == message.lsn {
            std::mem::take(&mut self.before_position)
        } else {
            std::mem::take(&mut self.preceding)
        };
        let (context, lead) = parse(&message.content)?;
        let following = changes.iter().rev();
        let following = following.take_while(|change| change.position == message.lsn);
        let before = changes.len() - following.count();
        let first = match (&self.latest, lead, preceding) {
            (None, ..) => 0,
            (Some(_), Lead::Row, Preceding::Row) => before.saturating_sub(1),
            (Some(_), ..) => before,
        };
        for change in changes.iter_mut().skip(first) {
            change.context = context.clone();
        }
        self.latest = Some(context);
        Ok(())
    }
}

/// The context in a message, its members in the order of their keys, and the hint beside it. Of
/// members of one name the last counts, as in `jsonb`.
fn parse(message: &[u8]) -> Result<(JsonObject, Lead), RejectReason> {
    if message.len() > MAX_MESSAGE_BYTES {
        return Err(RejectReason::TooLarge);
    }
    let json = str::from_utf8(message).map_err(|_| RejectReason::NotUtf8)?;
    let json: &RawValue = serde_json::from_str(json).map_err(|_| RejectReason::NotAnObject)?;
    // A key with an unpaired surrogate is no `String` until it is escaped.
    let json = try_storable_json(json.get()).map_err(|TooDeep| RejectReason::TooDeep)?;
    let mut members: BTreeMap<String, &RawValue> =
        serde_json::from_str(&json).map_err(|_| RejectReason::NotAnObject)?;
    let lead = members.remove(RESERVED_MEMBER).map_or(Lead::None, hint);

    let mut context = String::with_capacity(json.len());
    context.push('{');
    for (index, (key, value)) in members.iter().enumerate() {
        if index > 0 {
            context.push(',');
        }
        context.push_str(&member_prefix(key));
        context.push_str(value.get());
    }
    context.push('}');
    Ok((JsonObject::from_written(context), lead))
}

/// Hints that are not understood are left alone: a later version of the protocol may have more.
fn hint(hints: &RawValue) -> Lead {
    let hints: BTreeMap<String, &RawValue> = serde_json::from_str(hints.get()).unwrap_or_default();
    match hints.get("lead") {
        Some(lead) if lead.get() == "true" => Lead::Row,
        _ => Lead::None,
    }
}
