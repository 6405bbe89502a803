//! Which tables hold the rows of a partitioned table, as the event trigger of setup and the capture tell: a
//! transactional message in the order of the rows.
//!
//! The message is a JSON object with `tables` and `exact`: whether it came with the command that made them so. A table
//! is an object with `oid` and `parts`, and a part an array of its schema, name and identifier.

use serde::Deserialize;

use super::coverage::RejectReason;

/// The messages' prefix.
pub(super) const PREFIX: &str = "_bemi_partitions";

/// What a message tells.
#[derive(Debug, Deserialize)]
struct Message {
    exact: bool,
    tables: Vec<Told>,
}

#[derive(Debug, Deserialize)]
struct Told {
    oid: u32,
    parts: Vec<(String, String, u32)>,
}

/// A partitioned table whose partitions are these from here on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Partitions {
    /// The partitioned table.
    pub(crate) oid: u32,
    /// Its partitions, as JSON.
    pub(crate) parts: String,
    /// Whether they are so from here on, and not from some time before.
    pub(crate) exact: bool,
    /// How many changes of its transaction come before.
    pub(crate) ordinal: u64,
}

/// The partitioned tables that a message tells of, behind `ordinal` changes of its transaction.
pub(super) fn parse(message: &[u8], ordinal: u64) -> Result<Vec<Partitions>, RejectReason> {
    let json = str::from_utf8(message).map_err(|_| RejectReason::NotUtf8)?;
    let message: Message = serde_json::from_str(json).map_err(|_| RejectReason::NotAnObject)?;
    let exact = message.exact;
    let tables = message.tables.into_iter();
    Ok(tables
        .map(|table| Partitions {
            oid: table.oid,
            // Texts and numbers always have a form.
            parts: serde_json::to_string(&table.parts).unwrap_or_default(),
            exact,
            ordinal,
        })
        .collect())
}

#[cfg(test)]
mod tests;
