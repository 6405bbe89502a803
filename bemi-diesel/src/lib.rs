//! A complete, context-aware audit trail of PostgreSQL for diesel.
//!
//! Three things make the trail, and each is one line in an application:
//!
//! - [`BemiConnection`] (or [`AsyncBemiConnection`]) in place of diesel's connection: its writes carry the
//!   ambient [`Context`] into the write-ahead log, in the same transaction and the same round trip;
//! - a [`scope`] around each unit of work that gives it a context, which `bemi-actix` opens for each
//!   request, and to which [`#[bemi_context]`](macro@bemi_context) and [`set_context`] add;
//! - [`Capture`], which reads the log and fills the table [`changes`](schema::changes).
//!
//! ```no_run
//! # use bemi_diesel::{BemiConnection, Capture, Context, sync_scope};
//! # use diesel::prelude::*;
//! # diesel::table! { todos { id -> Integer, title -> Text } }
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let url = "postgres://app@localhost/shop";
//! let capture = Capture::builder(url).start().await?;
//!
//! let connection = &mut BemiConnection::establish(url)?;
//! sync_scope(Context::new().with("user_id", 7), || {
//!     diesel::insert_into(todos::table).values(todos::title.eq("Sleep")).execute(connection)
//! })?;
//! # capture.shutdown().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What is captured
//!
//! Every row that a transaction inserts, updates or deletes in a tracked table, and every TRUNCATE,
//! whoever made it and however. A transaction that rolls back leaves nothing. Not in the log, and so
//! not in the trail, are the rows of unlogged and temporary tables.
//!
//! # Where a context comes from
//!
//! In an application [`bemi_actix`](https://docs.rs/bemi-actix) sets it; its guide shows handlers, blocking
//! code and jobs. What any other program can write is the [protocol](docs::protocol), and what the
//! database itself can say about changes made by hand is in [`docs::direct_sql`].
//!
//! # Features
//!
//! All but `cli` are on by default.
//!
//! - `sync`: [`BemiConnection`] over `diesel::PgConnection`, which links libpq.
//! - `async`: [`AsyncBemiConnection`] over `diesel_async::AsyncPgConnection`, pure Rust.
//! - `capture`: [`Capture`]. An application that leaves it to `bemi run` can do without.
//! - `cli`: what the command `bemi` is made of.

#![warn(clippy::pedantic)]
#![allow(
    clippy::module_name_repetitions,
    reason = "`TransportError` reads better than `transport::Error`"
)]

/// A step at which a test can end the process, as SIGKILL would: `FAILPOINTS='NAME=return'`. Nothing at all
/// without the feature `__internals`.
#[cfg(feature = "capture")]
macro_rules! failpoint {
    ($name:literal) => {
        #[cfg(feature = "__internals")]
        fail::fail_point!($name, |_| std::process::abort());
    };
}

#[cfg(feature = "__internals")]
#[doc(hidden)]
pub mod __internals;
mod change;
#[cfg(feature = "cli")]
pub mod cli;
#[cfg(any(feature = "sync", feature = "async"))]
mod connection;
mod context;
pub mod docs;
#[cfg(feature = "capture")]
mod error;
#[cfg(any(feature = "sync", feature = "async", feature = "cli"))]
pub mod history;
mod job;
mod json;
mod lsn;
#[cfg(feature = "capture")]
mod pgoutput;
#[cfg(feature = "capture")]
mod postgres;
#[cfg(any(feature = "__internals", all(test, feature = "capture")))]
mod recorded;
#[cfg(feature = "capture")]
mod replication;
#[cfg(any(feature = "sync", feature = "async", feature = "cli"))]
pub mod revert;
#[cfg(any(feature = "sync", feature = "async"))]
pub mod schema;
mod scope;
#[cfg(feature = "capture")]
mod settings;
#[cfg(feature = "capture")]
mod setup;
#[cfg(feature = "capture")]
mod sink;
#[cfg(any(feature = "sync", feature = "async", feature = "cli"))]
mod sql;
#[cfg(feature = "capture")]
mod stitch;
#[cfg(any(feature = "sync", feature = "async"))]
pub mod tracked;
#[cfg(feature = "capture")]
mod value;

