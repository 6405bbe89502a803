//! Writes messages as PostgreSQL does, for tests.

#![allow(
    clippy::missing_panics_doc,
    reason = "what is too long for the protocol is not worth an error in a test"
)]

use bytes::{BufMut, Bytes, BytesMut};

/// A value in a row.
#[derive(Clone, Copy)]
pub enum Cell<'a> {
    /// NULL.
    Null,
    /// A large value that an update left alone.
    Unchanged,
    /// A value in its text form.
    Text(&'a [u8]),
}

/// A value in its text form.
#[must_use]
pub fn t(text: &str) -> Cell<'_> {
    Cell::Text(text.as_bytes())
}

fn frame(tag: u8, write: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(tag);
    write(&mut frame);
    frame.freeze()
}

fn put_string(frame: &mut BytesMut, text: &str) {
    frame.put_slice(text.as_bytes());
    frame.put_u8(0);
}

fn put_len(frame: &mut BytesMut, len: usize) {
    frame.put_u32(u32::try_from(len).expect("a short frame"));
}

fn put_tuple(frame: &mut BytesMut, kind: u8, cells: &[Cell<'_>]) {
    frame.put_u8(kind);
    frame.put_u16(u16::try_from(cells.len()).expect("a short row"));
    for cell in cells {
        match cell {
            Cell::Null => frame.put_u8(b'n'),
            Cell::Unchanged => frame.put_u8(b'u'),
            Cell::Text(text) => {
                frame.put_u8(b't');
                put_len(frame, text.len());
                frame.put_slice(text);
            }
        }
    }
}

/// A transaction starts.
#[must_use]
pub fn begin(final_lsn: u64, micros_since_2000: i64, xid: u32) -> Bytes {
    frame(b'B', |frame| {
        frame.put_u64(final_lsn);
        frame.put_i64(micros_since_2000);
        frame.put_u32(xid);
    })
}

/// It ends.
#[must_use]
pub fn commit(commit_lsn: u64, end_lsn: u64, micros_since_2000: i64) -> Bytes {
    frame(b'C', |frame| {
        frame.put_u8(0);
        frame.put_u64(commit_lsn);
        frame.put_u64(end_lsn);
        frame.put_i64(micros_since_2000);
    })
}

/// A table. `columns`: whether it is part of the replica identity, the name, the type's oid.
#[must_use]
pub fn relation(
    oid: u32,
    schema: &str,
    name: &str,
    identity: u8,
    columns: &[(bool, &str, u32)],
) -> Bytes {
    frame(b'R', |frame| {
        frame.put_u32(oid);
        put_string(frame, schema);
        put_string(frame, name);
        frame.put_u8(identity);
        frame.put_u16(u16::try_from(columns.len()).expect("a narrow table"));
        for (key, name, type_oid) in columns {
            frame.put_u8((*key).into());
            put_string(frame, name);
            frame.put_u32(*type_oid);
            frame.put_i32(-1);
        }
    })
}

/// A row of the table `oid`.
#[must_use]
pub fn insert(oid: u32, new: &[Cell<'_>]) -> Bytes {
    frame(b'I', |frame| {
        frame.put_u32(oid);
        put_tuple(frame, b'N', new);
    })
}

/// A row of the table `oid` is updated. `old`: its kind, `K` or `O`, and the row.
#[must_use]
pub fn update(oid: u32, old: Option<(u8, &[Cell<'_>])>, new: &[Cell<'_>]) -> Bytes {
    frame(b'U', |frame| {
        frame.put_u32(oid);
        if let Some((kind, old)) = old {
            put_tuple(frame, kind, old);
        }
        put_tuple(frame, b'N', new);
    })
}

/// A row of the table `oid` is deleted; `kind`: `K` or `O`.
#[must_use]
pub fn delete(oid: u32, kind: u8, old: &[Cell<'_>]) -> Bytes {
    frame(b'D', |frame| {
        frame.put_u32(oid);
        put_tuple(frame, kind, old);
    })
}

/// Tables are emptied; `options`: 1 for `CASCADE`, 2 for `RESTART IDENTITY`.
#[must_use]
pub fn truncate(oids: &[u32], options: u8) -> Bytes {
    frame(b'T', |frame| {
        put_len(frame, oids.len());
        frame.put_u8(options);
        for oid in oids {
            frame.put_u32(*oid);
        }
    })
}

/// What `pg_logical_emit_message` writes.
#[must_use]
pub fn message(transactional: bool, lsn: u64, prefix: &str, content: &[u8]) -> Bytes {
    frame(b'M', |frame| {
        frame.put_u8(transactional.into());
        frame.put_u64(lsn);
        put_string(frame, prefix);
        put_len(frame, content.len());
        frame.put_slice(content);
    })
}
