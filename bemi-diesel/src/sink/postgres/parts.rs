//! Changes that are stored in parts: those of a large transaction, and those among which some are put aside.

use std::collections::HashSet;

use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::{PostgresSink, STORING};
use crate::Change;
use crate::error::{Error, ErrorKind};
use crate::sink::encoding::is_untranslatable;
use crate::sink::poison::{self, Aside};
use crate::stitch::Unreadable;

/// Of so few changes each is tried on its own.
const PROBED: usize = 100;

/// Which of some changes are stored.
const STORED: &str = "SELECT id FROM public.changes WHERE id = ANY ($1)";

/// What stands around each part.
const BEGIN_PART: &str = "SAVEPOINT part";
pub(super) const UNDO_PART: &str = "ROLLBACK TO SAVEPOINT part";
const END_PART: &str = "RELEASE SAVEPOINT part";

impl PostgresSink {
    /// Copies `changes`, and puts those aside that are refused, which it finds by halves and then by trying each,
    /// and those that are `unreadable`. How many changes that were.
    pub(super) async fn copy_part<'a>(
        &mut self,
        changes: Vec<&'a Change>,
        unreadable: impl IntoIterator<Item = &'a Unreadable>,
    ) -> Result<u64, Error> {
        let (mut count, mut aside) = (0, Vec::new());
        let mut parts = vec![changes];
        while let Some(mut part) = parts.pop() {
            if part.is_empty() {
                continue;
            }
            self.run(BEGIN_PART).await?;
            let Err(error) = self.copy(&part).await else {
                self.run(END_PART).await?;
                count += part.len() as u64;
                continue;
            };
            self.run(UNDO_PART).await?;
            match self.mend(error, &mut part).await {
                Ok(()) => parts.push(part),
                Err(error) => match (poison::refusal(&error), &*part) {
                    (Some(reason), [change]) => aside.push(Aside::refused(change, reason)),
                    (Some(_), [_, _, ..]) => {
                        let (count, known) = (part.len(), aside.len());
                        if count <= PROBED {
                            self.find_refused(&mut part, &mut aside).await?;
                        }
                        if aside.len() == known {
                            parts.push(part.split_off(count / 2));
                        }
                        parts.push(part);
                    }
                    _ => return Err(error),
                },
            }
            self.run(END_PART).await?;
        }
        aside.extend(unreadable.into_iter().map(Aside::unreadable));
        self.put_aside(&aside).await?;
        Ok(count + aside.len() as u64)
    }

    /// Moves those of `changes` that are refused to `aside`.
    async fn find_refused<'a>(
        &self,
        changes: &mut Vec<&'a Change>,
        aside: &mut Vec<Aside<'a>>,
    ) -> Result<(), Error> {
        let answers = self.probe(changes).await?;
        let mut answers = answers.iter();
        changes.retain(|change| {
            let error = answers.next().and_then(|answer| answer.as_ref().err());
            let refusal = error.and_then(poison::refusal);
            aside.extend(refusal.map(|reason| Aside::refused(change, reason)));
            refusal.is_none()
        });
        Ok(())
    }

    async fn put_aside(&mut self, aside: &[Aside<'_>]) -> Result<(), Error> {
        let Some(first) = aside.first() else {
            return Ok(());
        };
        self.run(BEGIN_PART).await?;
        while let Err(error) = {
            let into = (&self.connection, &self.put_aside);
            poison::put_aside(into, &self.encoding, aside).await
        } {
            let changes: Vec<&Change> = aside.iter().map(|aside| aside.change).collect();
            if !is_untranslatable(&error) || !self.encoding.learn(&changes).await? {
                return Err(error);
            }
            self.run(UNDO_PART).await?;
        }
        self.run(END_PART).await?;
        failpoint!("put-aside");
        let change = first.change;
        tracing::warn!(
            changes = aside.len(), reason = %first.reason, lsn = %change.commit_lsn, ordinal = change.ordinal, table = &*change.table,
            "changes cannot be stored and are put aside: `bemi replay-poison` tries them again"
        );
        self.aside += aside.len() as u64;
        Ok(())
    }

    /// Takes a change that was put aside, by its commit and ordinal, out of there, in a transaction that
    /// [`put_back`](Self::put_back) or [`leave`](Self::leave) ends.
    #[cfg(feature = "cli")]
    pub(crate) async fn take_back(
        &self,
        place: (i64, i64),
    ) -> Result<Option<poison::Taken>, Error> {
        self.run(super::BEGIN).await?;
        poison::take_back(&self.connection, self.source, place).await
    }

    /// Stores `change`, unless it is still refused; whether it is not put aside any more.
    #[cfg(feature = "cli")]
    pub(crate) async fn put_back(&mut self, change: Option<&Change>) -> Result<bool, Error> {
        self.copy_part(change.into_iter().collect(), []).await?;
        failpoint!("replayed");
        self.run("COMMIT").await?;
        Ok(self.take_put_aside() == 0)
    }

    /// Leaves what was [taken](Self::take_back) where it was.
    #[cfg(feature = "cli")]
    pub(crate) async fn leave(&self) -> Result<(), Error> {
        self.run("ROLLBACK").await
    }

    /// Makes `changes` storable after `error`, which it gives back if that was not the reason.
    pub(super) async fn mend(
        &mut self,
        error: Error,
        changes: &mut Vec<&Change>,
    ) -> Result<(), Error> {
        let mended = if is_duplicate(&error) {
            self.leave_out_stored(changes).await?
        } else if is_untranslatable(&error) {
            self.encoding.learn(changes).await?
        } else {
            false
        };
        if mended { Ok(()) } else { Err(error) }
    }

    /// Leaves those of `changes` that are not stored yet; whether some were.
    async fn leave_out_stored(&self, changes: &mut Vec<&Change>) -> Result<bool, Error> {
        let ids: Vec<Uuid> = changes.iter().map(|change| change.id).collect();
        let binds: [&(dyn ToSql + Sync); 1] = [&ids];
        let reading = self.connection.client.query(STORED, &binds);
        let rows = self.connection.answer(STORING, reading).await?;
        let stored: HashSet<Uuid> = rows.iter().map(|row| row.get(0)).collect();
        tracing::warn!(
            changes = stored.len(),
            "changes are stored already: the progress was set back"
        );
        changes.retain(|change| !stored.contains(&change.id));
        Ok(!stored.is_empty())
    }
}

fn is_duplicate(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Server { error, .. } if error.sqlstate == "23505")
}
