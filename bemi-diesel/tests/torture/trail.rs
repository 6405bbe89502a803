//! What is stored.

use postgres::Client;

/// One row of `changes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) xid: i64,
    pub(crate) commit_lsn: i64,
    pub(crate) ordinal: i64,
    pub(crate) table: String,
    pub(crate) operation: String,
    pub(crate) before: String,
    pub(crate) after: String,
    pub(crate) context: String,
}

/// Table, operation, before, after and context of a change.
pub(crate) type Entry = [String; 5];

impl Change {
    pub(crate) fn entry(&self) -> Entry {
        let Self {
            table,
            operation,
            before,
            after,
            context,
            ..
        } = self.clone();
        [table, operation, before, after, context]
    }
}

/// All of it, in its order.
pub(crate) fn read(client: &mut Client) -> Vec<Change> {
    let sql = "SELECT transaction_id, commit_lsn, ordinal, \"table\", operation, before::text, after::text, \
               context::text FROM changes ORDER BY commit_lsn, ordinal";
    let rows = client.query(sql, &[]).unwrap();
    rows.iter()
        .map(|row| Change {
            xid: row.get(0),
            commit_lsn: row.get(1),
            ordinal: row.get(2),
            table: row.get(3),
            operation: row.get(4),
            before: row.get(5),
            after: row.get(6),
            context: row.get(7),
        })
        .collect()
}
