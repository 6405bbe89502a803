//! Commands that make, alter or drop a table, as the event trigger of setup records them: a transactional
//! message in the order of the rows.
//!
//! The message is a JSON object with the strings `schema` and `table`, which name the table after the
//! command, and what becomes the change's `after`: `command`, the text as the client sent it (all of it,
//! if it sent several commands in one), `tag`, such as `ALTER TABLE`, and `object`, the table's quoted name.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::coverage::RejectReason;
use crate::value::{TooDeep, try_storable_json};
use crate::{JsonObject, MAX_MESSAGE_BYTES};

/// The messages' prefix.
pub(super) const PREFIX: &str = "_bemi_ddl";

/// A recorded command.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) schema: Arc<str>,
    pub(super) table: Arc<str>,
    pub(super) after: JsonObject,
}

/// The command in a message.
pub(super) fn parse(message: &[u8]) -> Result<Command, RejectReason> {
    if message.len() > MAX_MESSAGE_BYTES {
        return Err(RejectReason::TooLarge);
    }
    let json = str::from_utf8(message).map_err(|_| RejectReason::NotUtf8)?;
    let json: &RawValue = serde_json::from_str(json).map_err(|_| RejectReason::NotAnObject)?;
    let json = try_storable_json(json.get()).map_err(|TooDeep| RejectReason::TooDeep)?;
    let members: BTreeMap<String, &RawValue> =
        serde_json::from_str(&json).map_err(|_| RejectReason::NotAnObject)?;
    let name = |member: &str| -> Option<Arc<str>> {
        serde_json::from_str::<String>(members.get(member)?.get())
            .ok()
            .map(Into::into)
    };
    let (Some(schema), Some(table)) = (name("schema"), name("table")) else {
        return Err(RejectReason::NotAnObject);
    };
    let kept = members
        .iter()
        .filter(|(member, _)| matches!(&***member, "command" | "tag" | "object"));
    let after: Vec<String> = kept
        .map(|(member, value)| format!("\"{member}\":{}", value.get()))
        .collect();
    Ok(Command {
        schema,
        table,
        after: JsonObject::from_written(format!("{{{}}}", after.join(","))),
    })
}
