//! From a commit until its changes are stored, and at rest.

use std::time::{Duration, Instant};

use bemi_tests::Cluster;
use tokio::runtime::Runtime;

use crate::pair::{Pair, ROWS, TABLE, log_end};

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

pub(super) fn latency(cluster: &Cluster, runtime: &Runtime, busy: bool) {
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
