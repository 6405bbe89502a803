//! A context for what is done with one connection.

use super::nested;
#[cfg(feature = "async")]
use crate::AsyncBemiConnection;
#[cfg(feature = "sync")]
use crate::BemiConnection;
use crate::Context;

#[cfg(feature = "sync")]
impl BemiConnection {
    /// Runs `f` with `context` on top of the ambient one: a [`sync_scope`](crate::sync_scope) around
    /// what is done with this connection. Where both have a key, `context` wins, and what is set inside
    /// ends with `f`.
    ///
    /// ```no_run
    /// use bemi_diesel::{BemiConnection, Context};
    /// use diesel::prelude::*;
    ///
    /// # diesel::table! { todos { id -> Integer, title -> Text } }
    /// # fn example(connection: &mut BemiConnection) -> QueryResult<usize> {
    /// connection.with_context(Context::new().with("reason", "clean-up"), |connection| {
    ///     diesel::delete(todos::table).execute(connection)
    /// })
    /// # }
    /// ```
    pub fn with_context<R>(&mut self, context: Context, f: impl FnOnce(&mut Self) -> R) -> R {
        nested(context).in_scope(|| f(self))
    }
}

#[cfg(feature = "async")]
impl AsyncBemiConnection {
    /// Runs `f` with `context` on top of the ambient one: a [`scope`](crate::scope) around what is done
    /// with this connection. Where both have a key, `context` wins, and what is set inside ends with
    /// `f`.
    ///
    /// ```no_run
    /// use bemi_diesel::{AsyncBemiConnection, Context};
    /// use diesel::QueryResult;
    /// use diesel_async::RunQueryDsl;
    ///
    /// # diesel::table! { todos { id -> Integer, title -> Text } }
    /// # async fn example(connection: &mut AsyncBemiConnection) -> QueryResult<usize> {
    /// let context = Context::new().with("reason", "clean-up");
    /// connection
    ///     .with_context(context, async |connection| {
    ///         diesel::delete(todos::table).execute(connection).await
    ///     })
    ///     .await
    /// # }
    /// ```
    pub async fn with_context<R>(
        &mut self,
        context: Context,
        f: impl AsyncFnOnce(&mut Self) -> R,
    ) -> R {
        nested(context).scope(f(self)).await
    }
}
