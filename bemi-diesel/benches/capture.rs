//! The capture at full speed and at rest: `cargo bench -p bemi-diesel --bench capture`.
//!
//! Everything is on one machine and one server, source and destination in a database each, so all share the cores:
//!
//! - `backlog`: from the start of a capture until its backlog is stored, against a bare `COPY … BINARY` of the same
//!   rows into the same table with the same indexes, and against `pg_recvlogical`, which writes what the server sends
//!   into nowhere.
//! - `indexes`: what each index of `changes` adds to such a COPY, of rows with a request's context.
//! - `latency`: from a commit until its changes are stored, at 100 transactions a second.
//! - `idle`: what an idle capture takes of one core.
//! - `source`: pgbench with 8 clients, without capture, with one, and with a trigger that writes an audit table.
//!
//! Names choose some of them: `cargo bench -p bemi-diesel --bench capture -- latency idle`.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark that cannot go on ends"
)]

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bemi_diesel::{Capture, CaptureBuilder, CaptureHandle, Lsn};
use bemi_tests::{Cluster, Database};
use comfy_table::{Table, presets::ASCII_MARKDOWN};
use postgres::{Client, NoTls};
use tokio::runtime::Runtime;

const ROUNDS: usize = 3;

/// Rows of a transaction, and of all.
const BACKLOGS: [(u32, u32); 3] = [(1, 20_000), (100, 200_000), (100_000, 200_000)];

const TABLE: &str = "CREATE TABLE t (id bigint PRIMARY KEY, a int, b bigint, c text, d text, e bool, f timestamptz, \
                     g numeric, h uuid, i date)";

const ROWS: &str = "INSERT INTO t SELECT n, n % 1000, n * 17, md5(n::text), 'a text of some length', n % 2 = 0, \
                    '2026-01-01 12:00:00.123456+00', n / 100.0, md5(n::text)::uuid, '2026-01-01' \
                    FROM generate_series($1::bigint, $2::bigint) n";

const COLUMNS: &str = "id, source, database, schema, \"table\", primary_key, operation, before, after, context, \
                       committed_at, queued_at, transaction_id, position, commit_lsn, ordinal";

/// A context as a request has it; its transaction has a hundred rows.
const CONTEXT: &str = "jsonb_build_object('user_id', commit_lsn % 1000, 'method', 'POST', 'path', '/things/' || commit_lsn, \
                       'endpoint', 'things::create', 'request_id', md5(commit_lsn::text), \
                       'SQL', 'INSERT INTO \"t\" (\"id\", \"a\", \"b\") VALUES ($1, $2, $3)') AS context";

const AUDIT: &str = "CREATE TABLE audit (id bigserial PRIMARY KEY, at timestamptz DEFAULT now(), name text, op text, \
                     before jsonb, after jsonb); \
                     CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                         INSERT INTO audit (name, op, before, after) VALUES (TG_TABLE_NAME, TG_OP, \
                             to_jsonb(OLD), to_jsonb(NEW)); RETURN NULL; END $$; \
                     CREATE TRIGGER audit AFTER INSERT OR UPDATE ON pgbench_accounts FOR EACH ROW EXECUTE FUNCTION audit(); \
                     CREATE TRIGGER audit AFTER INSERT OR UPDATE ON pgbench_tellers FOR EACH ROW EXECUTE FUNCTION audit(); \
                     CREATE TRIGGER audit AFTER INSERT OR UPDATE ON pgbench_branches FOR EACH ROW EXECUTE FUNCTION audit(); \
                     CREATE TRIGGER audit AFTER INSERT OR UPDATE ON pgbench_history FOR EACH ROW EXECUTE FUNCTION audit()";

fn main() {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let wants = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    let cluster = Cluster::builder()
        .setting("max_wal_size", "8GB")
        .setting("shared_buffers", "512MB")
        .start()
        .unwrap();
    let runtime = Runtime::new().unwrap();
    println!("PostgreSQL {}, fsync off.\n", cluster.major());
    let mut table = table([
        "backlog",
        "stored",
        "bare COPY",
        "ratio",
        "pg_recvlogical",
        "rows/s",
    ]);
    for (size, rows) in BACKLOGS.into_iter().filter(|_| wants("backlog")) {
        table.add_row(backlog(&cluster, &runtime, size, rows));
    }
    if wants("backlog") {
        println!("{table}\n");
    }
    if wants("indexes") {
        indexes(&cluster, &runtime);
    }
    if wants("latency") || wants("idle") {
        latency(&cluster, &runtime, wants("latency"));
    }
    if wants("source") {
        source(&cluster, &runtime);
    }
}

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header(header);
    table
}

/// A source and a destination.
struct Pair {
    source: Database,
    destination: Database,
}

impl Pair {
    fn create(cluster: &Cluster) -> Self {
        Self {
            source: Database::create_in(cluster).unwrap(),
            destination: Database::create_in(cluster).unwrap(),
        }
    }

    fn source(&self) -> Client {
        Client::connect(self.source.url(), NoTls).unwrap()
    }

    fn destination(&self) -> Client {
        Client::connect(self.destination.url(), NoTls).unwrap()
    }

