//! What a message is about that makes no sense as a whole.

use bytes::Bytes;

use super::cursor::Cursor;
use super::{DecodeError, Message, RelationId, decode};
use crate::Operation;

/// What the beginning of a message tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum About {
    /// It describes a table.
    Relation {
        /// What rows name it by.
        id: RelationId,
        /// Its schema and its name, if they can be read.
        names: Option<(String, String)>,
    },
    /// What happened to a row of a table.
    Row(Operation, RelationId),
    /// Tables were emptied. A TRUNCATE is decoded whole, as another table might follow.
    Truncate(Vec<RelationId>),
}

/// What `frame` is about; `None` if it is neither of a table nor of a row, or does not tell of which.
pub(crate) fn about(frame: Bytes) -> Option<About> {
    let mut cursor = Cursor::new(frame.clone());
    let tag = cursor.u8().ok()?;
    let mut id = || cursor.relation_id().ok();
    match tag {
        b'R' => Some(About::Relation {
            id: id()?,
            names: names(&mut cursor).ok(),
        }),
        b'I' => Some(About::Row(Operation::Create, id()?)),
        b'U' => Some(About::Row(Operation::Update, id()?)),
        b'D' => Some(About::Row(Operation::Delete, id()?)),
        b'T' => match decode(frame).ok()? {
            Message::Truncate { relations, .. } => Some(About::Truncate(relations)),
            _ => None,
        },
        _ => None,
    }
}

fn names(cursor: &mut Cursor) -> Result<(String, String), DecodeError> {
    Ok((super::message::schema(cursor)?, cursor.c_string()?))
}
