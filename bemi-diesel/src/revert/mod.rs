//! Taking changes back.
//!
//! [`Revert`] names changes of the trail: a transaction, what one request did, a user's changes in a
//! window, a record's, or everything since an instant. From them a [`Plan`] is made: the rows to write,
//! several changes of one row folded to one, in an order that hurts no constraint. Each row is compared
//! with what the changes left; where it is something else by now, the plan says so. Only then it is
//! written, in one transaction that compares once more, under lock.
//!
//! A revert is a change like any other. It is in the trail, with a context that says what it took back,
//! and can be reverted.
//!
//! ```no_run
//! use bemi_diesel::{BemiConnection, Context, Revert, Xid};
//!
//! # fn example(connection: &mut BemiConnection) -> Result<(), bemi_diesel::RevertError> {
//! // What would be done?
//! let plan = Revert::new().transaction(Xid::new(4711)).plan(connection)?;
//! for row in &plan.rows {
//!     println!("{} {} {:?}", row.action, row.table, row.primary_key);
//! }
//! // Undo what one request did.
//! let request = Context::new().with("request_id", "0194f8a1");
//! let reverted = Revert::new().context(request).apply(connection)?;
//! println!("{} rows in transaction {:?}", reverted.plan.rows.len(), reverted.transaction);
//! # Ok(())
//! # }
//! ```

mod catalog;
mod client;
#[cfg_attr(
    not(any(feature = "sync", feature = "async")),
    allow(dead_code, reason = "the command checks its own arguments")
)]
mod error;
mod facts;
mod fold;
mod image;
mod judge;
mod order;
mod park;
mod plan;
mod relations;
#[cfg(any(feature = "sync", feature = "async"))]
mod request;
mod run;
#[cfg_attr(
    not(any(feature = "sync", feature = "async")),
    allow(dead_code, reason = "the command checks its own arguments")
)]
mod selection;
mod statement;
#[cfg_attr(
    not(any(feature = "sync", feature = "async")),
    allow(dead_code, reason = "the command checks its own arguments")
)]
mod trail;
mod write;

pub(crate) use error::Refusal;
pub use error::RevertError;
#[cfg(feature = "cli")]
pub(crate) use error::Summary;
pub use plan::{Action, Conflict, ConflictKind, OnConflict, Plan, PlannedRow, Resolution};
#[cfg(any(feature = "sync", feature = "async"))]
pub use request::{Revert, RevertConnection};
#[cfg(feature = "cli")]
pub(crate) use run::{Failure, apply, load, origin, plan};
#[cfg(feature = "cli")]
pub(crate) use selection::Selection;

use crate::Xid;

/// A revert that has been made.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Reverted {
    /// What was done.
    pub plan: Plan,
    /// The transaction that did it; `None` where nothing was to do.
    pub transaction: Option<Xid>,
}
