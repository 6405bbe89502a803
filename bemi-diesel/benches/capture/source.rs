//! What a capture takes from the source.

use std::process::{Command, Stdio};

use bemi_diesel::CaptureHandle;
use bemi_tests::Cluster;
use tokio::runtime::Runtime;

use crate::pair::{Pair, ROUNDS, table};

const AUDIT: &str = "CREATE TABLE audit (id bigserial PRIMARY KEY, at timestamptz DEFAULT now(), name text, op text, \
                     before jsonb, after jsonb); \
                     CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                         INSERT INTO audit (name, op, before, after) VALUES (TG_TABLE_NAME, TG_OP, \
                             to_jsonb(OLD), to_jsonb(NEW)); RETURN NULL; END $$; \
                     CREATE TRIGGER audit AFTER INSERT OR UPDATE ON pgbench_accounts FOR EACH ROW EXECUTE FUNCTION audit(); \
                     CREATE TRIGGER audit AFTER INSERT OR UPDATE ON pgbench_tellers FOR EACH ROW EXECUTE FUNCTION audit(); \
                     CREATE TRIGGER audit AFTER INSERT OR UPDATE ON pgbench_branches FOR EACH ROW EXECUTE FUNCTION audit(); \
                     CREATE TRIGGER audit AFTER INSERT OR UPDATE ON pgbench_history FOR EACH ROW EXECUTE FUNCTION audit()";

pub(super) fn source(cluster: &Cluster, runtime: &Runtime) {
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
