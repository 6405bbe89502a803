//! Random transactions.

use std::sync::{Condvar, Mutex};
use std::time::Duration;

use fastrand::Rng;
use postgres::{Client, NoTls};

use crate::support::PATIENCE;

/// How many transactions the writers may still begin, and how many they have committed.
#[derive(Default)]
pub(crate) struct Budget {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    left: usize,
    working: usize,
    committed: usize,
    over: bool,
}

/// Ends the writers when it is dropped.
pub(crate) struct End<'a>(&'a Budget);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.state.lock().unwrap().over = true;
        self.0.changed.notify_all();
    }
}

impl Budget {
    pub(crate) fn ends_when_dropped(&self) -> End<'_> {
        End(self)
    }

    /// Lets the writers begin as many transactions more.
    pub(crate) fn grant(&self, transactions: usize) {
        self.state.lock().unwrap().left += transactions;
        self.changed.notify_all();
    }

    /// Waits until as many transactions more are committed, or none is left to be.
    pub(crate) fn committed(&self, more: usize) {
        let state = self.state.lock().unwrap();
        let enough = state.committed + more;
        self.wait(state, |state| {
            state.committed < enough && state.left + state.working > 0
        });
    }

    /// Waits until no transaction is left.
    pub(crate) fn spent(&self) {
        self.wait(self.state.lock().unwrap(), |state| {
            state.left + state.working > 0
        });
    }

    fn wait(&self, state: std::sync::MutexGuard<'_, State>, condition: impl Fn(&State) -> bool) {
        let waited = self
            .changed
            .wait_timeout_while(state, PATIENCE * 2, |state| condition(state))
            .unwrap();
        assert!(!waited.1.timed_out(), "the writers are stuck");
    }

    /// Takes one; `false` when it is over.
    fn take(&self) -> bool {
        let mut state = self
            .changed
            .wait_while(self.state.lock().unwrap(), |state| {
                state.left == 0 && !state.over
            })
            .unwrap();
        if state.over {
            return false;
        }
        state.left -= 1;
        state.working += 1;
        true
    }

    fn done(&self, committed: bool) {
        let mut state = self.state.lock().unwrap();
        state.working -= 1;
        state.committed += usize::from(committed);
        drop(state);
        self.changed.notify_all();
    }
}

/// How many tables a writer makes.
const TABLES: usize = 12;

/// One session that changes rows of its own, and one row that all fight for.
pub(crate) struct Writer {
    number: usize,
    url: String,
    random: Rng,
    /// The next key.
    next: usize,
    /// Tables that it has made, or has tried to.
    made: usize,
    /// Contexts that it has emitted.
    contexts: usize,
}

impl Writer {
    pub(crate) fn new(number: usize, url: String, random: Rng) -> Self {
        Self {
            number,
            url,
            random,
            next: number * 100_000_000,
            made: 0,
            contexts: 0,
        }
    }

    pub(crate) fn run(mut self, budget: &Budget) {
        let mut client = None;
        while budget.take() {
            // What is done does not depend on how long that takes.
            let transaction = self.transaction();
            let outcome = loop {
                match client
                    .take()
                    .map_or_else(|| Client::connect(&self.url, NoTls), Ok)
                {
                    Ok(mut open) => {
                        let outcome = transaction.run(&mut open);
                        client = (!open.is_closed()).then_some(open);
                        break outcome;
                    }
                    // The server is down.
                    Err(_) => std::thread::park_timeout(Duration::from_millis(20)),
                }
            };
            if let Err(error) = &outcome
                && let Some(error) = error.as_db_error()
            {
                // Ended by the server that goes down, or by the event trigger that another one waits for.
                let sqlstate = error.code().code();
                assert!(
                    sqlstate.starts_with("57") || sqlstate == "40P01",
                    "{error:?}: {transaction:?}"
                );
                if let Some(open) = &mut client {
                    // It may be about to be ended as well.
                    let _ended = open.batch_execute("ROLLBACK");
                }
            }
            budget.done(outcome.is_ok());
        }
    }

    fn key(&mut self) -> usize {
        self.next += 1;
        self.next
    }

    /// One of the last keys, which may be gone, or never have come to be.
    fn old_key(&mut self) -> usize {
        self.next - self.random.usize(0..20)
    }

