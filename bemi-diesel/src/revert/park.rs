//! Rows that wait for each other's unique keys: some step aside first. Pure.

use std::sync::Arc;

use super::catalog::{Catalog, Table, Unique};
use super::facts::{Facts, LiveRow, Question};
use super::fold::Thread;
use super::image::Image;
use super::judge::Write;
use super::order::circles;

/// Takes rows out of circles of unique keys, and returns the updates that do it, in their order. The
/// writes go on from there.
///
/// A row steps aside to null, or to a key that it had at some time between: one that its table took once.
/// What other rows refer to stays. A circle in which nobody can step aside is left.
pub(super) fn park(
    writes: &mut [Write],
    threads: &[Thread],
    catalog: &Catalog,
    facts: &Facts,
) -> Vec<Write> {
    let mut parked = Vec::new();
    loop {
        let before = parked.len();
        for circle in circles(writes, catalog) {
            let aside = circle.into_iter().find_map(|(place, unique)| {
                let write = writes.get(place)?;
                let table = catalog.tables.get(write.table)?;
                let unique = table.uniques.get(unique)?;
                let thread = threads.get(write.thread)?;
                let parking = Parking {
                    writes,
                    catalog,
                    facts,
                    table,
                };
                Some((place, parking.aside(write, thread, unique)?))
            });
            let Some((place, aside)) = aside else {
                continue;
            };
            if let Some(write) = writes.get_mut(place)
                && let Some(live) = write.live.clone()
            {
                let image = live.image.overlaid(&aside);
                let back = write
                    .target
                    .as_ref()
                    .map(|target| target.restricted(|column| aside.get(column).is_some()));
                write.set = write.set.overlaid(&back.unwrap_or_default());
                write.live = Some(Arc::new(LiveRow {
                    table: live.table,
                    ctid: live.ctid.clone(),
                    image,
                }));
                parked.push(Write::update(write.thread, write.table, live, aside));
            }
        }
        if parked.len() == before {
            return parked;
        }
    }
}

struct Parking<'a> {
    writes: &'a [Write],
    catalog: &'a Catalog,
    facts: &'a Facts,
    table: &'a Table,
}

impl Parking<'_> {
    /// Where a row can step aside to, so that its key is free.
    fn aside(&self, write: &Write, thread: &Thread, unique: &Unique) -> Option<Image> {
        let keys = &self.catalog.foreign_keys;
        let parents = keys.iter().filter(|fk| self.table.is(&fk.parent));
        let referred: Vec<_> = parents.flat_map(|fk| &fk.parent.columns).collect();
        let children = keys.iter().filter(|fk| self.table.is(&fk.child));
        let referring: Vec<_> = children.flat_map(|fk| &fk.child.columns).collect();
        let among = |columns: &[&super::catalog::TypedColumn], name: &str| {
            columns.iter().any(|column| column.name == name)
        };
        let fixed = |name: &String| {
            let column = self.table.column(name);
            among(&referred, name) || column.is_none_or(|column| column.always || column.generated)
        };
        if !self.table.is_keyed() {
            return None;
        }
        let nullable = unique
            .columns
            .iter()
            .filter(|name| !fixed(name))
            .find(|name| {
                let column = self.table.column(name);
                column.is_some_and(|column| !column.not_null)
            });
        if let Some(name) = nullable {
            return Some(Image::of([(name.as_str(), "null")]));
        }
        let movable = |name: &String| !fixed(name) && !among(&referring, name);
        if !unique.columns.iter().all(movable) {
            return None;
        }
        let images = thread.steps.iter();
        let images = images
            .flat_map(|step| [&step.before, &step.after])
            .flatten();
        let mut keys = images.filter_map(|image| image.key(&unique.columns));
        let key = keys.find(|key| !self.is_busy(write.table, unique, key))?;
        let columns = unique.columns.iter().map(String::as_str);
        Some(Image::of(columns.zip(key.iter().map(|value| &**value))))
    }

    /// Whether a row has the key, or is to have it.
    fn is_busy(&self, table: usize, unique: &Unique, key: &super::image::Key) -> bool {
        let columns = self.table.typed(&unique.columns);
        let question = Question::by(&self.table.relation, columns);
        let of_table = self.writes.iter().filter(|write| write.table == table);
        let mut images = of_table.flat_map(|write| [write.before(), write.target.as_ref()]);
        let has = |image: &Image| image.key(&unique.columns).as_ref() == Some(key);
        !self.facts.find(&question, key).is_empty() || images.any(|image| image.is_some_and(has))
    }
}
