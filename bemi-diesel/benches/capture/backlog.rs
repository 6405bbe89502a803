//! What a capture finds that begins late.

use std::time::{Duration, Instant};

use bemi_diesel::__internals as internals;
use bemi_diesel::Lsn;
use bemi_tests::Cluster;
use tokio::runtime::Runtime;

use crate::copy::copy;
use crate::pair::{Pair, ROUNDS, ROWS, TABLE, log_end, spread, table};

/// Rows of a transaction, and of all.
pub(super) const BACKLOGS: [(u32, u32); 3] = [(1, 400_000), (100, 400_000), (100_000, 400_000)];

/// The backlogs, stored and only decoded: medians, and between brackets the least and the most of what single rounds
/// give.
pub(super) fn backlogs(cluster: &Cluster, runtime: &Runtime) {
    let mut table = table([
        "backlog",
        "stored",
        "rows/s",
        "bare COPY",
        "ratio",
        "decoded",
        "pg_recvlogical",
        "ratio",
    ]);
    for (size, rows) in BACKLOGS {
        let rounds: Vec<[Duration; 4]> = (0..ROUNDS)
            .map(|_| {
                let backlog = Backlog::write(cluster, runtime, size, rows);
                let received = receive(cluster, &backlog);
                let decoded = decode(runtime, &backlog);
                let stored = store(runtime, &backlog);
                [stored, copy(&backlog.pair), decoded, received]
            })
            .collect();
        let time = |n: usize| spread(rounds.iter().map(|round| round[n].as_secs_f64()))[1];
        let ratio = |of: usize, to: usize| {
            let ratios = rounds
                .iter()
                .map(|round| round[of].as_secs_f64() / round[to].as_secs_f64());
            let [least, ratio, most] = spread(ratios);
            format!("{ratio:.2} [{least:.2}–{most:.2}]")
        };
        table.add_row([
            format!("{rows} rows by {size}"),
            format!("{:.2} s", time(0)),
            format!("{:.0}", f64::from(rows) / time(0)),
            format!("{:.2} s", time(1)),
            ratio(1, 0),
            format!("{:.2} s", time(2)),
            format!("{:.2} s", time(3)),
            ratio(3, 2),
        ]);
    }
    println!("{table}\n");
}

/// What a capture finds that begins late.
pub(super) struct Backlog {
    pair: Pair,
    pub(super) rows: u32,
    end: Lsn,
}

impl Backlog {
    pub(super) fn write(cluster: &Cluster, runtime: &Runtime, size: u32, rows: u32) -> Self {
        let pair = Pair::create(cluster);
        let mut source = pair.source();
        source.batch_execute(TABLE).unwrap();
        let capture = pair.start(runtime);
        runtime.block_on(capture.shutdown()).unwrap();
        // In the server, as there can be many transactions.
        let insert = ROWS
            .replace("$1::bigint", &format!("part * {size} + 1"))
            .replace("$2::bigint", &format!("(part + 1) * {size}"));
        let parts = rows / size;
        let write = format!(
            "DO $$ BEGIN FOR part IN 0 .. {parts} - 1 LOOP {insert}; COMMIT; END LOOP; END $$"
        );
        source.batch_execute(&write).unwrap();
        let end = log_end(&mut source);
        Self { pair, rows, end }
    }

    /// The name of the source.
    pub(super) fn database(&self) -> &str {
        self.pair.source.name()
    }

    /// A slot of its own for `reader`, which stands where the capture's does.
    pub(super) fn slot(&self, reader: &str) -> String {
        let capture = self.pair.source.name();
        let slot = format!("{capture}_{reader}");
        let copy = "SELECT pg_copy_logical_replication_slot($1, $2)";
        let mut source = self.pair.source();
        source.execute(copy, &[&capture, &slot]).unwrap();
        slot
    }
}

/// How long a capture takes to store it all.
pub(super) fn store(runtime: &Runtime, backlog: &Backlog) -> Duration {
    let begun = Instant::now();
    let capture = backlog.pair.start(runtime);
    runtime.block_on(capture.wait_for(backlog.end)).unwrap();
    let took = begun.elapsed();
    assert_eq!(capture.status().changes, u64::from(backlog.rows));
    runtime.block_on(capture.shutdown()).unwrap();
    took
}

/// How long it takes until it all is changes, which nobody stores.
fn decode(runtime: &Runtime, backlog: &Backlog) -> Duration {
    let slot = backlog.slot("decode");
    let begun = Instant::now();
    let url = backlog.pair.source.url();
    let decoding = internals::receive(url, &slot, "bemi", backlog.end);
    let changes = runtime.block_on(decoding).unwrap();
    assert_eq!(changes, u64::from(backlog.rows));
    begun.elapsed()
}

/// How long `pg_recvlogical` takes for it.
fn receive(cluster: &Cluster, backlog: &Backlog) -> Duration {
    let slot = backlog.slot("receive");
    let begun = Instant::now();
    let status = backlog
        .pair
        .reader(cluster, &slot)
        .arg("--endpos")
        .arg(backlog.end.to_string())
        .status()
        .unwrap();
    assert!(status.success());
    begun.elapsed()
}
