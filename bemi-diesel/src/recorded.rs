//! The streams recorded in `recorded/` from PostgreSQL 14 to 18, for tests, benchmarks and the fuzz targets'
//! first inputs.

use bytes::Bytes;

use crate::Lsn;
use crate::pgoutput::Relation;
use crate::stitch::Description;
use crate::value::{ColumnType, builtin};

/// A major version of PostgreSQL, and what it sent for `recorded/workload.sql`.
pub(crate) const RECORDINGS: [(u32, &str); 5] = [
    (14, include_str!("../recorded/pg14.tsv")),
    (15, include_str!("../recorded/pg15.tsv")),
    (16, include_str!("../recorded/pg16.tsv")),
    (17, include_str!("../recorded/pg17.tsv")),
    (18, include_str!("../recorded/pg18.tsv")),
];

/// The messages of a recording, each with the position of its record.
pub(crate) fn frames(recording: &str) -> impl Iterator<Item = (Lsn, Bytes)> {
    recording.lines().filter_map(|line| {
        let (position, message) = line.split_once('\t')?;
        Some((Lsn::new(position.parse().ok()?), unescape(message).into()))
    })
}

/// Undoes `[u8]::escape_ascii`.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match (byte, byte == b'\\') {
            (byte, false) => byte,
            _ => match rest.next() {
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                Some(b't') => b'\t',
                Some(b'x') => hexadecimal(&mut rest) << 4 | hexadecimal(&mut rest),
                escaped => escaped.unwrap_or(b'\\'),
            },
        });
    }
    bytes
}

fn hexadecimal(digits: &mut impl Iterator<Item = u8>) -> u8 {
    let digit = digits
        .next()
        .and_then(|digit| char::from(digit).to_digit(16));
    digit
        .and_then(|digit| u8::try_from(digit).ok())
        .unwrap_or_default()
}

/// What the catalog would say of a table. Its types are told by the names of its columns, as the object
/// identifiers of types that are not built in are others in every recording.
pub(crate) fn describe(relation: &Relation) -> Description {
    let key: &[&str] = match relation.name.as_str() {
        "log" => &[],
        "Line Item" => &["order_id", "no"],
        _ => &["id"],
    };
    let types = relation.columns.iter().filter_map(|column| {
        let ty = match column.name.as_str() {
            _ if builtin(column.type_oid).is_some() => return None,
            "cost" => ColumnType::Number,
            name if name.starts_with("pairs") => ColumnType::array(pair(), ','),
            name if name.starts_with("pair") => pair(),
            _ => ColumnType::text(),
        };
        Some((column.type_oid, ty))
    });
    Description {
        tracked: true,
        primary_key: key.iter().map(|name| (*name).to_owned()).collect(),
        types: types.collect(),
    }
}

fn pair() -> ColumnType {
    ColumnType::composite(vec![
        ("left_half".to_owned(), ColumnType::Number),
        (
            "right_half".to_owned(),
            ColumnType::array(ColumnType::text(), ','),
        ),
    ])
}
