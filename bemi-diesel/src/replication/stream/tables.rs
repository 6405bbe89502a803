//! What is known of the tables of a stream, and rows that make no sense.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use chrono::Utc;

use super::Stream;
use crate::Lsn;
use crate::error::Error;
use crate::pgoutput::{self, About, DecodeError, Relation, RelationId};
use crate::replication::catalog;
use crate::replication::transport::decode_error;
use crate::stitch::{StitchError, Undescribed};

/// The tables with columns of a composite type. The server sends a table anew after it was altered, but not
/// after one of its types was: such a table is looked at in each transaction.
#[derive(Default)]
pub(super) struct Composed {
    /// With the message that described each.
    tables: HashMap<RelationId, (Relation, Bytes)>,
    /// Those that this transaction has looked at.
    seen: HashSet<RelationId>,
}

impl Composed {
    /// A transaction begins.
    pub(super) fn begin(&mut self) {
        self.seen.clear();
    }

    /// The table with this identifier, if what was said of it may not hold any more.
    fn unseen(&self, id: RelationId) -> Option<(Relation, Bytes)> {
        if self.tables.is_empty() || self.seen.contains(&id) {
            return None;
        }
        self.tables.get(&id).cloned()
    }
}

impl Stream {
    /// Tells the stitcher of a table.
    pub(super) async fn describe(&mut self, relation: Relation, frame: Bytes) -> Result<(), Error> {
        if let Some(xid) = self.stitcher.xid() {
            catalog::seen(&self.source, xid).await?;
        }
        let description = catalog::describe(&self.source, &relation).await?;
        let composed = &mut self.composed;
        composed.tables.remove(&relation.id);
        if catalog::is_composed(&description) {
            // A frame is a part of all that was received with it.
            let frame = Bytes::copy_from_slice(&frame);
            composed.seen.insert(relation.id);
            composed
                .tables
                .insert(relation.id, (relation.clone(), frame));
        }
        self.stitcher.describe(relation, Some(&frame), description);
        Ok(())
    }

    /// Describes the table again, if what was said of it may not hold any more.
    pub(super) async fn look_again(&mut self, id: RelationId) -> Result<(), Error> {
        match self.composed.unseen(id) {
            Some((relation, frame)) => self.describe(relation, frame).await,
            None => Ok(()),
        }
    }

    /// Takes what can be taken of a message that cannot be decoded.
    pub(super) async fn unreadable(
        &mut self,
        frame: &Bytes,
        problem: DecodeError,
        position: Lsn,
    ) -> Result<(), Error> {
        match pgoutput::about(frame.clone()) {
            Some(About::Relation { id, names }) => {
                let relation = Some((frame, problem));
                let noted = self.undescribe(id, names, relation).await?;
                noted.ok_or_else(|| decode_error(position, &problem))
            }
            // What is not about a row is about the stream.
            None => Err(decode_error(position, &problem)),
            Some(_) => self.put_aside(frame, &problem, position).await,
        }
    }

    /// Puts aside what the message tells of a row.
    pub(super) async fn put_aside(
        &mut self,
        frame: &Bytes,
        problem: &impl ToString,
        position: Lsn,
    ) -> Result<(), Error> {
        let reason = problem.to_string();
        loop {
            let error = match self
                .stitcher
                .put_aside(frame, &reason, position, Utc::now())
            {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let noted = match error {
                StitchError::UnknownRelation(id) => self.undescribe(id, None, None).await?,
                _ => None,
            };
            noted.ok_or_else(|| decode_error(position, &error))?;
        }
    }

    /// Takes note of a table whose rows cannot be read; `None` if nobody knows its name.
    async fn undescribe(
        &mut self,
        id: RelationId,
        names: Option<(String, String)>,
        relation: Option<(&Bytes, DecodeError)>,
    ) -> Result<Option<()>, Error> {
        if let Some(xid) = self.stitcher.xid() {
            catalog::seen(&self.source, xid).await?;
        }
        let found = catalog::name(&self.source, id).await?;
        let ours = found.as_ref().is_some_and(|found| found.ours);
        let Some((schema, name)) = names.or(found.map(|found| (found.schema, found.name))) else {
            return Ok(None);
        };
        tracing::warn!(
            table = format!("{schema}.{name}"),
            "the description of a table cannot be read: its rows are put aside"
        );
        self.composed.tables.remove(&id);
        let undescribed = Undescribed {
            schema: &schema,
            name: &name,
            tracked: !ours,
            relation,
        };
        self.stitcher.undescribed(id, &undescribed);
        Ok(Some(()))
    }
}