    fn builder(&self) -> CaptureBuilder {
        Capture::builder(self.source.url())
            .destination(self.destination.url())
            .slot(self.source.name())
    }

    fn start(&self, runtime: &Runtime) -> CaptureHandle {
        runtime.block_on(self.builder().start()).unwrap()
    }
}

fn log_end(client: &mut Client) -> Lsn {
    let sql = "SELECT pg_current_wal_insert_lsn()::text";
    let row = client.query_one(sql, &[]).unwrap();
    row.get::<_, String>(0).parse().unwrap()
}

fn median(times: &mut [Duration]) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64()
}

fn backlog(cluster: &Cluster, runtime: &Runtime, size: u32, rows: u32) -> Vec<String> {
    let [mut stored, mut copied, mut received] = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        let pair = Pair::create(cluster);
        let mut source = pair.source();
        source.batch_execute(TABLE).unwrap();
        let capture = pair.start(runtime);
        runtime.block_on(capture.shutdown()).unwrap();
        let insert = source.prepare(ROWS).unwrap();
        for n in 0..rows / size {
            let (from, to) = (i64::from(n * size) + 1, i64::from((n + 1) * size));
            source.execute(&insert, &[&from, &to]).unwrap();
        }
        let end = log_end(&mut source);
        received.push(receive(cluster, &pair, &mut source, end));

        let begun = Instant::now();
        let capture = pair.start(runtime);
        runtime.block_on(capture.wait_for(end)).unwrap();
        stored.push(begun.elapsed());
        assert_eq!(capture.status().changes, u64::from(rows));
        runtime.block_on(capture.shutdown()).unwrap();
        copied.push(copy(&pair));
    }
    let (stored, copied, received) = (
        median(&mut stored),
        median(&mut copied),
        median(&mut received),
    );
    vec![
        format!("{rows} rows by {size}"),
        format!("{stored:.2} s"),
        format!("{copied:.2} s"),
        format!("{:.2}", copied / stored),
        format!("{received:.2} s"),
        format!("{:.0}", f64::from(rows) / stored),
    ]
}

/// How long `pg_recvlogical` takes for the same backlog, through a slot of its own.
fn receive(cluster: &Cluster, pair: &Pair, source: &mut Client, end: Lsn) -> Duration {
    let slot = format!("{}_copy", pair.source.name());
    let copy = "SELECT pg_copy_logical_replication_slot($1, $2)";
    source.execute(copy, &[&pair.source.name(), &slot]).unwrap();
    let begun = Instant::now();
    let status = Command::new(cluster.bin("pg_recvlogical").unwrap())
        .args(["--start", "--no-loop", "--file=/dev/null", "--slot", &slot])
        .args([
            "--option=proto_version=1",
            "--option=publication_names=bemi",
        ])
        .args([
            "--option=messages=true",
            "--endpos",
            &end.to_string(),
            "--dbname",
        ])
        .arg(pair.source.url())
        .status()
        .unwrap();
    assert!(status.success());
    begun.elapsed()
}

/// How long a bare COPY takes of the rows that are stored, in one transaction.
fn copy(pair: &Pair) -> Duration {
    let mut destination = pair.destination();
    let rows = stored(&mut destination, COLUMNS);
    copy_in(&mut destination, &rows)
}

/// The rows that are stored, as COPY takes them.
fn stored(destination: &mut Client, columns: &str) -> Vec<u8> {
    let mut rows = Vec::new();
    let out = format!(
        "COPY (SELECT {columns} FROM changes ORDER BY commit_lsn, ordinal) TO STDOUT (FORMAT binary)"
    );
    destination
        .copy_out(&out)
        .unwrap()
        .read_to_end(&mut rows)
        .unwrap();
    rows
}

/// How long a COPY of `rows` takes into the table, which is emptied before.
fn copy_in(destination: &mut Client, rows: &[u8]) -> Duration {
    destination.batch_execute("TRUNCATE changes").unwrap();
    let begun = Instant::now();
    let into = format!("COPY changes ({COLUMNS}) FROM STDIN (FORMAT binary)");
    let mut copy = destination.copy_in(&into).unwrap();
    copy.write_all(rows).unwrap();
    copy.finish().unwrap();
    // What an index keeps for later belongs to its price.
    let clean = "SELECT gin_clean_pending_list(indexrelid) FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid \
                 JOIN pg_am ON pg_am.oid = relam WHERE indrelid = 'changes'::regclass AND amname = 'gin'";
    destination.query(clean, &[]).unwrap();
    begun.elapsed()
}

