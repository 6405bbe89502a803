//! What is to be done with each row, now that it is known how the rows are. Pure.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use super::catalog::{Catalog, Table};
use super::facts::{Facts, LiveRow, Question};
use super::fold::Thread;
use super::image::{Image, Key};
use super::plan::{Action, Conflict, ConflictKind, OnConflict, Resolution};
use super::relations::Relations;

/// One row to write.
pub(super) struct Write {
    /// The thread it comes from.
    pub(super) thread: usize,
    pub(super) table: usize,
    pub(super) action: Action,
    /// The row as it is.
    pub(super) live: Option<Arc<LiveRow>>,
    /// The columns to write: of an Insert all, of an Update those that change.
    pub(super) set: Image,
    /// The row as it will be.
    pub(super) target: Option<Image>,
}

impl Write {
    pub(super) fn before(&self) -> Option<&Image> {
        self.live.as_ref().map(|live| &live.image)
    }

    fn insert(thread: usize, table: usize, row: Image) -> Self {
        Self {
            thread,
            table,
            action: Action::Insert,
            live: None,
            set: row.clone(),
            target: Some(row),
        }
    }

    pub(super) fn update(thread: usize, table: usize, live: Arc<LiveRow>, set: Image) -> Self {
        Self {
            thread,
            table,
            action: Action::Update,
            target: Some(live.image.overlaid(&set)),
            set,
            live: Some(live),
        }
    }

    fn delete(thread: usize, table: usize, live: Arc<LiveRow>) -> Self {
        Self {
            thread,
            table,
            action: Action::Delete,
            live: Some(live),
            set: Image::default(),
            target: None,
        }
    }
}

/// What is to be done.
#[derive(Default)]
pub(super) struct Judged {
    pub(super) writes: Vec<Write>,
    pub(super) conflicts: Vec<Conflict>,
    pub(super) unchanged: usize,
}

/// What is to be done with the rows of `threads`.
pub(super) fn judge(
    threads: &[Thread],
    catalog: &Catalog,
    facts: &Facts,
    policy: OnConflict,
) -> Judged {
    let mut judging = Judging {
        threads,
        catalog,
        facts,
        policy,
        used: HashSet::new(),
        ends: threads
            .iter()
            .filter_map(|thread| {
                let table = catalog.tables.get(thread.table)?;
                Some((thread.table, table.key(thread.last()?)?))
            })
            .collect(),
        judged: Judged::default(),
    };
    for (place, thread) in threads.iter().enumerate() {
        if let Some(table) = catalog.tables.get(thread.table) {
            judging.row(place, thread, table);
        }
    }
    judging.relations();
    judging.judged
}

struct Judging<'a> {
    threads: &'a [Thread],
    catalog: &'a Catalog,
    facts: &'a Facts,
    policy: OnConflict,
    /// Rows of tables without key that a thread has taken.
    used: HashSet<(u32, String)>,
    /// The keys of the rows that the threads left.
    ends: HashSet<(usize, Key)>,
    judged: Judged,
}

