//! The wrapped connections: plain forwarding, plus the context in the same log.
//!
//! One pure function ([`plan::plan`]) decides for each statement how its rows find their context, from
//! what the statement does ([`statement`]), the transaction it runs in ([`transaction`]) and the
//! ambient context. Both connections only carry the decision out. The cheapest way is taken that is
//! safe:
//!
//! - a single `INSERT`, `UPDATE` or `DELETE` outside a transaction is [`tagged`]: the message is
//!   written by its own `RETURNING`, in the same round trip;
//! - in a transaction the message rides on the `COMMIT`, immune to savepoints and to views that
//!   refuse a `RETURNING`;
//! - another write outside a transaction gets one around it.
//!
//! What is not understood is sent as it is: that a write goes well comes before its context.

#[cfg(feature = "async")]
mod asynchronous;
mod emit;
mod facts;
mod plan;
mod row;
mod session;
mod statement;
#[cfg(feature = "sync")]
mod sync;
mod tagged;
mod transaction;

#[cfg(feature = "async")]
pub use asynchronous::{AsyncBemiConnection, AsyncTransactionBuilder};
#[cfg(feature = "sync")]
pub use sync::BemiConnection;
