//! What a capture takes from the source.

use std::process::{Command, Stdio};

use bemi_tests::Cluster;
use postgres::{Client, NoTls};
use tokio::runtime::Runtime;

use crate::pair::{Pair, ROUNDS, spread, table};

/// The least that a trigger can do: a table that nobody can ask for a row's history but by reading all of it.
const BARE: &str = "CREATE TABLE audit (id bigserial PRIMARY KEY, at timestamptz DEFAULT now(), name text, op text, \
                    before jsonb, after jsonb); \
                    CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                        INSERT INTO audit (name, op, before, after) VALUES (TG_TABLE_NAME, TG_OP, \
                            to_jsonb(OLD), to_jsonb(NEW)); RETURN NULL; END $$";

/// What answers the questions that `changes` answers: whose row, which transaction, when, in which context; with an
/// index for each of them.
const SAME: &str = "CREATE TABLE audit (id bigserial PRIMARY KEY, at timestamptz DEFAULT now(), \
                        xid bigint DEFAULT pg_current_xact_id()::text::bigint, schema text, name text, key text, op text, \
                        before jsonb, after jsonb, context jsonb DEFAULT coalesce(nullif(current_setting('audit.context', true), '')::jsonb, '{}')); \
                    CREATE INDEX ON audit (name, key, id); CREATE INDEX ON audit (at); \
                    CREATE INDEX ON audit USING gin (context jsonb_path_ops); CREATE INDEX ON audit USING brin (xid, at); \
                    CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$ \
                        DECLARE old_row jsonb := to_jsonb(OLD); new_row jsonb := to_jsonb(NEW); BEGIN \
                        INSERT INTO audit (schema, name, key, op, before, after) VALUES (TG_TABLE_SCHEMA, TG_TABLE_NAME, \
                            coalesce(new_row, old_row) ->> TG_ARGV[0], TG_OP, old_row, new_row); RETURN NULL; END $$";

/// The tables that pgbench writes, and their keys.
const TABLES: [(&str, &str); 4] = [
    ("pgbench_accounts", "aid"),
    ("pgbench_tellers", "tid"),
    ("pgbench_branches", "bid"),
    ("pgbench_history", ""),
];

/// What runs beside pgbench.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beside {
    Nothing,
    Capture,
    /// Only reads the log: whatever captures changes cannot take less.
    Reader,
    /// A trigger that writes an audit table like `changes`.
    Trigger,
    BareTrigger,
}

impl Beside {
    const ALL: [Self; 5] = [
        Self::Nothing,
        Self::Capture,
        Self::Reader,
        Self::Trigger,
        Self::BareTrigger,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "no capture",
            Self::Capture => "bemi, into another database",
            Self::Reader => "pg_recvlogical, to nowhere",
            Self::Trigger => "audit table by trigger, with indexes as `changes`",
            Self::BareTrigger => "audit table by trigger, no index but its key",
        }
    }
}

/// With `fsync` on, as it has to be, and off, where nothing but the processors limits anybody.
pub(super) fn source(cluster: &Cluster, runtime: &Runtime) {
    let mut server = Client::connect(&cluster.url("postgres"), NoTls).unwrap();
    let mut table = table([
        "source, 8 clients",
        "fsync",
        "transactions/s",
        "relative",
        "from … to",
    ]);
    for fsync in ["on", "off"] {
        set_fsync(&mut server, fsync);
        let rounds: Vec<[f64; Beside::ALL.len()]> = (0..ROUNDS)
            .map(|_| Beside::ALL.map(|beside| pgbench(cluster, runtime, beside)))
            .collect();
        for (n, beside) in Beside::ALL.into_iter().enumerate() {
            let [_, rate, _] = spread(rounds.iter().map(|round| round[n]));
            let [least, ratio, most] = spread(rounds.iter().map(|round| round[n] / round[0]));
            table.add_row([
                beside.name().to_owned(),
                fsync.to_owned(),
                format!("{rate:.0}"),
                format!("{ratio:.2}"),
                format!("{least:.2} … {most:.2}"),
            ]);
        }
    }
    println!("{table}");
}

fn set_fsync(server: &mut Client, fsync: &str) {
    server
        .execute(&format!("ALTER SYSTEM SET fsync = {fsync}"), &[])
        .unwrap();
    server.execute("SELECT pg_reload_conf()", &[]).unwrap();
    while server
        .query_one("SHOW fsync", &[])
        .unwrap()
        .get::<_, String>(0)
        != fsync
    {}
}

/// Transactions a second.
fn pgbench(cluster: &Cluster, runtime: &Runtime, beside: Beside) -> f64 {
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
        let told = String::from_utf8(output.stdout).unwrap();
        let rate = told.lines().find_map(|line| line.strip_prefix("tps = "));
        rate.map(|rate| rate.split_whitespace().next().unwrap().parse().unwrap())
    };
    let measure = || run(&["--client=8", "--jobs=2", "--time=6", "--no-vacuum"]).unwrap();
    run(&["--initialize", "--quiet", "--scale=8"]);
    match beside {
        Beside::Nothing => measure(),
        Beside::Capture => {
            let capture = pair.start(runtime);
            let rate = measure();
            runtime.block_on(capture.shutdown()).unwrap();
            rate
        }
        Beside::Reader => {
            // What a setup makes, and a slot: by a capture that ends.
            runtime.block_on(pair.start(runtime).shutdown()).unwrap();
            let mut reader = pair.reader(cluster, pair.source.name()).spawn().unwrap();
            let rate = measure();
            reader.kill().unwrap();
            reader.wait().unwrap();
            rate
        }
        Beside::Trigger | Beside::BareTrigger => {
            let mut source = pair.source();
            let audit = if beside == Beside::Trigger {
                SAME
            } else {
                BARE
            };
            source.batch_execute(audit).unwrap();
            for (table, key) in TABLES {
                let trigger = format!(
                    "CREATE TRIGGER audit AFTER INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION audit('{key}')"
                );
                source.batch_execute(&trigger).unwrap();
            }
            measure()
        }
    }
}
