//! The program, the database it works on, and a folder in which it leaves nothing.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bemi_tests::{Cluster, Database};
use postgres::{Client, NoTls};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Longer than anything takes that works.
const PATIENCE: Duration = Duration::from_secs(30);

/// The statements that diesel makes of the handlers.
pub(crate) const INSERT: &str = r#"INSERT INTO "todos" ("title") VALUES ($1) RETURNING "todos"."id", "todos"."title", "todos"."completed""#;
pub(crate) const UPDATE: &str = r#"UPDATE "todos" SET "completed" = $1 WHERE ("todos"."id" = $2)"#;
pub(crate) const DELETE: &str = r#"DELETE FROM "todos" WHERE ("todos"."id" = $1)"#;

pub(crate) fn row(id: i64, title: &str, completed: bool) -> Value {
    json!({ "id": id, "title": title, "completed": completed })
}

/// The changes that the five requests of a start make, with `first` as the id of the first to-do:
/// primary key, operation, before, after, context.
pub(crate) fn five(first: i64) -> [(String, &'static str, Value, Value, Value); 5] {
    let [sleep, eat, repeat] = [first, first + 1, first + 2];
    let context = |endpoint: String, params: Value, sql: &str| json!({ "userId": 187_234, "endpoint": endpoint, "params": params, "SQL": sql });
    let create = |id: i64, title: &str| {
        let context = context("/todos".to_owned(), json!({ "title": title }), INSERT);
        (
            id.to_string(),
            "CREATE",
            json!({}),
            row(id, title, false),
            context,
        )
    };
    [
        create(sleep, "Sleep"),
        create(eat, "Eat"),
        create(repeat, "Repeat"),
        (
            sleep.to_string(),
            "UPDATE",
            row(sleep, "Sleep", false),
            row(sleep, "Sleep", true),
            context(
                format!("/todos/{sleep}/complete"),
                json!({ "id": sleep }),
                UPDATE,
            ),
        ),
        (
            eat.to_string(),
            "DELETE",
            row(eat, "Eat", false),
            json!({}),
            context(format!("/todos/{eat}"), json!({ "id": eat }), DELETE),
        ),
    ]
}

/// Calls `done` until it gives something. What is waited for happens in other processes, which send no
/// signal that could be waited for instead.
pub(crate) fn wait_for<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = done() {
            return found;
        }
        assert!(begin.elapsed() < PATIENCE, "{what}: not after {PATIENCE:?}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// The folder for the program's temporary files, which belongs to one test.
pub(crate) struct Scratch {
    folder: TempDir,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("todo-")
            .tempdir_in("/tmp")
            .unwrap();
        // Under root the server that is put here runs as somebody else.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o1777)).unwrap();
        Self { folder }
    }

    /// The program, with nothing of this process's own settings.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_todo"));
        for name in ["DATABASE_URL", "BEMI_SLOT", "RUST_LOG"] {
            command.env_remove(name);
        }
        // Errors must read well with it too.
        command
            .env("RUST_BACKTRACE", "1")
            .env("TMPDIR", self.folder.path())
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    /// Runs the program to its end.
    pub(crate) fn todo(&self, arguments: &[&str]) -> Outcome {
        Outcome::of(&mut self.command(arguments))
    }

    /// What is left in the folder, and of processes that know of it.
    pub(crate) fn left(&self) -> Vec<String> {
        let path = self.folder.path();
        let files = fs::read_dir(path).unwrap();
        let mut left: Vec<String> = files
            .map(|file| file.unwrap().path().display().to_string())
            .collect();
        left.extend(processes().filter(|line| line.contains(&*path.to_string_lossy())));
        left
    }
}

/// The command lines of all processes.
fn processes() -> impl Iterator<Item = String> {
    fs::read_dir("/proc").unwrap().filter_map(|entry| {
        // One that has ended meanwhile has none.
        let line = fs::read(entry.ok()?.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).replace('\0', " "))
    })
}

/// What a run of the program gave.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    pub(crate) fn of(command: &mut Command) -> Self {
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// Standard output of a run that went well.
    pub(crate) fn done(self) -> String {
        assert_eq!((self.code, &*self.stderr), (Some(0), ""));
        self.stdout
    }
}

/// A database with the audit trail, and a slot of its own name, as slots belong to the whole cluster.
pub(crate) struct Trail {
    pub(crate) database: Database,
}

impl Trail {
    pub(crate) fn new() -> Self {
        Self {
            database: Database::create().unwrap(),
        }
    }

    pub(crate) fn new_in(cluster: &Cluster) -> Self {
        Self {
            database: Database::create_in(cluster).unwrap(),
        }
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

    /// The one JSON value that `sql` gives.
    pub(crate) fn json(&self, sql: &str) -> Value {
        let text: String = self.value(&format!("SELECT ({sql})::text"));
        serde_json::from_str(&text).unwrap()
    }

    /// Waits until so many changes are stored.
    pub(crate) fn wait_until_stored(&self, changes: i64) {
        let mut client = self.client();
        wait_for(&format!("{changes} changes are stored"), || {
            let row = client
                .query_one("SELECT count(*) FROM changes", &[])
                .unwrap();
            (row.get::<_, i64>(0) >= changes).then_some(())
        });
    }

    /// The program on this database.
    pub(crate) fn command(&self, scratch: &Scratch, arguments: &[&str]) -> Command {
        let mut command = scratch.command(arguments);
        command
            .env("DATABASE_URL", self.database.url())
            .env("BEMI_SLOT", self.database.name());
        command
    }

    /// Starts the program on this database and waits until it has played its five requests and serves.
    pub(crate) fn serve(&self, scratch: &Scratch) -> Serving {
        Serving::start(self.command(scratch, &["--port", "0"]))
    }
}

/// The program while it serves; dropped, it is killed.
pub(crate) struct Serving {
    child: Child,
    url: String,
}

impl Serving {
    /// Waits until it has played its five requests and serves.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut serving = Self {
            child,
            url: String::new(),
        };
        let mut lines = stdout.lines().map(Result::unwrap);
        let invitation = "  curl http://127.0.0.1:";
        let Some(line) = lines.find(|line| line.starts_with(invitation)) else {
            panic!("the program ended: {}", serving.stderr());
        };
        serving.url = line
            .trim_start_matches("  curl ")
            .trim_end_matches("/changes")
            .to_owned();
        // The pipe must not fill up, nor close.
        std::thread::spawn(move || lines.for_each(drop));
        serving
    }

    /// The address of `path`.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end, and returns the exit status and what was written to standard error.
    pub(crate) fn ended(mut self) -> (Option<i32>, String) {
        let stderr = self.stderr();
        (self.child.wait().unwrap().code(), stderr)
    }

    fn stderr(&mut self) -> String {
        let mut said = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        stderr.read_to_string(&mut said).unwrap();
        said
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended already.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// An answer's status and body.
pub(crate) fn answer(
    result: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
) -> (u16, String) {
    let mut response = result.unwrap();
    let status = response.status().as_u16();
    (status, response.body_mut().read_to_string().unwrap())
}

/// A client that takes every status for an answer.
pub(crate) fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .build()
        .into()
}
