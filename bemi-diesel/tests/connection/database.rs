//! A database for each test, and what the log has to say about it.

use bemi_diesel::BemiConnection;
use bemi_tests::Cluster;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::Text;

/// A database of a test's own, with the table `todos` and a slot that sees what happens to it.
pub(crate) struct Database {
    inner: bemi_tests::Database,
}

impl Database {
    pub(crate) fn new() -> Self {
        Self::with_todos(bemi_tests::Database::create().expect("a database"))
    }

    pub(crate) fn new_in(cluster: &Cluster) -> Self {
        Self::with_todos(bemi_tests::Database::create_in(cluster).expect("a database"))
    }

    fn with_todos(inner: bemi_tests::Database) -> Self {
        let database = Self { inner };
        database.sql(
            "CREATE TABLE todos (id int PRIMARY KEY, title text NOT NULL CHECK (title <> ''))",
        );
        database.sql(&format!(
            "SELECT pg_create_logical_replication_slot('{}', 'test_decoding')",
            database.inner.name()
        ));
        database
    }

    pub(crate) fn url(&self) -> &str {
        self.inner.url()
    }

    /// The same for the role `name`, which is made for it and may use `todos`.
    pub(crate) fn url_of_role(&self, name: &str) -> String {
        self.sql(&format!(
            "CREATE ROLE {name} LOGIN; GRANT ALL ON todos TO {name}"
        ));
        self.url().replace("postgres@", &format!("{name}@"))
    }

    /// A connection that bemi knows nothing of.
    pub(crate) fn plain(&self) -> PgConnection {
        PgConnection::establish(self.url()).expect("the server is ready")
    }

    pub(crate) fn wrapped(&self) -> BemiConnection {
        BemiConnection::establish(self.url()).expect("the server is ready")
    }

    pub(crate) fn sql(&self, sql: &str) {
        self.plain().batch_execute(sql).expect(sql);
    }

    /// Takes the right to write messages from everybody but the superuser. The functions have one more
    /// parameter since PostgreSQL 17.
    pub(crate) fn revoke(&self) {
        self.sql(
            "DO $$ DECLARE f regprocedure; BEGIN FOR f IN SELECT oid FROM pg_proc WHERE proname = 'pg_logical_emit_message' \
             LOOP EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', f); END LOOP; END $$",
        );
    }

    /// What the log got since the last call, one entry per transaction, in the order of the log:
    /// `INSERT 1` is a row by its first column, `context 1 lead INSERT` a message with its `n`, its
    /// hint and the first word of its `SQL` (`-` where there is none).
    pub(crate) fn log(&self) -> Vec<String> {
        let mut transactions = Vec::new();
        let mut current = Vec::new();
        for line in self.raw_log() {
            match line.as_str() {
                "BEGIN" => current.clear(),
                "COMMIT" if current.is_empty() => {}
                "COMMIT" => transactions.push(current.join(", ")),
                line => current.push(
                    message(line)
                        .map(|json| context(&json))
                        .or_else(|| row(line))
                        .unwrap_or_else(|| line.to_owned()),
                ),
            }
        }
        transactions
    }

    /// The messages that the log got since the last call, as they are.
    pub(crate) fn messages(&self) -> Vec<String> {
        self.raw_log()
            .iter()
            .filter_map(|line| message(line))
            .collect()
    }

    /// Every row of every table.
    pub(crate) fn contents(&self) -> Vec<String> {
        #[derive(QueryableByName)]
        struct Value {
            #[diesel(sql_type = Text)]
            value: String,
        }
        let c = &mut self.plain();
        let mut ask = |sql: &str| {
            let rows: Vec<Value> = diesel::sql_query(sql).load(c).expect("the contents");
            rows.into_iter().map(|row| row.value).collect::<Vec<_>>()
        };
        let tables = ask("SELECT oid::regclass::text AS value FROM pg_class \
             WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' ORDER BY relname");
        tables
            .into_iter()
            .map(|table| {
                // When a migration was run is another time each time.
                let rows = ask(&format!(
                    "SELECT (to_jsonb(t) - 'run_on')::text AS value FROM {table} t ORDER BY value"
                ));
                format!("{table}: {rows:?}")
            })
            .collect()
    }

    fn raw_log(&self) -> Vec<String> {
        #[derive(QueryableByName)]
        struct Line {
            #[diesel(sql_type = Text)]
            data: String,
        }
        diesel::sql_query(format!(
            "SELECT data FROM pg_logical_slot_get_changes('{}', NULL, NULL, 'include-xids', '0')",
            self.inner.name()
        ))
        .load::<Line>(&mut self.plain())
        .expect("the slot is there")
        .into_iter()
        .map(|line| line.data)
        .collect()
    }
}

fn message(line: &str) -> Option<String> {
    let (head, content) = line.split_once("content:")?;
    assert!(
        head.starts_with("message: transactional: 1 prefix: _bemi,"),
        "{line}"
    );
    Some(content.to_owned())
}

fn context(json: &str) -> String {
    let json: serde_json::Value = serde_json::from_str(json).expect("the message is JSON");
    let n = json["n"].as_i64().map_or("-".to_owned(), |n| n.to_string());
    let lead = match json["_bemi"]["lead"].as_bool() {
        Some(true) => "lead",
        _ => "-",
    };
    let sql = json["SQL"].as_str().and_then(|sql| sql.split(' ').next());
    format!("context {n} {lead} {}", sql.unwrap_or("-"))
}

fn row(line: &str) -> Option<String> {
    let (_, row) = line.strip_prefix("table public.")?.split_once(": ")?;
    let (operation, columns) = row.split_once(": ")?;
    let value = columns.split_once("]:").map_or(columns, |(_, value)| {
        value.split(' ').next().unwrap_or(value)
    });
    Some(format!("{operation} {value}"))
}
