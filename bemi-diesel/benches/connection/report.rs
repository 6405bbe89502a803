//! The results, for people.

use bemi_tests::Cluster;
use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};

use crate::clients::Place;
use crate::race::Outcome;
use crate::workload::Workload;

/// One operation in one place: what its [schemes](crate::schemes::Scheme::SYNC) made of it.
pub(crate) struct Row {
    pub(crate) workload: Workload,
    pub(crate) sync: Vec<Outcome>,
    pub(crate) asynchronous: Vec<Outcome>,
}

pub(crate) fn heading(cluster: &Cluster, pinned: &str) -> String {
    format!(
        "PostgreSQL {}, fsync off; {pinned}; {}.\n\
         Speed relative to the plain connection: median [quartiles].\n",
        cluster.major(),
        machine()
    )
}

pub(crate) fn table(place: Place, rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header([
        place.name(),
        "plain",
        "BemiConnection",
        "audit table by trigger",
        "comment and row trigger",
        "plain, async",
        "AsyncBemiConnection",
    ]);
    for row in rows {
        let (sync, asynchronous) = (&row.sync, &row.asynchronous);
        table.add_row([
            row.workload.name().to_owned(),
            time(&sync[0]),
            relative(&sync[1]),
            relative(&sync[2]),
            relative(&sync[3]),
            time(&asynchronous[0]),
            relative(&asynchronous[1]),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    format!("{table}\n")
}

fn time(outcome: &Outcome) -> String {
    format!("{:.0} µs", outcome.time.as_secs_f64() * 1e6)
}

fn relative(outcome: &Outcome) -> String {
    let [low, median, high] = outcome.relative;
    format!("{median:.3} [{low:.2}–{high:.2}]")
}

/// The processor, where Linux says so.
fn machine() -> String {
    let information = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    information
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.trim() == "model name")
        .map_or("an unknown processor".to_owned(), |(_, model)| {
            model.trim().to_owned()
        })
}
