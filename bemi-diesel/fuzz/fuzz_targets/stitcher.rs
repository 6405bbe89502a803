//! Any order of messages gives changes whose images and contexts are JSON objects, or an error.

#![no_main]

use std::sync::LazyLock;

use arbitrary::Arbitrary;
use bemi_diesel::__internals::{self as internals, Cell, Stream};
use bemi_diesel::{Change, JsonObject, Lsn, Operation, RESERVED_MEMBER};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;

#[derive(Arbitrary, Debug)]
enum Op<'a> {
    Begin(u8),
    Commit(u8),
    Insert {
        table: u8,
        new: Row<'a>,
    },
    Update {
        table: u8,
        old: Old<'a>,
        new: Row<'a>,
    },
    Delete {
        table: u8,
        full: bool,
        old: Row<'a>,
    },
    Truncate {
        tables: [u8; 2],
        options: u8,
    },
    Context {
        lead: bool,
        content: &'a str,
    },
    Message {
        transactional: bool,
        ours: bool,
        content: &'a [u8],
    },
    /// The table again, as it is or with the other identity and other columns.
    Alter {
        table: u8,
        identity: u8,
        columns: Vec<(bool, u8)>,
    },
    Frame(&'a [u8]),
}

#[derive(Arbitrary, Debug)]
enum Old<'a> {
    Absent,
    Key(Row<'a>),
    Full(Row<'a>),
}

/// Made as wide as its table unless it is to be wrong.
#[derive(Arbitrary, Debug)]
struct Row<'a> {
    cells: Vec<Value<'a>>,
    wrong: bool,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Value<'a> {
    Null,
    Unchanged,
    Text(&'a str),
    Bytes(&'a [u8]),
}

struct Table {
    oid: u32,
    width: usize,
    frame: Bytes,
}

/// The tables of a recording.
static TABLES: LazyLock<Vec<Table>> = LazyLock::new(|| {
    let recordings = internals::recordings();
    let (_, frames) = recordings.last().expect("a recording");
    let relations = frames.iter().filter(|(_, frame)| frame.starts_with(b"R"));
    relations
        .map(|(_, frame)| {
            let oid = frame[1..5].try_into().map(u32::from_be_bytes);
            // Behind schema, name and identity.
            let names = frame[5..].splitn(3, |byte| *byte == 0);
            let rest = names.last().expect("columns");
            Table {
                oid: oid.expect("four bytes"),
                width: u16::from_be_bytes([rest[1], rest[2]]).into(),
                frame: frame.clone(),
            }
        })
        .collect()
});

fn table(at: u8) -> &'static Table {
    &TABLES[usize::from(at) % TABLES.len()]
}

impl<'a> Row<'a> {
    fn cells(&self, width: usize) -> Vec<Cell<'a>> {
        let mut cells: Vec<Cell<'a>> = self
            .cells
            .iter()
            .map(|value| match *value {
                Value::Null => Cell::Null,
                Value::Unchanged => Cell::Unchanged,
                Value::Text(text) => Cell::Text(text.as_bytes()),
                Value::Bytes(bytes) => Cell::Text(bytes),
            })
            .collect();
        if !self.wrong {
            cells.resize(width, Cell::Null);
        }
        cells
    }
}

