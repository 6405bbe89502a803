//! The wrapped connections: plain forwarding, plus the context in the same log.
//!
//! One pure function ([`plan::plan`]) decides for each statement how its rows find their context, from
//! what the statement does ([`statement`]), the transaction it runs in ([`transaction`]), what the server
//! has refused so far ([`facts`]) and the ambient context. Both connections only carry the decision
//! out. The cheapest way is taken that is safe:
//!
//! - a single `INSERT`, `UPDATE` or `DELETE` outside a transaction is [`tagged`]: it writes the message
//!   itself, in the same round trip, at the end of its own `RETURNING` or around a count of its rows, and an
//!   `INSERT` into a table without rules among its values ([`inline`]);
//! - in a transaction the message rides on the `COMMIT`, immune to savepoints and to views that
//!   refuse a `RETURNING`;
//! - another write outside a transaction gets one around it.
//!
//! What is not understood is sent as it is: that a write goes well comes before its context. The server
//! is asked nothing but whether a table has rules that is written again and again. A tagged statement that fails, in a way that the message may be to blame
//! for, has changed nothing and is sent again without; what the server refuses is remembered. Before a
//! message in a transaction of the application's a savepoint stands around a statement that fails if the
//! message would, so that the `COMMIT` goes well without it.

#[cfg(feature = "async")]
mod asynchronous;
mod count;
mod counters;
mod emit;
mod facts;
mod inline;
mod plan;
mod policy;
mod row;
mod session;
mod statement;
#[cfg(feature = "sync")]
mod sync;
mod tagged;
mod transaction;

#[cfg(feature = "async")]
pub use asynchronous::{AsyncBemiConnection, AsyncTransactionBuilder};
pub use counters::ContextCounters;
pub use policy::{
    ContextPolicy, Injection, MissingContext, MissingContextError, OversizedContextError,
    RefusedContext,
};
#[cfg(feature = "sync")]
pub use sync::BemiConnection;
