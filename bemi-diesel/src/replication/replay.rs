//! Reading a change again that was put aside, and storing it.

use crate::Change;
use crate::error::Error;
use crate::pgoutput::Message;
use crate::postgres::Connection;
use crate::sink::poison::Taken;
use crate::sink::postgres::PostgresSink;
use crate::stitch::{Raw, read_again};

use super::catalog;
use super::transport::decode;

/// Stores a change that was put aside, by its commit and ordinal, unless it still cannot be read or is still
/// refused; whether it is not put aside any more.
pub(crate) async fn replay(
    source: &Connection,
    sink: &mut PostgresSink,
    place: (i64, i64),
) -> Result<bool, Error> {
    let change = match sink.take_back(place).await? {
        None => None,
        Some(Taken { change, raw: None }) => Some(change),
        Some(Taken {
            change,
            raw: Some(raw),
        }) => {
            let Some(read) = read(source, change, raw).await? else {
                sink.leave().await?;
                return Ok(false);
            };
            read
        }
    };
    sink.put_back(change.as_ref()).await
}

/// The change as it is read now; within, `None` if it is an UPDATE that changed nothing. `None` if it still
/// cannot be read.
async fn read(
    source: &Connection,
    change: Change,
    raw: Raw,
) -> Result<Option<Option<Change>>, Error> {
    let Some(Ok(Message::Relation(relation))) = raw.legend.relation.clone().map(decode) else {
        return Ok(None);
    };
    let Ok(message) = decode(raw.message) else {
        return Ok(None);
    };
    let description = match &raw.legend.description {
        Some(description) => description.clone(),
        None => catalog::describe(source, &relation).await?,
    };
    Ok(read_again(change, &message, &relation, &description).ok())
}
