//! Asking the trail: what happened, and what there was.
//!
//! [`history`] starts a question about the changes. It is an ordinary diesel query, so it loads, streams
//! and composes as any other, over a connection of diesel's or diesel-async's, wrapped or not:
//!
//! ```no_run
//! # #[cfg(feature = "sync")] {
//! use bemi_diesel::history::history;
//! use bemi_diesel::{BemiConnection, Change};
//! use diesel::prelude::*;
//! use serde_json::json;
//!
//! # fn example(connection: &mut BemiConnection) -> QueryResult<()> {
//! // What happened to this record?
//! let changes: Vec<Change> = history().record("todos", 7).load(connection)?;
//! for difference in changes.iter().flat_map(Change::diff) {
//!     println!("{difference}");
//! }
//! // What has user 7 changed since yesterday?
//! let yesterday = chrono::Utc::now() - chrono::TimeDelta::days(1);
//! let theirs = history().context(json!({"user_id": 7})).since(yesterday).load(connection)?;
//! // When was it completed, and by whom?
//! let completed = history().record("todos", 7).changed("completed").latest_first().first(connection)?;
//! # Ok(())
//! # }
//! # }
//! ```

#[cfg(any(feature = "sync", feature = "async"))]
mod answer;
mod ask;
#[cfg(any(feature = "sync", feature = "async"))]
mod at_least;
mod cursor;
mod error;
#[cfg_attr(
    not(any(feature = "sync", feature = "async")),
    allow(dead_code, reason = "whole statements travel over diesel alone")
)]
mod facts;
#[cfg_attr(
    not(any(feature = "sync", feature = "async")),
    allow(dead_code, reason = "whole statements travel over diesel alone")
)]
mod fold;
#[cfg(any(feature = "sync", feature = "async"))]
mod group;
mod instant;
mod key;
#[cfg(any(feature = "sync", feature = "async"))]
mod past;
#[cfg(any(feature = "sync", feature = "async"))]
mod query;
#[cfg(any(feature = "sync", feature = "async"))]
mod references;
#[cfg(any(feature = "sync", feature = "async"))]
mod rows;
#[cfg(any(feature = "sync", feature = "async"))]
mod travel;

#[cfg(any(feature = "sync", feature = "async"))]
pub(crate) use answer::{AnswerRow, FactRow, read};
#[cfg(feature = "cli")]
pub(crate) use ask::{Answer, live, stored};
#[cfg(any(feature = "sync", feature = "async"))]
pub(crate) use ask::{DEPARTURE, facts};
pub(crate) use ask::{Place, decide, moment};
#[cfg(any(feature = "sync", feature = "async"))]
pub use at_least::{AtLeast, HistoryAtLeast, at_least, current_lsn};
pub use cursor::{Cursor, ParseCursorError};
pub use error::TravelError;
#[cfg(feature = "cli")]
pub(crate) use facts::{Live, Stored, images};

#[cfg(any(feature = "sync", feature = "async"))]
pub use group::{Group, GroupBy, Groups};
pub use instant::Instant;
pub use key::Key;
#[cfg(any(feature = "sync", feature = "async"))]
pub(crate) use past::Past;
#[cfg(any(feature = "sync", feature = "async"))]
pub use query::{Changes, Document, History, history};
#[cfg(any(feature = "sync", feature = "async"))]
pub use rows::{RowsAsOf, rows_as_of};
#[cfg(any(feature = "sync", feature = "async"))]
pub(crate) use travel::Travel;
