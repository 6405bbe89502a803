//! Transactions with more details than `BEGIN`.

use diesel::result::{Error, QueryResult};
use diesel_async::{AnsiTransactionManager, TransactionManager};

use super::AsyncBemiConnection;

/// An async closure whose future is `Send`, which the bound `AsyncFnOnce` alone cannot say.
///
/// It is implemented for every such closure; nothing else needs to.
pub trait SendBody<T, R>: FnOnce(T) -> Self::Body {
    /// The future.
    type Body: Future<Output = R> + Send;
}

impl<F, T, R, B> SendBody<T, R> for F
where
    F: FnOnce(T) -> B,
    B: Future<Output = R> + Send,
{
    type Body = B;
}

/// Builds a transaction, as [`diesel_async::pg::TransactionBuilder`] does for the plain connection.
///
/// Made by [`AsyncBemiConnection::build_transaction`]. Of two calls that contradict each other the last
/// one wins; what is not said is the [server's default].
///
/// ```no_run
/// # async fn example(connection: &mut bemi_diesel::AsyncBemiConnection) -> diesel::QueryResult<()> {
/// connection
///     .build_transaction()
///     .serializable()
///     .read_only()
///     .run(async |connection| {
///         // reads
///         Ok::<_, diesel::result::Error>(())
///     })
///     .await
/// # }
/// ```
///
/// [server's default]: https://www.postgresql.org/docs/current/sql-set-transaction.html
#[must_use = "a transaction builder does nothing until it is run"]
pub struct AsyncTransactionBuilder<'a> {
    connection: &'a mut AsyncBemiConnection,
    isolation_level: &'static str,
    read_mode: &'static str,
    deferrable: &'static str,
}

impl<'a> AsyncTransactionBuilder<'a> {
    pub(super) fn new(connection: &'a mut AsyncBemiConnection) -> Self {
        Self {
            connection,
            isolation_level: "",
            read_mode: "",
            deferrable: "",
        }
    }

    /// Makes the transaction `READ ONLY`.
    pub fn read_only(mut self) -> Self {
        self.read_mode = " READ ONLY";
        self
    }

    /// Makes the transaction `READ WRITE`.
    pub fn read_write(mut self) -> Self {
        self.read_mode = " READ WRITE";
        self
    }

    /// Makes the transaction `DEFERRABLE`: a serializable, read-only one then waits for a snapshot
    /// that cannot fail.
    pub fn deferrable(mut self) -> Self {
        self.deferrable = " DEFERRABLE";
        self
    }

    /// Makes the transaction `NOT DEFERRABLE`.
    pub fn not_deferrable(mut self) -> Self {
        self.deferrable = " NOT DEFERRABLE";
        self
    }

    /// Makes the transaction `ISOLATION LEVEL READ COMMITTED`.
    pub fn read_committed(mut self) -> Self {
        self.isolation_level = " ISOLATION LEVEL READ COMMITTED";
        self
    }

    /// Makes the transaction `ISOLATION LEVEL REPEATABLE READ`.
    pub fn repeatable_read(mut self) -> Self {
        self.isolation_level = " ISOLATION LEVEL REPEATABLE READ";
        self
    }

    /// Makes the transaction `ISOLATION LEVEL SERIALIZABLE`.
    pub fn serializable(mut self) -> Self {
        self.isolation_level = " ISOLATION LEVEL SERIALIZABLE";
        self
    }

    /// Runs `f` in the transaction: committed if it returns `Ok`, rolled back if it returns `Err`.
    ///
    /// # Errors
    ///
    /// Those of `f`, and those of diesel where the transaction cannot begin or end;
    /// [`Error::AlreadyInTransaction`] inside another one.
    pub async fn run<T, E, F>(&mut self, f: F) -> Result<T, E>
    where
        F: for<'r> AsyncFnOnce(&'r mut AsyncBemiConnection) -> Result<T, E>
            + for<'r> SendBody<&'r mut AsyncBemiConnection, Result<T, E>>
            + Send,
        E: From<Error>,
    {
        self.begin().await?;
        match f(&mut *self.connection).await {
            Ok(value) => {
                AnsiTransactionManager::commit_transaction(&mut *self.connection).await?;
                Ok(value)
            }
            Err(error) => {
                AnsiTransactionManager::rollback_transaction(&mut *self.connection).await?;
                Err(error)
            }
        }
    }

    async fn begin(&mut self) -> QueryResult<()> {
        let sql = format!(
            "BEGIN TRANSACTION{}{}{}",
            self.isolation_level, self.read_mode, self.deferrable
        );
        AnsiTransactionManager::begin_transaction_sql(&mut *self.connection, &sql).await
    }
}
