//! What a change costs in allocations: by row, and not by column. The allocator is counted in the whole
//! process, so nothing else is tested here.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test that cannot go on ends"
)]

use bemi_diesel::__internals::{Cell, Stream, begin, delete, insert, relation, t, update};
use bemi_diesel::Lsn;
use bytes::Bytes;

const TABLE: u32 = 16384;

/// Plain scalars: object identifier of the type, text form.
const SCALARS: [(u32, &str); 12] = [
    (23, "2147483647"),
    (16, "t"),
    (20, "-9223372036854775808"),
    (701, "0.30000000000000004"),
    (1700, "12345678901234567890.12345678901234567890"),
    (25, "text é😀"),
    (1043, ""),
    (17, "\\x00ff"),
    (1082, "2024-02-29"),
    (1114, "2024-02-29 12:34:56.789012"),
    (1184, "2024-02-29 12:34:56.789012+00"),
    (2950, "00000000-0000-0000-0000-00000000000a"),
];

fn table(columns: usize) -> Bytes {
    let named: Vec<(String, u32)> = (0..columns)
        .zip(SCALARS.iter().cycle())
        .map(|(at, (oid, _))| (format!("c{at}"), *oid))
        .collect();
    let columns: Vec<(bool, &str, u32)> = named
        .iter()
        .map(|(name, oid)| (true, if name == "c0" { "id" } else { name }, *oid))
        .collect();
    relation(TABLE, "public", "t", b'f', &columns)
}

fn row(columns: usize, id: &'static str) -> Vec<Cell<'static>> {
    let values = SCALARS.iter().map(|(_, text)| *text).cycle().skip(1);
    std::iter::once(id)
        .chain(values)
        .take(columns)
        .map(t)
        .collect()
}

/// How often `rows` changes by `frame` allocate, in a table of `columns` columns.
fn allocations(frame: &Bytes, columns: usize, rows: u64) -> u64 {
    let mut stream = Stream::new(&["*.updated_at"]);
    for frame in [table(columns), begin(0x100, 0, 7)] {
        assert!(stream.push(frame, Lsn::new(1)).unwrap().is_none());
    }
    let info = allocation_counter::measure(|| {
        for position in 1..=rows {
            let pushed = stream.push(frame.clone(), Lsn::new(position));
            assert!(pushed.unwrap().is_none());
        }
    });
    info.count_total
}

/// How often one more change allocates: of many, as the list of them grows now and then.
fn per_row(frame: &Bytes, columns: usize) -> u64 {
    // What is made once for all is made.
    let _first = allocations(frame, columns, 1);
    let once = allocations(frame, columns, 256);
    let twice = allocations(frame, columns, 512);
    // Doubling the list is one more.
    let more = twice - once - 1;
    assert_eq!(more % 256, 0, "{once} and {twice}");
    more / 256
}

#[test]
fn a_change_allocates_by_row_and_not_by_column() {
    for columns in [1, 2, 12, 100] {
        let (old, new) = (row(columns, "1"), row(columns, "2"));
        let frames = [
            insert(TABLE, &new),
            update(TABLE, Some((b'O', &old)), &new),
            delete(TABLE, b'O', &old),
        ];
        let counts = frames.map(|frame| per_row(&frame, columns));
        // The key, for an update also the one before, and two for an image: while it is written, and as it is
        // kept.
        assert_eq!(counts, [3, 6, 3], "{columns} columns");
    }
}