fn indexes(cluster: &Cluster, runtime: &Runtime) {
    let pair = Pair::create(cluster);
    let mut source = pair.source();
    source.batch_execute(TABLE).unwrap();
    let capture = pair.start(runtime);
    let (size, rows) = BACKLOGS[1];
    for n in 0..rows / size {
        let (from, to) = (i64::from(n * size) + 1, i64::from((n + 1) * size));
        source.execute(ROWS, &[&from, &to]).unwrap();
    }
    let end = log_end(&mut source);
    runtime.block_on(capture.wait_for(end)).unwrap();
    runtime.block_on(capture.shutdown()).unwrap();

    let mut destination = pair.destination();
    let data = stored(&mut destination, &COLUMNS.replace("context", CONTEXT));
    let optional = "SELECT indexname::text, indexdef FROM pg_indexes WHERE tablename = 'changes' \
                    AND indexname NOT IN ('changes_pkey', 'changes_identity') ORDER BY 1";
    let optional = destination.query(optional, &[]).unwrap();
    let optional: Vec<(String, String)> = optional
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect();
    let measure = |destination: &mut Client, made: &[(String, String)]| {
        for (_, definition) in made {
            destination.batch_execute(definition).unwrap();
        }
        let mut times: Vec<_> = (0..ROUNDS).map(|_| copy_in(destination, &data)).collect();
        let size = "SELECT pg_size_pretty(pg_indexes_size('changes'))";
        let size: String = destination.query_one(size, &[]).unwrap().get(0);
        for (name, _) in made {
            let drop = format!("DROP INDEX {name}");
            destination.batch_execute(&drop).unwrap();
        }
        (median(&mut times), size)
    };
    for (name, _) in &optional {
        let drop = format!("DROP INDEX {name}");
        destination.batch_execute(&drop).unwrap();
    }
    let mut table = table(["indexes", "COPY", "rows/s", "relative", "size"]);
    let (keys, size) = measure(&mut destination, &[]);
    let mut print = |name: &str, time: f64, size: String| {
        table.add_row([
            name.to_owned(),
            format!("{time:.2} s"),
            format!("{:.0}", f64::from(rows) / time),
            format!("{:.2}", time / keys),
            size,
        ]);
    };
    print("the two keys alone", keys, size);
    for index in &optional {
        let (time, size) = measure(&mut destination, std::slice::from_ref(index));
        print(&format!("and {}", index.0), time, size);
    }
    let (time, size) = measure(&mut destination, &optional);
    print("all", time, size);
    println!("{table}\n");
}

/// The processor time that this process has taken.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

fn latency(cluster: &Cluster, runtime: &Runtime, busy: bool) {
    const TRANSACTIONS: u32 = 1000;
    const REST: Duration = Duration::from_secs(10);
    let pair = Pair::create(cluster);
    let mut source = pair.source();
    source.batch_execute(TABLE).unwrap();
    let capture = pair.start(runtime);
    if busy {
        let mut times = Vec::new();
        let begun = Instant::now();
        for n in 0..TRANSACTIONS {
            // The pace is what is measured.
            std::thread::sleep(
                (begun + Duration::from_millis(10) * n).saturating_duration_since(Instant::now()),
            );
            source
                .execute(ROWS, &[&i64::from(n), &i64::from(n)])
                .unwrap();
            let committed = Instant::now();
            let end = log_end(&mut source);
            runtime.block_on(capture.wait_for(end)).unwrap();
            times.push(committed.elapsed());
        }
        times.sort();
        println!(
            "latency at 100 transactions/s: p50 {:?}, p99 {:?}, worst {:?}\n",
            times[times.len() / 2],
            times[times.len() * 99 / 100],
            times[times.len() - 1]
        );
    }
    let before = processor_time();
    std::thread::sleep(REST);
    let share = (processor_time() - before).as_secs_f64() / REST.as_secs_f64();
    println!("idle: {:.2} % of one core, over {REST:?}\n", share * 100.0);
    runtime.block_on(capture.shutdown()).unwrap();
}

fn source(cluster: &Cluster, runtime: &Runtime) {
    let mut table = table(["source, 8 clients", "transactions/s", "relative"]);
    let [mut plain, mut captured, mut audited] = [0.0; 3];
    for _ in 0..ROUNDS {
        plain += pgbench(cluster, |_| None);
        captured += pgbench(cluster, |pair| Some(pair.start(runtime)));
        audited += pgbench(cluster, |pair| {
            pair.source().batch_execute(AUDIT).unwrap();
            None
        });
    }
    for (name, sum) in [
        ("no capture", plain),
        ("bemi, into another database", captured),
        ("audit table by trigger", audited),
    ] {
        let each = sum / f64::from(u32::try_from(ROUNDS).unwrap());
        table.add_row([
            name.to_owned(),
            format!("{each:.0}"),
            format!("{:.2}", sum / plain),
        ]);
    }
    println!("{table}");
}

/// Transactions a second.
fn pgbench(cluster: &Cluster, prepare: impl FnOnce(&Pair) -> Option<CaptureHandle>) -> f64 {
    let pair = Pair::create(cluster);
    let program = cluster.bin("pgbench").unwrap();
    let run = |arguments: &[&str]| {
        let output = Command::new(&program)
            .args(arguments)
            .arg(pair.source.url())
            .stderr(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    run(&["--initialize", "--quiet", "--scale=8"]);
    // Dropped, it ends; the databases go after it.
    let _capture = prepare(&pair);
    let told = run(&["--client=8", "--jobs=2", "--time=8", "--no-vacuum"]);
    let line = told
        .lines()
        .find(|line| line.starts_with("tps = "))
        .unwrap();
    line.split_whitespace().nth(2).unwrap().parse().unwrap()
}
