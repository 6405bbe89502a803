//! A captured database, its tables as JSON, and a connection that reverts.

use std::collections::BTreeMap;

use bemi_diesel::revert::{ConflictKind, Plan, Reverted};
use bemi_diesel::{BemiConnection, Capture, CaptureHandle, Lsn, Revert, RevertError, Xid};
use bemi_tests::Database;
use chrono::{DateTime, Utc};
use diesel::Connection;
use postgres::{Client, NoTls};
use serde_json::Value;
use tokio::runtime::Runtime;

/// All rows of all tables, each table's in an order of their own.
pub(crate) type State = BTreeMap<String, Vec<String>>;

pub(crate) struct Shop {
    pub(crate) client: Client,
    pub(crate) connection: BemiConnection,
    pub(crate) runtime: Runtime,
    capture: CaptureHandle,
    // Dropped last: it drops the slot that the capture reads from.
    pub(crate) database: Database,
}

impl Shop {
    /// A database that `sql` has been run in, and whose tables are captured from then on.
    pub(crate) fn open(sql: &str) -> Self {
        let database = Database::create().unwrap();
        let mut client = Client::connect(database.url(), NoTls).unwrap();
        client.batch_execute(sql).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let builder = Capture::builder(database.url()).slot(database.name());
        Self {
            capture: runtime.block_on(builder.start()).unwrap(),
            connection: BemiConnection::establish(database.url()).unwrap(),
            client,
            runtime,
            database,
        }
    }

    pub(crate) fn sql(&mut self, sql: &str) {
        self.client
            .batch_execute(sql)
            .unwrap_or_else(|error| panic!("{error:?}: {sql}"));
    }

    /// Runs `sql` in one transaction, and gives its number.
    pub(crate) fn transaction(&mut self, sql: &str) -> Xid {
        let mut transaction = self.client.transaction().unwrap();
        transaction
            .batch_execute(sql)
            .unwrap_or_else(|error| panic!("{error:?}: {sql}"));
        let row = transaction.query_one("SELECT pg_current_xact_id()::xid::text", &[]);
        let number = row.unwrap().get::<_, String>(0).parse().unwrap();
        transaction.commit().unwrap();
        Xid::new(number)
    }

    /// The time of the server.
    pub(crate) fn now(&mut self) -> DateTime<Utc> {
        let sql = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
        let micros: i64 = self.client.query_one(sql, &[]).unwrap().get(0);
        DateTime::from_timestamp_micros(micros).unwrap()
    }

    /// Waits until everything that has been committed is stored.
    pub(crate) fn caught_up(&mut self) {
        let sql = "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint";
        let end: i64 = self.client.query_one(sql, &[]).unwrap().get(0);
        let end = Lsn::new(end.cast_unsigned());
        self.runtime.block_on(self.capture.wait_for(end)).unwrap();
    }

    pub(crate) fn state(&mut self) -> State {
        let tables = "SELECT oid::regclass::text FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition \
                      AND relnamespace = 'public'::regnamespace AND relname NOT IN ('changes', '_bemi_progress') ORDER BY 1";
        let tables = self.client.query(tables, &[]).unwrap();
        let names = tables.iter().map(|row| row.get::<_, String>(0));
        names
            .map(|name| {
                let rows = format!("SELECT to_jsonb(t.*)::text FROM {name} t ORDER BY 1");
                let rows = self.client.query(&rows, &[]).unwrap();
                (name, rows.iter().map(|row| row.get(0)).collect())
            })
            .collect()
    }

    /// The rows of one table, in the order of their text.
    pub(crate) fn rows(&mut self, table: &str) -> Vec<Value> {
        let state = self.state();
        let rows = state[table].iter();
        rows.map(|row| serde_json::from_str(row).unwrap()).collect()
    }

    pub(crate) fn plan(&mut self, revert: &Revert) -> Plan {
        self.caught_up();
        revert.plan(&mut self.connection).unwrap()
    }

    pub(crate) fn apply(&mut self, revert: &Revert) -> Result<Reverted, RevertError> {
        self.caught_up();
        revert.apply(&mut self.connection)
    }

    /// Reverts, which has to go well.
    pub(crate) fn revert(&mut self, revert: &Revert) -> Reverted {
        self.apply(revert)
            .unwrap_or_else(|error| panic!("{error}: {error:?}"))
    }

    /// The conflicts that keep it from being reverted; nothing has changed then.
    pub(crate) fn refused(
        &mut self,
        revert: &Revert,
    ) -> Vec<(String, Option<String>, ConflictKind)> {
        let before = self.state();
        let planned = self.plan(revert);
        let Err(RevertError::Conflicts(plan)) = self.apply(revert) else {
            panic!("it was reverted");
        };
        assert_eq!(planned, *plan);
        assert_eq!(self.state(), before);
        let conflicts = plan.conflicts.into_iter();
        conflicts
            .map(|conflict| (conflict.table, conflict.primary_key, conflict.kind))
            .collect()
    }

    /// Runs `sql` as a transaction, takes it back, takes that back, and that as well: each time it is as it
    /// was, and in the end as in the beginning.
    pub(crate) fn there_and_back(&mut self, sql: &str) -> Reverted {
        let before = self.state();
        let transaction = self.transaction(sql);
        let after = self.state();
        let revert = Revert::new().transaction(transaction);
        let planned = self.plan(&revert);
        assert_eq!(self.state(), after, "a plan changes nothing");
        let reverted = self.revert(&revert);
        assert_eq!(planned, reverted.plan);
        assert_eq!(self.state(), before, "it is as it was");
        let again = self.revert(&Revert::new().transaction(reverted.transaction.unwrap()));
        assert_eq!(self.state(), after, "the revert is reverted");
        self.revert(&Revert::new().transaction(again.transaction.unwrap()));
        assert_eq!(self.state(), before, "and that as well");
        reverted
    }
}