impl Judging<'_> {
    /// Judges a row by itself.
    fn row(&mut self, place: usize, thread: &Thread, table: &Table) {
        let own = |image: Option<&Image>| image.map(|image| table.own(image));
        let (from, to) = (own(thread.last()), own(thread.first()));
        let live = from.as_ref().and_then(|from| self.live(table, from));
        match (from, to) {
            (None, None) => {}
            (Some(_), Some(_)) if !self.is_known(thread) || !self.has_columns(thread, table) => {}
            (Some(from), Some(to)) if from == to => self.judged.unchanged += 1,
            (None, Some(to)) => {
                // Whoever has the key by now is seen when the relations are judged.
                if self.is_back(thread, table, &to) {
                    self.judged.unchanged += 1;
                } else if self.may_insert(thread, table) {
                    self.judged
                        .writes
                        .push(Write::insert(place, thread.table, to));
                }
            }
            (Some(from), None) => match live {
                None if table.is_keyed() => self.judged.unchanged += 1,
                None => {
                    self.conflict(thread, ConflictKind::Gone);
                }
                Some(live) => {
                    let mut changed = from.differing(&live.image);
                    changed.extend(thread.interleaved.iter().cloned());
                    if self.is_as_left(thread, changed) {
                        self.judged
                            .writes
                            .push(Write::delete(place, thread.table, live));
                    }
                }
            },
            (Some(from), Some(to)) => self.updated(place, thread, table, &from, &to, live),
        }
    }

    fn updated(
        &mut self,
        place: usize,
        thread: &Thread,
        table: &Table,
        from: &Image,
        to: &Image,
        live: Option<Arc<LiveRow>>,
    ) {
        let Some(live) = live else {
            if self.is_back(thread, table, to) {
                self.judged.unchanged += 1;
            } else if self.conflict(thread, ConflictKind::Gone) && self.may_insert(thread, table) {
                let row = to.clone();
                self.judged
                    .writes
                    .push(Write::insert(place, thread.table, row));
            }
            return;
        };
        if to.differing(&live.image).is_empty() {
            self.judged.unchanged += 1;
            return;
        }
        let mut changed = from.differing(&live.image);
        changed.extend(thread.interleaved.iter().cloned());
        let columns = if changed.is_empty() {
            from.differing(to)
        } else {
            thread.changed()
        };
        if !self.is_as_left(thread, changed) {
            return;
        }
        let set = to.restricted(|name| columns.contains(name));
        let always = set
            .columns()
            .find(|name| table.column(name).is_some_and(|column| column.always));
        if let Some(column) = always {
            let column = column.to_owned();
            self.conflict(thread, ConflictKind::IdentityAlways { column });
            return;
        }
        if set.differing(&live.image).is_empty() {
            self.judged.unchanged += 1;
            return;
        }
        self.judged
            .writes
            .push(Write::update(place, thread.table, live, set));
    }

    /// Whether the row that the changes found is there already, and is not one of those that they left,
    /// which only looks like it.
    fn is_back(&mut self, thread: &Thread, table: &Table, to: &Image) -> bool {
        table
            .key(to)
            .is_some_and(|key| !self.ends.contains(&(thread.table, key)))
            && self
                .live(table, to)
                .is_some_and(|live| to.differing(&live.image).is_empty())
    }

    /// The live row that `image` identifies. Of equal rows without key each is found once.
    fn live(&mut self, table: &Table, image: &Image) -> Option<Arc<LiveRow>> {
        let (question, key) = Question::of_row(table, image)?;
        let mut rows = self.facts.find(&question, &key).iter();
        if table.is_keyed() {
            return rows.next().cloned();
        }
        let used = &mut self.used;
        rows.find(|row| used.insert((row.table, row.ctid.clone())))
            .cloned()
    }

    /// Whether the row is as the changes left it, or may be written all the same.
    fn is_as_left(&mut self, thread: &Thread, changed: BTreeSet<String>) -> bool {
        changed.is_empty()
            || self.conflict(
                thread,
                ConflictKind::ChangedSince {
                    columns: changed.into_iter().collect(),
                },
            )
    }

    /// Whether the trail tells all that was there before.
    fn is_known(&mut self, thread: &Thread) -> bool {
        !thread.incomplete || self.conflict(thread, ConflictKind::Incomplete)
    }

    /// Whether today's table has the columns that an update is to set back.
    fn has_columns(&mut self, thread: &Thread, table: &Table) -> bool {
        let changed = match (thread.first(), thread.last()) {
            (Some(first), Some(last)) => first.differing(last),
            _ => BTreeSet::new(),
        };
        let gone = |name: &String| table.column(name).is_none();
        self.may_leave_out(thread, changed.into_iter().filter(gone).collect())
    }

    fn may_leave_out(&mut self, thread: &Thread, columns: Vec<String>) -> bool {
        columns.is_empty() || self.conflict(thread, ConflictKind::ColumnDropped { columns })
    }

    /// Whether the row that was there is known, and today's table can take it.
    fn may_insert(&mut self, thread: &Thread, table: &Table) -> bool {
        let Some(row) = thread.first().filter(|_| self.is_known(thread)) else {
            return false;
        };
        let gone = |name: &&str| row.has(name) && table.column(name).is_none();
        let dropped = row.columns().filter(gone).map(str::to_owned).collect();
        if !self.may_leave_out(thread, dropped) {
            return false;
        }
        let columns: Vec<String> = table
            .columns
            .iter()
            .filter(|column| column.not_null && !column.has_default && !column.generated)
            .filter(|column| row.get(&column.name).is_none())
            .map(|column| column.name.clone())
            .collect();
        columns.is_empty() || self.conflict(thread, ConflictKind::ColumnRequired { columns })
    }

    /// Notes a conflict; whether the row is written all the same.
    fn conflict(&mut self, thread: &Thread, kind: ConflictKind) -> bool {
        let resolution = self.policy.resolve(&kind);
        self.note(thread, kind, resolution);
        resolution == Resolution::Force
    }

    fn note(&mut self, thread: &Thread, kind: ConflictKind, resolution: Resolution) {
        if let Some(table) = self.catalog.tables.get(thread.table) {
            self.judged.conflicts.push(Conflict {
                schema: table.relation.schema.clone(),
                table: table.relation.name.clone(),
                primary_key: thread.primary_key.clone(),
                kind,
                resolution,
            });
        }
    }

    /// Judges the rows by each other, and by those that stay: unique keys and foreign keys. A row that
    /// is left alone can be in the way of another, so this goes on until nothing more is found.
    fn relations(&mut self) {
        let mut known = HashSet::new();
        loop {
            let relations = Relations::new(&self.judged.writes, self.catalog, self.facts);
            let found: Vec<_> = self
                .judged
                .writes
                .iter()
                .enumerate()
                .filter(|(_, write)| !known.contains(&write.thread))
                .filter_map(|(place, write)| Some((place, relations.conflict(write)?)))
                .collect();
            if found.is_empty() {
                return;
            }
            let mut left_alone = HashSet::new();
            for (place, found) in found {
                let Some(write) = self.judged.writes.get(place) else {
                    continue;
                };
                let at = write.thread;
                known.insert(at);
                let Some(thread) = self.threads.get(at) else {
                    continue;
                };
                let overwritten = found.owner.filter(|_| self.policy == OnConflict::Force);
                let resolution = match overwritten {
                    Some(_) => Resolution::Force,
                    None => self.policy.resolve(&found.kind),
                };
                self.note(thread, found.kind, resolution);
                if resolution == Resolution::Skip {
                    left_alone.insert(at);
                }
                if let Some(owner) = overwritten {
                    self.overwrite(place, owner);
                }
            }
            self.judged
                .writes
                .retain(|write| !left_alone.contains(&write.thread));
        }
    }

    /// Turns an Insert into an Update of the row that has its key.
    fn overwrite(&mut self, place: usize, owner: Arc<LiveRow>) {
        let Some(write) = self.judged.writes.get_mut(place) else {
            return;
        };
        if let Some(table) = self.catalog.tables.get(write.table) {
            let fixed = |name: &str| {
                table.primary_key().iter().any(|key| key == name)
                    || table.column(name).is_some_and(|column| column.always)
            };
            let set = write.set.restricted(|name| !fixed(name));
            *write = Write::update(write.thread, write.table, owner, set);
        }
    }
}
