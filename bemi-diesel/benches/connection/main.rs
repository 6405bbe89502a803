//! What the wrapped connections cost, beside what other ways to an audit trail cost.
//!
//! `cargo bench -p bemi-diesel --bench connection -- --help` says how.

#![allow(
    missing_docs,
    unreachable_pub,
    reason = "diesel's macros write items without"
)]

mod clients;
mod commented;
mod cores;
mod network;
mod race;
mod report;
mod schemes;
mod workload;

use std::error::Error;
use std::time::Duration;

use bemi_tests::Cluster;
use clap::Parser;

use clients::{Contender, Place};
use race::race;
use report::Row;
use schemes::Scheme;
use workload::Workload;

/// Compares the wrapped connections to the plain ones, and to two schemes with triggers.
///
/// A PostgreSQL server of its own is started, without fsync but where it is said: the client's and the server's work is
/// all that counts, which is the worst case for whoever adds to it. Client and server share one core. Every
/// scheme has its own database and runs the same diesel program, each operation in a context of its own,
/// in turns of a few milliseconds. What is printed is how fast a scheme is relative to the plain
/// connection in the same turn: the median, and between brackets the quartiles.
#[derive(Parser)]
#[command(
    name = "connection",
    bin_name = "cargo bench -p bemi-diesel --bench connection --"
)]
struct Options {
    /// How long to measure, in seconds
    #[arg(long, value_name = "N", default_value_t = 150)]
    seconds: u64,
    /// Only the places and operations whose names hold this, such as `one` or `UPDATE`
    filter: Option<String>,
    /// What cargo says to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let pinned = cores::pin();
    let cluster = Cluster::builder()
        .setting("autovacuum", "off")
        .setting("max_wal_size", "8GB")
        .setting("checkpoint_timeout", "1h")
        .start()?;
    println!("{}", report::heading(&cluster, &pinned));

    let wanted = |name: &str| {
        options
            .filter
            .as_deref()
            .is_none_or(|part| name.contains(part))
    };
    let mut cells: Vec<(Place, Workload)> = Vec::new();
    for place in Place::ALL {
        let everything = wanted(place.name());
        cells.extend(
            Workload::ALL
                .into_iter()
                .filter(|workload| everything || wanted(workload.name()))
                .map(|workload| (place, workload)),
        );
    }
    let turns = cells.len() * (Scheme::SYNC.len() + Scheme::ASYNC.len());
    let share = Duration::from_secs(options.seconds) / u32::try_from(turns.max(1))?;

    for place in Place::ALL {
        let workloads: Vec<Workload> = cells
            .iter()
            .filter_map(|(own, workload)| (*own == place).then_some(*workload))
            .collect();
        if workloads.is_empty() {
            continue;
        }
        place.prepare(&cluster)?;
        let mut sync = Scheme::SYNC
            .iter()
            .map(|scheme| Contender::sync(&cluster, *scheme, place))
            .collect::<Result<Vec<_>, _>>()?;
        let mut asynchronous = Scheme::ASYNC
            .iter()
            .map(|scheme| Contender::asynchronous(&cluster, *scheme, place))
            .collect::<Result<Vec<_>, _>>()?;
        let mut rows = Vec::new();
        for workload in workloads {
            let sync = race(&mut sync, workload, share)?;
            let asynchronous = race(&mut asynchronous, workload, share)?;
            rows.push(Row {
                workload,
                sync,
                asynchronous,
            });
        }
        println!("{}", report::table(place, &rows));
    }
    Ok(())
}
