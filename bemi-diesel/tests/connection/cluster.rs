//! One throw-away server for all tests of this binary, a database for each.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use bemi_diesel::BemiConnection;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::Text;

/// The server stops, and its files go, when the pipe is closed: when this process ends.
struct Cluster {
    directory: PathBuf,
    _pipe: ChildStdin,
}

/// `$0` is the folder of the programs, `$1` that of the cluster.
const RUN: &str = r#"
"$0/initdb" -D "$1/data" -U postgres --auth=trust --no-sync -E UTF8 --locale=C >"$1/initdb.log" 2>&1 &&
"$0/pg_ctl" -D "$1/data" -l "$1/log" -w start -o "-c wal_level=logical -c fsync=off -c listen_addresses='' \
    -c max_replication_slots=100 -c max_connections=100 -c max_prepared_transactions=10 -k $1" >/dev/null 2>&1 &&
echo ready
read -r _
"$0/pg_ctl" -D "$1/data" -m immediate stop >/dev/null 2>&1
rm -rf "$1"
"#;

fn programs() -> PathBuf {
    if let Some(folder) = std::env::var_os("PG_BIN") {
        return folder.into();
    }
    (14..=18)
        .rev()
        .map(|major| PathBuf::from(format!("/usr/lib/postgresql/{major}/bin")))
        .find(|folder| folder.join("initdb").exists())
        .expect("PostgreSQL is installed, or PG_BIN names the folder of its programs")
}

fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let directory = tempfile::tempdir().expect("a temporary folder").keep();
        let mut command = Command::new("sh");
        command.arg("-c").arg(RUN).arg(programs()).arg(&directory);
        let root = Path::new("/proc/self")
            .metadata()
            .is_ok_and(|own| own.uid() == 0);
        if root {
            // The server refuses to run as root.
            chown(&directory, Some(65534), Some(65534)).expect("root may give a folder away");
            command.uid(65534).gid(65534);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A signal to the tests must not stop the one that cleans up after them.
            .process_group(0)
            .spawn()
            .expect("a shell");
        let pipe = child.stdin.take().expect("it is piped");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("it is piped"))
            .read_line(&mut line)
            .expect("UTF-8");
        assert_eq!(line, "ready\n", "see the log in {}", directory.display());
        Cluster {
            directory,
            _pipe: pipe,
        }
    })
}

/// A database of a test's own, with the table `todos` and a slot that sees what happens to it.
pub(crate) struct Database {
    pub(crate) url: String,
    name: String,
}

impl Database {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let directory = cluster().directory.display();
        let mut maintenance =
            PgConnection::establish(&format!("host={directory} user=postgres dbname=postgres"))
                .expect("the server is ready");
        maintenance
            .batch_execute(&format!("CREATE DATABASE {name}"))
            .expect("a database");
        let database = Self {
            url: format!("host={directory} user=postgres dbname={name}"),
            name,
        };
        database.sql(
            "CREATE TABLE todos (id int PRIMARY KEY, title text NOT NULL CHECK (title <> ''))",
        );
        database.sql(&format!(
            "SELECT pg_create_logical_replication_slot('{}', 'test_decoding')",
            database.name
        ));
        database
    }

    /// A connection that bemi knows nothing of.
    pub(crate) fn plain(&self) -> PgConnection {
        PgConnection::establish(&self.url).expect("the server is ready")
    }

    pub(crate) fn wrapped(&self) -> BemiConnection {
        BemiConnection::establish(&self.url).expect("the server is ready")
    }

    pub(crate) fn sql(&self, sql: &str) {
        self.plain().batch_execute(sql).expect(sql);
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

    fn raw_log(&self) -> Vec<String> {
        #[derive(QueryableByName)]
        struct Line {
            #[diesel(sql_type = Text)]
            data: String,
        }
        diesel::sql_query(format!(
            "SELECT data FROM pg_logical_slot_get_changes('{}', NULL, NULL, 'include-xids', '0')",
            self.name
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
