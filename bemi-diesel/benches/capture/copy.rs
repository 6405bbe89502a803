//! A bare COPY of what has been stored.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use postgres::Client;

use crate::pair::Pair;

pub(super) const COLUMNS: &str = "id, source, database, schema, \"table\", primary_key, operation, before, after, context, \
                       committed_at, queued_at, transaction_id, position, commit_lsn, ordinal";

/// The rows that are stored, as COPY takes them.
pub(super) fn stored(destination: &mut Client, columns: &str) -> Vec<u8> {
    let mut rows = Vec::new();
    let out = format!(
        "COPY (SELECT {columns} FROM changes ORDER BY commit_lsn, ordinal) TO STDOUT (FORMAT binary)"
    );
    destination
        .copy_out(&out)
        .unwrap()
        .read_to_end(&mut rows)
        .unwrap();
    rows
}

/// How long a COPY of `rows` takes into the table, which is emptied before.
pub(super) fn copy_in(destination: &mut Client, rows: &[u8]) -> Duration {
    destination.batch_execute("TRUNCATE changes").unwrap();
    let begun = Instant::now();
    let into = format!("COPY changes ({COLUMNS}) FROM STDIN (FORMAT binary)");
    let mut copy = destination.copy_in(&into).unwrap();
    copy.write_all(rows).unwrap();
    copy.finish().unwrap();
    // What an index keeps for later belongs to its price.
    let clean = "SELECT gin_clean_pending_list(indexrelid) FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid \
                 JOIN pg_am ON pg_am.oid = relam WHERE indrelid = 'changes'::regclass AND amname = 'gin'";
    destination.query(clean, &[]).unwrap();
    begun.elapsed()
}

/// How long a bare COPY takes of the rows that are stored, in one transaction.
pub(super) fn copy(pair: &Pair) -> Duration {
    let mut destination = pair.destination();
    let rows = stored(&mut destination, COLUMNS);
    copy_in(&mut destination, &rows)
}