    fn context(&mut self) -> String {
        self.contexts += 1;
        if self.random.u8(0..8) == 0 {
            return "{}".to_owned();
        }
        format!(r#"{{"writer": {}, "n": {}}}"#, self.number, self.contexts)
    }

    fn transaction(&mut self) -> Transaction {
        let mut steps = Vec::new();
        let large = self.random.u8(0..150) == 0;
        for _ in 0..self.random.usize(1..6) {
            self.step(&mut steps, 0);
        }
        if large {
            self.many(&mut steps);
            self.step(&mut steps, 0);
        }
        if self.random.u8(0..4) == 0 {
            steps.push(Step::Sql(format!("SELECT emit('{}')", self.context())));
        }
        // It puts the commits in one order.
        steps.push(Step::Sql("UPDATE counter SET n = n + 1".to_owned()));
        Transaction {
            steps,
            end: if self.random.u8(0..7) == 0 {
                "ROLLBACK"
            } else {
                "COMMIT"
            },
        }
    }

    fn step(&mut self, steps: &mut Vec<Step>, depth: usize) {
        let sql = match self.random.u8(0..16) {
            0..2 => format!("SELECT emit('{}')", self.context()),
            2 => {
                let key = self.key();
                format!("INSERT INTO t VALUES ({key}, large({key}))")
            }
            3 => {
                let (from, to) = (self.key(), self.key() + 3);
                self.next = to;
                format!("INSERT INTO t SELECT i, 'x' FROM generate_series({from}, {to}) i")
            }
            // What a wrapped connection sends.
            4 => {
                let (context, key) = (self.context(), self.key());
                let lead = context.replacen('{', r#"{"_bemi": {"lead": true}, "#, 1);
                let lead = lead.replace(", }", "}");
                format!(
                    "SELECT note('{context}'); INSERT INTO t VALUES ({key}, 'lead'), ({}, 'lead') \
                     RETURNING (SELECT pg_logical_emit_message(true, '_bemi', '{lead}'))",
                    self.key()
                )
            }
            5..7 => format!(
                "UPDATE t SET id = id, v = v || 'u' WHERE id = {}",
                self.old_key()
            ),
            // A large value is left alone.
            7 => format!("UPDATE t SET w = w + 1 WHERE id = {}", self.old_key()),
            8 => format!("DELETE FROM t WHERE id = {}", self.old_key()),
            9 => format!(
                "INSERT INTO t VALUES ({}, 'upsert') ON CONFLICT (id) DO UPDATE SET v = excluded.v",
                self.old_key()
            ),
            10 => format!(
                "INSERT INTO keyless VALUES ({0}, 'a'), ({0}, 'a'); UPDATE keyless SET v = 'b' WHERE a = {0}",
                self.key()
            ),
            11 => return self.copy(steps),
            12 => self.scratch(),
            13 => self.make(),
            _ if depth < 3 => return self.savepoint(steps, depth),
            _ => format!("DELETE FROM keyless WHERE a = {}", self.old_key()),
        };
        steps.push(Step::Sql(sql));
    }

    /// More rows than are held at a time.
    fn many(&mut self, steps: &mut Vec<Step>) {
        let from = self.key();
        let to = from + self.random.usize(9_000..14_000);
        self.next = to;
        steps.push(Step::Sql(format!(
            "INSERT INTO t SELECT i, 'many' FROM generate_series({from}, {to}) i"
        )));
        steps.push(Step::Sql(format!(
            "DELETE FROM t WHERE id BETWEEN {} AND {to}",
            from + 20
        )));
    }

    fn copy(&mut self, steps: &mut Vec<Step>) {
        let rows = (0..self.random.usize(1..30)).map(|_| format!("{}\tcopied\n", self.key()));
        steps.push(Step::Copy(rows.collect()));
    }

    fn savepoint(&mut self, steps: &mut Vec<Step>, depth: usize) {
        steps.push(Step::Sql(format!("SAVEPOINT s{depth}")));
        for _ in 0..self.random.usize(1..4) {
            self.step(steps, depth + 1);
        }
        let end = match self.random.u8(0..3) {
            0 => "RELEASE",
            _ => "ROLLBACK TO",
        };
        steps.push(Step::Sql(format!("{end} s{depth}")));
    }

    /// A table of its own, emptied and altered.
    fn scratch(&mut self) -> String {
        let (table, key) = (format!("scratch_{}", self.number), self.key());
        // Only a row that is written anew shows in the log what the table has become.
        let written = format!("UPDATE {table} SET v = v || 'u'");
        match self.random.u8(0..6) {
            0 => format!("TRUNCATE {table}"),
            1 => format!("TRUNCATE {table}; INSERT INTO {table} VALUES ({key}, 'first')"),
            2 => {
                format!("ALTER TABLE {table} ADD IF NOT EXISTS extra int DEFAULT {key}; {written}")
            }
            3 => format!("ALTER TABLE {table} DROP COLUMN IF EXISTS extra; {written}"),
            4 => format!(
                "ALTER TABLE {table} ALTER n TYPE numeric USING n + 0.5; {written}; \
                 ALTER TABLE {table} ALTER n TYPE bigint; {written}"
            ),
            _ => format!("INSERT INTO {table} VALUES ({key}, 'scratch')"),
        }
    }

    /// A new table, which becomes tracked by itself.
    fn make(&mut self) -> String {
        // Each one costs the server's decoding more, from where it begins anew after each fault.
        if self.made == TABLES {
            return self.scratch();
        }
        self.made += 1;
        let key = self.key();
        self.next += 1;
        format!("SELECT make('made_{}_{}', {key})", self.number, self.made)
    }
}

#[derive(Debug)]
struct Transaction {
    steps: Vec<Step>,
    end: &'static str,
}

#[derive(Debug)]
enum Step {
    Sql(String),
    /// Rows of the table `t`.
    Copy(String),
}

impl Transaction {
    fn run(&self, client: &mut Client) -> Result<(), postgres::Error> {
        client.batch_execute("BEGIN")?;
        for step in &self.steps {
            match step {
                Step::Sql(sql) => client.batch_execute(sql)?,
                Step::Copy(rows) => {
                    let mut copy = client.copy_in("COPY t (id, v) FROM STDIN")?;
                    // Should the connection be lost, `finish` tells.
                    let _written = std::io::Write::write_all(&mut copy, rows.as_bytes());
                    copy.finish()?;
                }
            }
        }
        client.batch_execute(self.end)
    }
}
