//! The database that is captured, the one that the changes go to, and the capture between them.

use std::collections::HashSet;

use bemi_diesel::{Capture, CaptureHandle, Lsn};
use bemi_tests::Database;
use postgres::{Client, NoTls};
use tokio::runtime::Runtime;

/// What of the truth does not depend on a schema.
const TRUTH: &str = include_str!("truth.sql");

/// In the order of what they need.
const EXTENSIONS: [&str; 9] = [
    "hstore",
    "citext",
    "ltree",
    "cube",
    "earthdistance",
    "seg",
    "isn",
    "lo",
    "intarray",
];

/// A captured database; its changes go to another one, so that only what the test writes is in its log.
pub(crate) struct Source {
    pub(crate) client: Client,
    /// To the database that holds `changes`.
    pub(crate) trail: Client,
    /// What [`Base::needs`](crate::base::Base::needs) can be had.
    pub(crate) available: HashSet<String>,
    /// The server's major version.
    pub(crate) major: i32,
    capture: CaptureHandle,
    runtime: Runtime,
    // Dropped last: they drop the slot that the capture reads from.
    _databases: [Database; 2],
}

impl Source {
    pub(crate) fn start() -> Self {
        let databases = [Database::create().unwrap(), Database::create().unwrap()];
        let [source, destination] = databases.each_ref().map(Database::url);
        let mut client = Client::connect(source, NoTls).unwrap();
        client.batch_execute(TRUTH).unwrap();
        // Settings of the database that the capture must not mind.
        client
            .batch_execute(&format!(
                "ALTER DATABASE {0} SET datestyle = 'SQL, DMY'; ALTER DATABASE {0} SET timezone = 'Asia/Kathmandu'; \
                 ALTER DATABASE {0} SET intervalstyle = 'iso_8601'; ALTER DATABASE {0} SET bytea_output = 'escape'; \
                 ALTER DATABASE {0} SET extra_float_digits = -5; CREATE PUBLICATION bemi FOR ALL TABLES",
                databases[0].name()
            ))
            .unwrap();
        let mut available = HashSet::new();
        for extension in EXTENSIONS {
            if client
                .batch_execute(&format!("CREATE EXTENSION {extension} SCHEMA public"))
                .is_ok()
            {
                available.insert(extension.to_owned());
            }
        }
        if client.batch_execute("SELECT '<a/>'::xml").is_ok() {
            available.insert("xml".to_owned());
        }
        let version = "SELECT current_setting('server_version_num')::int / 10000";
        let major = client.query_one(version, &[]).unwrap().get(0);
        println!("PostgreSQL {major} with {available:?}");
        if major >= 18 {
            let publish = "ALTER PUBLICATION bemi SET (publish_generated_columns = stored)";
            client.batch_execute(publish).unwrap();
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let builder = Capture::builder(source)
            .destination(destination)
            .slot(databases[0].name());
        let capture = runtime.block_on(builder.start()).unwrap();
        Self {
            trail: Client::connect(destination, NoTls).unwrap(),
            client,
            available,
            major,
            capture,
            runtime,
            _databases: databases,
        }
    }

    /// Waits until everything that has been committed is stored.
    pub(crate) fn caught_up(&mut self) {
        let row = self
            .client
            .query_one("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint", &[])
            .unwrap();
        let end = Lsn::new(row.get::<_, i64>(0).cast_unsigned());
        self.runtime.block_on(self.capture.wait_for(end)).unwrap();
    }
}

/// An identifier as SQL writes it.
pub(crate) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A string as SQL writes it.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
