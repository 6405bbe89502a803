//! A database whose changes are captured while a test runs.

use bemi_diesel::{Capture, CaptureBuilder, CaptureHandle, Lsn};
use bemi_tests::Database;
use serde_json::{Value, json};
use tokio_postgres::types::PgLsn;
use tokio_postgres::{Client, NoTls};

diesel::table! {
    todos { id -> Integer, title -> Text, done -> Bool }
}

/// The table [`todos`].
pub(crate) const TODOS: &str = "CREATE TABLE todos (id serial PRIMARY KEY, title text NOT NULL, \
                                done bool NOT NULL DEFAULT false)";

/// A captured database.
pub(crate) struct Trail {
    pub(crate) client: Client,
    pub(crate) capture: CaptureHandle,
    // Dropped last: it drops the slot that the capture reads from.
    pub(crate) database: Database,
}

impl Trail {
    /// A database that `sql` has been run in, and whose tables are captured from then on.
    pub(crate) async fn start(sql: &str) -> Self {
        let database = Database::create().unwrap();
        let client = connect(database.url()).await;
        client.batch_execute(sql).await.unwrap();
        let capture = builder(&database).start().await.unwrap();
        Self {
            client,
            capture,
            database,
        }
    }

    /// A second connection.
    pub(crate) async fn connect(&self) -> Client {
        connect(self.database.url()).await
    }

    pub(crate) async fn sql(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap();
    }

    /// Waits until everything that has been committed is stored.
    pub(crate) async fn caught_up(&self) {
        self.capture
            .wait_for(log_end(&self.client).await)
            .await
            .unwrap();
    }

    /// Operation, table, key, before, after and context of every change, in the order of the trail.
    pub(crate) async fn changes(&self) -> Vec<Value> {
        self.caught_up().await;
        let sql = "SELECT jsonb_build_array(operation, \"table\", primary_key, before, after, context)::text \
                   FROM changes ORDER BY commit_lsn, ordinal";
        let rows = self.client.query(sql, &[]).await.unwrap();
        rows.iter()
            .map(|row| serde_json::from_str(row.get(0)).unwrap())
            .collect()
    }

    /// Keys and contexts of every change, in the order of the trail.
    pub(crate) async fn contexts(&self) -> Vec<Value> {
        self.changes()
            .await
            .into_iter()
            .map(|change| json!([change[2], change[5]]))
            .collect()
    }
}

/// The capture of `database`, with a slot of its own name, as slots belong to the whole cluster.
pub(crate) fn builder(database: &Database) -> CaptureBuilder {
    Capture::builder(database.url()).slot(database.name())
}

pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Where the log ends: everything that has been committed lies before it.
pub(crate) async fn log_end(client: &Client) -> Lsn {
    let row = client
        .query_one("SELECT pg_current_wal_insert_lsn()", &[])
        .await
        .unwrap();
    Lsn::new(row.get::<_, PgLsn>(0).into())
}
