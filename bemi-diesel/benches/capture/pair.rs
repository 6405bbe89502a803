//! A source, a destination, and what every part measures with.

use std::process::Command;
use std::time::Duration;

use bemi_diesel::{Capture, CaptureBuilder, CaptureHandle, Lsn};
use bemi_tests::{Cluster, Database};
use comfy_table::{Table, presets::ASCII_MARKDOWN};
use postgres::{Client, NoTls};
use tokio::runtime::Runtime;

pub(super) const ROUNDS: usize = 5;

pub(super) const TABLE: &str = "CREATE TABLE t (id bigint PRIMARY KEY, a int, b bigint, c text, d text, e bool, f timestamptz, \
                     g numeric, h uuid, i date)";

pub(super) const ROWS: &str = "INSERT INTO t SELECT n, n % 1000, n * 17, md5(n::text), 'a text of some length', n % 2 = 0, \
                    '2026-01-01 12:00:00.123456+00', n / 100.0, md5(n::text)::uuid, '2026-01-01' \
                    FROM generate_series($1::bigint, $2::bigint) n";

pub(super) fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header(header);
    table
}

/// A source and a destination.
pub(super) struct Pair {
    pub(super) source: Database,
    destination: Database,
}

impl Pair {
    pub(super) fn create(cluster: &Cluster) -> Self {
        Self {
            source: Database::create_in(cluster).unwrap(),
            destination: Database::create_in(cluster).unwrap(),
        }
    }

    pub(super) fn source(&self) -> Client {
        Client::connect(self.source.url(), NoTls).unwrap()
    }

    pub(super) fn destination(&self) -> Client {
        Client::connect(self.destination.url(), NoTls).unwrap()
    }

    /// `pg_recvlogical`, which writes what the server sends into nowhere.
    pub(super) fn reader(&self, cluster: &Cluster, slot: &str) -> Command {
        let mut command = Command::new(cluster.bin("pg_recvlogical").unwrap());
        command
            .args(["--start", "--no-loop", "--file=/dev/null", "--slot", slot])
            .args([
                "--option=proto_version=1",
                "--option=publication_names=bemi",
                "--option=messages=true",
                "--dbname",
                self.source.url(),
            ]);
        command
    }

    pub(super) fn builder(&self) -> CaptureBuilder {
        Capture::builder(self.source.url())
            .destination(self.destination.url())
            .slot(self.source.name())
    }

    pub(super) fn start(&self, runtime: &Runtime) -> CaptureHandle {
        runtime.block_on(self.builder().start()).unwrap()
    }
}

pub(super) fn log_end(client: &mut Client) -> Lsn {
    let sql = "SELECT pg_current_wal_insert_lsn()::text";
    let row = client.query_one(sql, &[]).unwrap();
    row.get::<_, String>(0).parse().unwrap()
}

pub(super) fn median(times: &mut [Duration]) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64()
}

/// The least, the median and the most.
pub(super) fn spread(of: impl Iterator<Item = f64>) -> [f64; 3] {
    let mut of: Vec<f64> = of.collect();
    of.sort_by(f64::total_cmp);
    [of[0], of[of.len() / 2], of[of.len() - 1]]
}
