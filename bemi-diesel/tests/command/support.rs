//! A database, and the command run on it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

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
        "BEMI_IGNORE",
        "BEMI_KEEP_UNCHANGED",
        "RUST_LOG",
        "BEMI_PAGER",
        "PAGER",
        "LESS",
        "NO_COLOR",
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

/// How long a test waits for what is to come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A database of its own, with a slot of its own name, as slots belong to the whole cluster.
pub(crate) struct Shop {
    pub(crate) database: Database,
    /// Where the changes are stored, if not in the database itself.
    pub(crate) destination: Option<Database>,
}

impl Shop {
    pub(crate) fn open() -> Self {
        Self {
            database: Database::create().unwrap(),
            destination: None,
        }
    }

    pub(crate) fn open_in(cluster: &Cluster) -> Self {
        Self {
            database: Database::create_in(cluster).unwrap(),
            destination: None,
        }
    }

    /// A shop with the usual table, set up.
    pub(crate) fn set_up() -> Self {
        let shop = Self::open();
        shop.sql("CREATE TABLE todos (id serial PRIMARY KEY, title text)");
        assert_eq!(shop.bemi(&["setup"]).code, 0);
        shop
    }

    /// A shop like [`set_up`](Self::set_up) whose changes are stored in `destination`.
    pub(crate) fn stored_in(destination: Database) -> Self {
        let shop = Self {
            destination: Some(destination),
            ..Self::open()
        };
        shop.sql("CREATE TABLE todos (id serial PRIMARY KEY, title text)");
        assert_eq!(shop.bemi(&["setup"]).code, 0);
        shop
    }

    /// The database that holds the table `changes`.
    pub(crate) fn trail(&self) -> &Database {
        self.destination.as_ref().unwrap_or(&self.database)
    }

    pub(crate) fn slot(&self) -> &str {
        self.database.name()
    }

    /// The command on this database.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command(arguments);
        command
            .env("DATABASE_URL", self.database.url())
            .env("BEMI_DESTINATION_URL", self.trail().url())
            .env("BEMI_SLOT", self.slot());
        command
    }

    pub(crate) fn bemi(&self, arguments: &[&str]) -> Outcome {
        let (source, destination) = (self.database.url(), self.trail().url());
        self.bemi_at(source, destination, arguments)
    }

    /// The command as the role that `url` names, on this database.
    pub(crate) fn bemi_as(&self, url: &str, arguments: &[&str]) -> Outcome {
        self.bemi_at(url, url, arguments)
    }

    pub(crate) fn bemi_at(&self, source: &str, destination: &str, arguments: &[&str]) -> Outcome {
        let connection = [
            "--database-url",
            source,
            "--destination-url",
            destination,
            "--slot",
            self.slot(),
        ];
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

    /// The one value of the one row that `sql` gives where the changes are stored.
    pub(crate) fn stored<T: for<'a> postgres::types::FromSql<'a>>(&self, sql: &str) -> T {
        let mut client = Client::connect(self.trail().url(), NoTls).unwrap();
        client.query_one(sql, &[]).unwrap().get(0)
    }

    /// Starts `bemi run` and waits until it reads the log.
    pub(crate) fn capture(&self) -> Capture {
        self.capture_with(&[])
    }

    /// [Captures](Self::capture) as the role that `url` names.
    pub(crate) fn capture_as(&self, url: &str) -> Capture {
        self.capture_with(&["--database-url", url])
    }

    /// [Captures](Self::capture) with more arguments.
    pub(crate) fn capture_with(&self, arguments: &[&str]) -> Capture {
        let capture = Capture::start(&mut self.command(&[&["run"], arguments].concat()));
        capture.says("capture reads the log");
        capture
    }

    /// Waits until everything that has been committed is stored.
    pub(crate) fn wait_until_stored(&self, changes: i64) {
        let mut client = Client::connect(self.trail().url(), NoTls).unwrap();
        // A notification would need a trigger on our own tables; the trail's own growth is the signal.
        wait_until(&format!("{changes} changes are stored"), || {
            let row = client.query_one("SELECT count(*) FROM public.changes", &[]);
            row.unwrap().get::<_, i64>(0) >= changes
        });
    }
}

/// Waits until `condition` holds.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = std::time::Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "it never came that {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// A running `bemi run`; dropped, it is killed.
pub(crate) struct Capture {
    child: Child,
    lines: Receiver<String>,
}

impl Capture {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command
            .stderr(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = mpsc::channel();
        // The pipe must not fill up, nor close.
        std::thread::spawn(move || {
            for line in stderr.lines() {
                // Whoever listened may have heard enough.
                let _heard = sender.send(line.unwrap());
            }
        });
        Self { child, lines }
    }

    /// Waits for the line on standard error that holds `words`; returns it with those before it.
    pub(crate) fn says(&self, words: &str) -> Vec<String> {
        let mut said = Vec::new();
        let deadline = std::time::Instant::now() + 4 * PATIENCE;
        loop {
            // It may say other things all the while.
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            match self.lines.recv_timeout(PATIENCE.min(left)) {
                Ok(line) => said.push(line),
                Err(error) => panic!("{words:?} was not said ({error}): {said:#?}"),
            }
            if said.last().is_some_and(|line| line.contains(words)) {
                return said;
            }
        }
    }

    #[allow(dead_code, reason = "not every test program listens this closely")]
    /// What it has said since it was last listened to.
    pub(crate) fn heard(&self) -> Vec<String> {
        self.lines.try_iter().collect()
    }

    /// Everything on standard error that is not [heard](Self::says) yet, once it has ended.
    pub(crate) fn last_words(&mut self) -> (i32, String) {
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        (code, self.lines.iter().collect::<Vec<_>>().join("\n"))
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
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
