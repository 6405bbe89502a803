//! Rows.

use std::fmt;

use bytes::Bytes;

use super::DecodeError;
use super::cursor::Cursor;

/// One row: its columns in the order of the last [`Relation`](super::Relation) message.
///
/// Checked once when decoded and kept as the bytes it came in, so that a row costs no allocation.
/// `Debug` shows the size and hides the values.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Tuple {
    len: u16,
    /// `len` columns and nothing else.
    body: Bytes,
}

impl Tuple {
    pub(super) fn decode(cursor: &mut Cursor) -> Result<Self, DecodeError> {
        let len = cursor.u16()?;
        let mut rest = cursor.rest();
        for _ in 0..len {
            (_, rest) = split_column(rest)?;
        }
        let bytes = cursor.rest().len() - rest.len();
        Ok(Self {
            len,
            body: cursor.bytes(bytes)?,
        })
    }

    /// A row of these texts; `None` is NULL.
    #[cfg(feature = "cli")]
    pub(crate) fn from_texts<'a>(columns: impl Iterator<Item = Option<&'a str>>) -> Self {
        let (mut len, mut body) = (0, Vec::new());
        for column in columns {
            len += 1;
            match column {
                None => body.push(b'n'),
                Some(text) => {
                    body.push(b't');
                    // The server sends no value of 4 GiB, nor 65,536 columns.
                    let bytes = u32::try_from(text.len()).unwrap_or(u32::MAX);
                    body.extend_from_slice(&bytes.to_be_bytes());
                    body.extend_from_slice(text.as_bytes());
                }
            }
        }
        Self {
            len,
            body: body.into(),
        }
    }

    /// The number of columns.
    pub(crate) fn len(&self) -> usize {
        self.len.into()
    }

    /// The size of the row on the wire.
    pub(crate) fn bytes(&self) -> usize {
        self.body.len()
    }

    /// The columns in order.
    pub(crate) fn columns(&self) -> impl Iterator<Item = TupleColumn<'_>> {
        let mut rest: &[u8] = &self.body;
        std::iter::from_fn(move || {
            let column;
            // The body was checked: it ends where a column ends.
            (column, rest) = split_column(rest).ok()?;
            Some(column)
        })
    }
}

impl fmt::Debug for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tuple({} columns, {} bytes)", self.len, self.body.len())
    }
}

/// The value of one column in a row. No `Debug`: values stay out of logs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum TupleColumn<'a> {
    /// NULL; in an [`OldTuple::Key`] also every column outside the key.
    Null,
    /// An `UPDATE` left the value alone and PostgreSQL, which stores it apart ([TOAST]), did not read
    /// it again.
    ///
    /// [TOAST]: https://www.postgresql.org/docs/current/storage-toast.html
    Unchanged,
    /// The value in its text form, see [`text`](super::text()).
    Text(&'a [u8]),
}

fn split_column(bytes: &[u8]) -> Result<(TupleColumn<'_>, &[u8]), DecodeError> {
    let (kind, rest) = bytes.split_first().ok_or(DecodeError::UnexpectedEnd)?;
    match kind {
        b'n' => Ok((TupleColumn::Null, rest)),
        b'u' => Ok((TupleColumn::Unchanged, rest)),
        b't' => {
            let (len, rest) = rest.split_first_chunk().ok_or(DecodeError::UnexpectedEnd)?;
            let (value, rest) = usize::try_from(u32::from_be_bytes(*len))
                .ok()
                .and_then(|len| rest.split_at_checked(len))
                .ok_or(DecodeError::UnexpectedEnd)?;
            Ok((TupleColumn::Text(value), rest))
        }
        &tag => Err(DecodeError::UnknownTag {
            what: "kind of column value",
            tag,
        }),
    }
}

/// What an `UPDATE` or `DELETE` tells of the row before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OldTuple {
    /// The whole row: the table has `REPLICA IDENTITY FULL`.
    Full(Tuple),
    /// The columns of the replica identity only, every other one NULL. An `UPDATE` brings it when it
    /// changed one of them.
    Key(Tuple),
}

impl OldTuple {
    /// The columns, see [`OldTuple::Key`].
    pub(crate) fn tuple(&self) -> &Tuple {
        match self {
            Self::Full(tuple) | Self::Key(tuple) => tuple,
        }
    }
}
