//! What a capture takes from the source.

use std::process::{Command, Stdio};

use bemi_tests::Cluster;
use postgres::{Client, NoTls};
use tokio::runtime::Runtime;

use crate::pair::{Pair, table};

const ROUNDS: usize = 5;

const AUDIT: &str = "CREATE TABLE audit (id bigserial PRIMARY KEY, at timestamptz DEFAULT now(), name text, op text, \
                     before jsonb, after jsonb); \
                     CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                         INSERT INTO audit (name, op, before, after) VALUES (TG_TABLE_NAME, TG_OP, \
                             to_jsonb(OLD), to_jsonb(NEW)); RETURN NULL; END $$; \
                     CREATE TRIGGER audit AFTER INSERT OR UPDATE ON pgbench_accounts FOR EACH ROW EXECUTE FUNCTION audit(); \
                     CREATE TRIGGER audit AFTER INSERT OR UPDATE ON pgbench_tellers FOR EACH ROW EXECUTE FUNCTION audit(); \
                     CREATE TRIGGER audit AFTER INSERT OR UPDATE ON pgbench_branches FOR EACH ROW EXECUTE FUNCTION audit(); \
                     CREATE TRIGGER audit AFTER INSERT OR UPDATE ON pgbench_history FOR EACH ROW EXECUTE FUNCTION audit()";

/// What runs beside pgbench.
#[derive(Clone, Copy, Debug)]
enum Beside {
    Nothing,
    Capture,
    /// Only reads the log: whatever captures changes cannot take less.
    Reader,
    Trigger,
}

impl Beside {
    const ALL: [Self; 4] = [Self::Nothing, Self::Capture, Self::Reader, Self::Trigger];

    const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "no capture",
            Self::Capture => "bemi, into another database",
            Self::Reader => "pg_recvlogical, to nowhere",
            Self::Trigger => "audit table by trigger",
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
        let rounds: Vec<[f64; 4]> = (0..ROUNDS)
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

/// The least, the median and the most.
fn spread(of: impl Iterator<Item = f64>) -> [f64; 3] {
    let mut of: Vec<f64> = of.collect();
    of.sort_by(f64::total_cmp);
    [of[0], of[of.len() / 2], of[of.len() - 1]]
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
    let measure = || run(&["--client=8", "--jobs=2", "--time=8", "--no-vacuum"]).unwrap();
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
        Beside::Trigger => {
            pair.source().batch_execute(AUDIT).unwrap();
            measure()
        }
    }
}
