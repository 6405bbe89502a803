//! Tables that begin to be tracked by themselves, as the event trigger of setup and the capture tell: a
//! transactional message in the order of the rows.
//!
//! The message is a JSON object with `schema`, `table` and `oid`, and `empty`: whether the table had no row
//! yet, so that its changes tell all of them from here on.

use std::sync::Arc;

use serde::Deserialize;

use super::coverage::RejectReason;

/// The messages' prefix.
pub(super) const PREFIX: &str = "_bemi_tracked";

/// A table whose changes begin.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Tracked {
    pub(crate) schema: Arc<str>,
    pub(crate) table: Arc<str>,
    pub(crate) oid: u32,
    /// Whether it had no row yet.
    pub(crate) empty: bool,
    /// Changes of its transaction with lower ordinals are those of another table of that name.
    #[serde(skip)]
    pub(crate) ordinal: u64,
}

/// The table that a message tells of, behind `ordinal` changes of its transaction.
pub(super) fn parse(message: &[u8], ordinal: u64) -> Result<Tracked, RejectReason> {
    let json = str::from_utf8(message).map_err(|_| RejectReason::NotUtf8)?;
    let tracked: Tracked = serde_json::from_str(json).map_err(|_| RejectReason::NotAnObject)?;
    Ok(Tracked { ordinal, ..tracked })
}