impl Op<'_> {
    /// The tables that have to be described before.
    fn tables(&self) -> Vec<u8> {
        match self {
            Op::Insert { table, .. } | Op::Update { table, .. } | Op::Delete { table, .. } => {
                vec![*table]
            }
            Op::Truncate { tables, .. } => tables.to_vec(),
            _ => Vec::new(),
        }
    }

    fn frame(&self) -> Bytes {
        match self {
            Op::Begin(lsn) => internals::begin((*lsn).into(), 0, 7),
            Op::Commit(lsn) => internals::commit((*lsn).into(), 0x130, 0),
            Op::Insert { table: at, new } => {
                internals::insert(table(*at).oid, &new.cells(table(*at).width))
            }
            Op::Update {
                table: at,
                old,
                new,
            } => {
                let Table { oid, width, .. } = table(*at);
                let old = match old {
                    Old::Absent => None,
                    Old::Key(row) => Some((b'K', row.cells(*width))),
                    Old::Full(row) => Some((b'O', row.cells(*width))),
                };
                let old = old.as_ref().map(|(kind, cells)| (*kind, &**cells));
                internals::update(*oid, old, &new.cells(*width))
            }
            Op::Delete {
                table: at,
                full,
                old,
            } => {
                let kind = if *full { b'O' } else { b'K' };
                internals::delete(table(*at).oid, kind, &old.cells(table(*at).width))
            }
            Op::Truncate { tables, options } => {
                internals::truncate(&tables.map(|at| table(at).oid), *options)
            }
            Op::Context { lead, content } => {
                let hint = if *lead {
                    r#","_bemi":{"lead":true}"#
                } else {
                    ""
                };
                let content = format!(r#"{{"m":{content}{hint}}}"#);
                internals::message(true, 0x10, "_bemi", content.as_bytes())
            }
            Op::Message {
                transactional,
                ours,
                content,
            } => {
                let prefix = if *ours { "_bemi" } else { "others" };
                internals::message(*transactional, 0x20, prefix, content)
            }
            Op::Alter {
                table: at,
                identity,
                columns,
            } if !columns.is_empty() => {
                const TYPES: [(&str, u32); 8] = [
                    ("id", 23),
                    ("t", 25),
                    ("j", 114),
                    ("tz", 1184),
                    ("a", 1007),
                    ("pairs", 99999),
                    ("pair", 99998),
                    ("t\"", 1700),
                ];
                let identity = b"dnfi"[usize::from(identity % 4)];
                let columns: Vec<(bool, &str, u32)> = columns
                    .iter()
                    .map(|(key, ty)| (*key, TYPES[usize::from(ty % 8)]))
                    .map(|(key, (name, oid))| (key, name, oid))
                    .collect();
                internals::relation(table(*at).oid, "s", "t", identity, &columns)
            }
            Op::Alter { table: at, .. } => table(*at).frame.clone(),
            Op::Frame(bytes) => Bytes::copy_from_slice(bytes),
        }
    }
}

/// A connection, whose tables are described when they are first needed, as PostgreSQL does.
struct Connection {
    stream: Stream,
    described: u64,
}

impl Connection {
    fn start() -> Self {
        Self {
            stream: Stream::new(&["*.updated_at", "t"]),
            described: 0,
        }
    }

    fn describe(&mut self, at: u8) {
        let bit = 1 << (usize::from(at) % TABLES.len());
        if self.described & bit == 0 {
            self.described |= bit;
            let described = self.stream.push(table(at).frame.clone(), Lsn::new(0));
            described.expect("a table");
        }
    }
}

fn is_object(json: &JsonObject) -> bool {
    json.as_str().starts_with('{') && serde_json::from_str::<&RawValue>(json.as_str()).is_ok()
}

fn check(changes: &[Change]) {
    assert!(
        changes
            .windows(2)
            .all(|pair| pair[0].ordinal < pair[1].ordinal)
    );
    for change in changes {
        assert!(
            is_object(&change.before) && is_object(&change.after) && is_object(&change.context)
        );
        assert!(
            change
                .context
                .get::<Box<RawValue>>(RESERVED_MEMBER)
                .is_ok_and(|hint| hint.is_none())
        );
        let (before, after) = (change.before.is_empty(), change.after.is_empty());
        match change.operation {
            Operation::Create => assert!(before),
            Operation::Delete => assert!(after),
            Operation::Truncate => assert!(before && after && change.primary_key.is_none()),
            _ => {}
        }
    }
}

fuzz_target!(|ops: Vec<Op<'_>>| {
    let mut connection = Connection::start();
    for (op, position) in ops.iter().zip(0x0E..) {
        for at in op.tables() {
            connection.describe(at);
        }
        match connection.stream.push(op.frame(), Lsn::new(position)) {
            Ok(changes) => check(&changes.unwrap_or_default()),
            // It is given up.
            Err(_) => connection = Connection::start(),
        }
    }
});