pub use change::{Change, Difference, Operation, ParseOperationError};
#[cfg(feature = "sync")]
pub use connection::BemiConnection;
#[cfg(feature = "async")]
pub use connection::{AsyncBemiConnection, AsyncTransactionBuilder};
#[cfg(any(feature = "sync", feature = "async"))]
pub use connection::{
    ContextCounters, ContextPolicy, Injection, MissingContext, MissingContextError,
    OversizedContextError, RefusedContext,
};
pub use context::{
    Context, MAX_CONTEXT_BYTES, MAX_MESSAGE_BYTES, PREFIX, REDACTED, RESERVED_MEMBER, Redaction,
    SQL_MEMBER,
};
#[cfg(feature = "capture")]
pub use error::{Error, ErrorKind, ServerError};
pub use job::Job;
pub use json::JsonObject;
pub use lsn::{Lsn, ParseLsnError, Xid};
#[cfg(feature = "capture")]
pub use replication::{Capture, CaptureBuilder, CaptureHandle, CaptureObserver, State, Status};
#[cfg(any(feature = "sync", feature = "async"))]
pub use revert::{OnConflict, Revert, RevertError};
pub use scope::{
    ContextExt, Entered, Scoped, SharedContext, carry_context, current_context, scope, set_context,
    sync_scope,
};
#[cfg(feature = "async")]
pub use scope::{spawn, spawn_blocking};
#[cfg(feature = "capture")]
pub use settings::GapPolicy;
#[cfg(any(feature = "sync", feature = "async"))]
pub use tracked::Tracked;

/// Sets members of the ambient context when the function starts.
///
/// It goes on any function with a body: free or method, `async` or not, above or below the route
/// macros of actix-web. Between its parentheses stand, in any number:
///
/// | | records |
/// |---|---|
/// | `user_id = user.id` | the member `user_id`; keywords are names too |
/// | `user.id = user.id` | the member `id` of the object `user`, whose other members stay |
/// | `"user.id" = user.id` | the member `user.id`: a string is one key, whatever it holds |
/// | `action = "rename"` | a constant |
/// | `"bulk import"` | the flag `"bulk import": true` |
/// | `skip(body, user.email)` | removes these, whoever has set them; it comes last |
///
/// `_bemi` is reserved. A value is any expression that implements [`serde::Serialize`], made of what the
/// function can see when it starts: its arguments, destructured ones too, `self`, statics, calls.
///
/// ```
/// use bemi_diesel::{Context, bemi_context, current_context, sync_scope};
///
/// #[derive(serde::Serialize)]
/// struct User {
///     id: i32,
///     name: String,
///     password: String,
/// }
///
/// #[bemi_context(user = user, user.verified = true, action = "rename", skip(user.password))]
/// fn rename(user: User, to: &str) -> User {
///     // Every write from here on carries:
///     let context = serde_json::to_string(&current_context()).expect("JSON");
///     assert_eq!(context, r#"{"action":"rename","user":{"id":7,"name":"Ann","verified":true}}"#);
///     User { name: to.into(), ..user }
/// }
///
/// let user = User { id: 7, name: "Ann".into(), password: "hunter2".into() };
/// sync_scope(Context::new(), || rename(user, "Anna"));
/// ```
///
/// The members are set into the one context that everything in the same [`scope`] shares, so they
/// outlive the function: in an actix-web handler under `bemi_actix::BemiMiddleware` they cover the rest
/// of the request. Outside every scope the function runs as if the attribute were not there, and no
/// value is evaluated.
///
/// A value is borrowed and not consumed, so `title = todo.title` leaves `todo` whole for the body.
/// An expression that consumes an argument itself, such as `id = path.into_inner()`, takes it from the
/// body: write `id = *path`, or destructure the argument, as in `Json(todo): Json<CreateTodo>`.
///
/// In an `async` function the values are evaluated when its future is first polled.
#[doc(inline)]
pub use bemi_macros::bemi_context;

/// Implements [`Tracked`](trait@Tracked), where its attributes are documented.
#[cfg(any(feature = "sync", feature = "async"))]
#[doc(inline)]
pub use bemi_macros::Tracked;

/// What the code that the macros write calls. Not for people: it changes without notice.
#[doc(hidden)]
pub mod __private {
    pub use crate::scope::SharedContext;

    #[cfg(any(feature = "sync", feature = "async"))]
    pub use self::tracked::*;

    #[cfg(any(feature = "sync", feature = "async"))]
    mod tracked {
        pub use diesel::{Column as DieselColumn, Table};

        pub use crate::JsonObject;
        pub use crate::history::Key;
        pub use crate::tracked::private::*;
        pub use crate::tracked::{MisfitError, Tracked, TrackedTable, bytea, from_text};
    }
}
