//! A captured database whose trail is asked.

use bemi_diesel::{
    AsyncBemiConnection, BemiConnection, Capture, CaptureBuilder, CaptureHandle, Context, Lsn,
    sync_scope,
};
use bemi_tests::Database;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use diesel_async::AsyncConnection;
use serde_json::Value;
use tokio::runtime::Runtime;

/// A database of a test's own, captured into itself.
pub(crate) struct Shop {
    pub(crate) connection: BemiConnection,
    /// Stored generated columns are in the log: from PostgreSQL 18 on.
    pub(crate) generated: bool,
    capture: CaptureHandle,
    runtime: Runtime,
    database: Database,
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

impl Shop {
    /// Makes what `schema` says, then starts to capture.
    pub(crate) fn open(schema: &str) -> Self {
        Self::open_with(schema, |builder| builder)
    }

    /// The same, with settings of one's own.
    pub(crate) fn open_with(
        schema: &str,
        settings: impl FnOnce(CaptureBuilder) -> CaptureBuilder,
    ) -> Self {
        let database = Database::create().expect("a database");
        let mut connection =
            BemiConnection::establish(database.url()).expect("the server is ready");
        connection.batch_execute(schema).expect(schema);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let builder = Capture::builder(database.url()).slot(database.name());
        let capture = runtime
            .block_on(settings(builder).start())
            .expect("a capture");
        let version = "SELECT current_setting('server_version_num')::bigint AS n";
        let version: Number = diesel::sql_query(version)
            .get_result(&mut connection)
            .expect(version);
        Self {
            connection,
            generated: version.n >= 180_000,
            capture,
            runtime,
            database,
        }
    }

    pub(crate) fn url(&self) -> &str {
        self.database.url()
    }

    /// Runs SQL with `context`, or `null` for none, and waits until its changes are stored.
    pub(crate) fn sql(&mut self, context: &Value, sql: &str) -> Lsn {
        let mut members = Context::new();
        for (name, value) in context.as_object().into_iter().flatten() {
            members = members.with(name, value);
        }
        sync_scope(members, || self.connection.batch_execute(sql)).expect(sql);
        self.stored()
    }

    /// Waits until everything so far is stored; returns how far the log is.
    pub(crate) fn stored(&mut self) -> Lsn {
        let lsn = self.number("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint AS n");
        let lsn = Lsn::from_i64(lsn);
        self.runtime
            .block_on(self.capture.wait_for(lsn))
            .expect("the capture goes on");
        lsn
    }

    /// The `n` of the one row that `sql` gives.
    pub(crate) fn number(&mut self, sql: &str) -> i64 {
        let row: Number = diesel::sql_query(sql)
            .get_result(&mut self.connection)
            .expect(sql);
        row.n
    }

    /// Runs `work` on an asynchronous connection.
    pub(crate) fn asynchronously<R>(
        &self,
        work: impl AsyncFnOnce(&mut AsyncBemiConnection) -> R,
    ) -> R {
        self.runtime.block_on(async {
            let mut connection = AsyncBemiConnection::establish(self.url())
                .await
                .expect("the server is ready");
            work(&mut connection).await
        })
    }
}
