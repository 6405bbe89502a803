//! A database, and the command run on it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};

use bemi_tests::{Cluster, Database};
use postgres::{Client, NoTls};
use serde_json::Value;

/// What a call of the command gave.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    /// The JSON document on standard output.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.code, 0, "{}", self.stderr);
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }
}

/// The command, with nothing of this process's own settings.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bemi"));
    for name in [
        "DATABASE_URL",
        "BEMI_DESTINATION_URL",
        "BEMI_SLOT",
        "BEMI_PUBLICATION",
        "RUST_LOG",
    ] {
        command.env_remove(name);
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs the command to its end.
pub(crate) fn bemi(arguments: &[&str]) -> Outcome {
    let output = command(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Outcome {
        code: output.status.code().unwrap_or(-1),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

/// A database of its own, with a slot of its own name, as slots belong to the whole cluster.
pub(crate) struct Shop {
    pub(crate) database: Database,
}

impl Shop {
    pub(crate) fn open() -> Self {
        Self {
            database: Database::create().unwrap(),
        }
    }

    pub(crate) fn open_in(cluster: &Cluster) -> Self {
        Self {
            database: Database::create_in(cluster).unwrap(),
        }
    }

    /// A shop with the usual table, set up.
    pub(crate) fn set_up() -> Self {
        let shop = Self::open();
        shop.sql("CREATE TABLE todos (id serial PRIMARY KEY, title text)");
        assert_eq!(shop.bemi(&["setup"]).code, 0);
        shop
    }

    pub(crate) fn slot(&self) -> &str {
        self.database.name()
    }

    /// The command on this database.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command(arguments);
        command
            .env("DATABASE_URL", self.database.url())
            .env("BEMI_SLOT", self.slot());
        command
    }

    pub(crate) fn bemi(&self, arguments: &[&str]) -> Outcome {
        let connection = ["--database-url", self.database.url(), "--slot", self.slot()];
        bemi(&[arguments, &connection].concat())
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.database.url(), NoTls).unwrap()
    }

    pub(crate) fn sql(&self, sql: &str) {
        self.client().batch_execute(sql).unwrap();
    }

    /// The one value of the one row that `sql` gives.
    pub(crate) fn value<T: for<'a> postgres::types::FromSql<'a>>(&self, sql: &str) -> T {
        self.client().query_one(sql, &[]).unwrap().get(0)
    }

    /// Starts `bemi run` and waits until it reads the log.
    pub(crate) fn capture(&self) -> Capture {
        self.capture_as(self.database.url())
    }

    /// [Captures](Self::capture) as the role that `url` names.
    pub(crate) fn capture_as(&self, url: &str) -> Capture {
        let mut child = self
            .command(&["run", "--database-url", url])
            .stderr(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let capture = Capture { child };
        let mut said = Vec::new();
        while !said
            .last()
            .is_some_and(|line: &String| line.contains("capture reads the log"))
        {
            match lines.next() {
                Some(line) => said.push(line.unwrap()),
                None => panic!("the capture ended: {said:?}"),
            }
        }
        // The pipe must not fill up, nor close.
        std::thread::spawn(move || lines.for_each(drop));
        capture
    }

    /// Waits until everything that has been committed is stored.
    pub(crate) fn wait_until_stored(&self, changes: i64) {
        // A notification would need a trigger on our own tables; the trail's own growth is the signal.
        for _ in 0..3000 {
            if self.value::<i64>("SELECT count(*) FROM changes") >= changes {
                return;
            }
            std::thread::yield_now();
            std::thread::park_timeout(std::time::Duration::from_millis(10));
        }
        panic!("{changes} changes were not stored in 30 s");
    }
}

/// A running `bemi run`; dropped, it is killed.
pub(crate) struct Capture {
    child: Child,
}

impl Capture {
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        // It may have ended already.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}
