//! From the bytes of the log to changes with their JSON: `cargo bench -p bemi-diesel --bench decode`.
//!
//! - `recorded`: what each PostgreSQL sent for `recorded/workload.sql`; the throughput is rows a second.
//! - `rows`: rows of ten plain columns, as most tables have them.
//! - `column`: a row of 1,000 columns of one type, so that microseconds of a row are nanoseconds of a column.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark that cannot go on ends"
)]

use std::hint::black_box;

use bemi_diesel::__internals::{self as internals, Cell, Stream, t};
use bemi_diesel::Lsn;
use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const TABLE: u32 = 16384;

/// Of a type that is not built in, so that the name of its column tells what it is.
const OWN: u32 = 16385;

/// The name of the benchmark and of its columns, the type, and a value.
const TYPES: [(&str, u32, &str); 20] = [
    ("bool", 16, "t"),
    ("int4", 23, "2147483647"),
    ("int8", 20, "-9223372036854775808"),
    ("float8", 701, "0.30000000000000004"),
    ("numeric", 1700, "1234567890.1234567890"),
    ("text", 25, "A text of thirty-two characters."),
    ("text_escaped", 25, "A \"text\" of\nthirty-two\tcharacte"),
    ("varchar", 1043, "name@example.org"),
    ("bytea", 17, "\\x00112233445566778899aabbccddeeff"),
    ("date", 1082, "2024-02-29"),
    ("timestamp", 1114, "2024-02-29 12:34:56.789012"),
    ("timestamptz", 1184, "2024-02-29 12:34:56.789012+00"),
    ("interval", 1186, "1 year 2 days 03:04:05.6"),
    ("uuid", 2950, "00000000-0000-0000-0000-00000000000a"),
    ("inet", 869, "10.0.0.1/8"),
    ("json", 114, r#"{"a": [1, null], "b": "text"}"#),
    ("int4_array", 1007, "{1,2,3,4,5,6,7,8}"),
    ("text_array", 1009, r#"{a,"b c",NULL,"d\\"e"}"#),
    ("pair", OWN, r#"(1,"{a,b}")"#),
    ("pairs", OWN, r#"{"(1,\"{a,b}\")","(2,{})"}"#),
];

/// `row` inserted `rows` times into a table of the `columns`, as one transaction, and the table itself.
fn transaction(columns: &[(String, u32)], row: &[Cell<'_>], rows: usize) -> (Bytes, Vec<Bytes>) {
    let columns: Vec<(bool, &str, u32)> = columns
        .iter()
        .map(|(name, oid)| (true, name.as_str(), *oid))
        .collect();
    let table = internals::relation(TABLE, "public", "t", b'f', &columns);
    let mut frames = vec![internals::begin(0x100, 0, 7)];
    frames.extend(std::iter::repeat_n(internals::insert(TABLE, row), rows));
    frames.push(internals::commit(0x100, 0x130, 0));
    (table, frames)
}

/// How many changes the frames give.
fn push(stream: &mut Stream, frames: impl IntoIterator<Item = Bytes>) -> usize {
    let pushed = frames.into_iter().zip(1..).map(|(frame, position)| {
        let changes = stream.push(black_box(frame), Lsn::new(position)).unwrap();
        black_box(changes).map_or(0, |changes| changes.len())
    });
    pushed.sum()
}

fn recorded(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("recorded");
    for (major, recording) in internals::recordings() {
        let frames = || recording.iter().map(|(_, frame)| frame.clone());
        let mut stream = Stream::new(&[]);
        let changes = push(&mut stream, frames());
        group.throughput(Throughput::Elements(changes.try_into().unwrap()));
        group.bench_function(format!("pg{major}"), |bencher| {
            bencher.iter(|| push(&mut stream, frames()));
        });
    }
    group.finish();
}

fn rows(criterion: &mut Criterion) {
    const ROWS: usize = 1_000;
    let plain = [1, 5, 5, 9, 11, 2, 4, 0, 13, 7].map(|at| TYPES[at]);
    let columns: Vec<(String, u32)> = plain
        .iter()
        .enumerate()
        .map(|(at, (name, oid, _))| (format!("{name}{at}"), *oid))
        .collect();
    let row = plain.map(|(_, _, text)| t(text));
    let (table, frames) = transaction(&columns, &row, ROWS);
    let mut stream = Stream::new(&[]);
    push(&mut stream, [table]);
    let mut group = criterion.benchmark_group("rows");
    group.throughput(Throughput::Elements(ROWS.try_into().unwrap()));
    group.bench_function("ten_plain_columns", |bencher| {
        bencher.iter(|| push(&mut stream, frames.iter().cloned()));
    });
    group.finish();
}

fn columns(criterion: &mut Criterion) {
    const COLUMNS: usize = 1_000;
    let mut group = criterion.benchmark_group("column");
    group.throughput(Throughput::Elements(COLUMNS.try_into().unwrap()));
    for (name, oid, text) in TYPES {
        let columns: Vec<(String, u32)> = (0..COLUMNS)
            .map(|at| (format!("{name}{at:03}"), oid))
            .collect();
        let (table, frames) = transaction(&columns, &[t(text); COLUMNS], 1);
        let mut stream = Stream::new(&[]);
        push(&mut stream, [table]);
        group.bench_function(name, |bencher| {
            bencher.iter(|| push(&mut stream, frames.iter().cloned()));
        });
    }
    group.finish();
}

criterion_group!(benches, recorded, rows, columns);
criterion_main!(benches);
