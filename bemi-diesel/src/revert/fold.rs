//! From changes to what has become of each row: several changes of one row are one.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::catalog::{Catalog, Table};
use super::image::{Image, Key};
use super::trail::{Entry, Position};
use crate::Operation;

/// What the changes made of one row.
pub(super) struct Thread {
    /// The table's place in the catalog.
    pub(super) table: usize,
    /// The last change's key as text.
    pub(super) primary_key: Option<String>,
    /// The changes, each of which begins where the one before it ended.
    pub(super) steps: Vec<Step>,
    /// Columns that somebody else changed between two of them.
    pub(super) interleaved: BTreeSet<String>,
    /// The trail does not tell all of what was there before.
    pub(super) incomplete: bool,
}

/// One change: what was there before it, and after.
pub(super) struct Step {
    pub(super) position: Position,
    pub(super) before: Option<Image>,
    pub(super) after: Option<Image>,
}

impl Thread {
    /// What the changes found; `None` where there was no row.
    pub(super) fn first(&self) -> Option<&Image> {
        self.steps.first().and_then(|step| step.before.as_ref())
    }

    /// What they left.
    pub(super) fn last(&self) -> Option<&Image> {
        self.steps.last().and_then(|step| step.after.as_ref())
    }

    /// The columns that one of them changed.
    pub(super) fn changed(&self) -> BTreeSet<String> {
        let pairs = self.steps.iter();
        pairs
            .filter_map(|step| Some(step.before.as_ref()?.differing(step.after.as_ref()?)))
            .flatten()
            .collect()
    }
}

/// The rows that the changes in `entries`, which are in the order of the trail, have touched. Changes of
/// tables that are gone are passed over.
pub(super) fn fold(entries: &[Entry], catalog: &Catalog) -> Vec<Thread> {
    let mut folding = Folding::default();
    for entry in entries {
        let Some(place) = catalog.find(&entry.schema, &entry.table) else {
            continue;
        };
        let Some(table) = catalog.tables.get(place) else {
            continue;
        };
        folding.add(entry, place, table);
    }
    folding.threads
}

#[derive(Default)]
struct Folding {
    threads: Vec<Thread>,
    /// The threads that end in a key, be the row there or gone, the latest last: a row can take the key of
    /// one that is gone, and give it back.
    by_key: HashMap<(usize, Key), Vec<usize>>,
    /// Which threads of a table without key end in an image.
    by_image: BTreeMap<(usize, Image), Vec<usize>>,
}

impl Folding {
    fn add(&mut self, entry: &Entry, place: usize, table: &Table) {
        let (before, after) = match entry.operation {
            Operation::Create => (None, Some(entry.after.clone())),
            Operation::Update => (Some(entry.before.clone()), Some(entry.after.clone())),
            Operation::Delete => (Some(entry.before.clone()), None),
            Operation::Truncate | Operation::Snapshot | Operation::Ddl | Operation::Gap => return,
        };
        let incomplete = is_incomplete(before.as_ref(), after.as_ref(), table);
        // An identity that is not the whole row is told only when it changes.
        let was = before.as_ref().filter(|before| !before.is_empty());
        let found = was.or(after.as_ref()).unwrap_or(&entry.before).clone();
        let step = Step {
            position: entry.position(),
            before,
            after,
        };
        let thread = if table.is_keyed() {
            table
                .key(&found)
                .and_then(|key| self.by_key.get(&(place, key))?.last().copied())
        } else {
            self.take(place, step.before.as_ref())
        };
        let thread = thread.unwrap_or_else(|| {
            self.threads.push(Thread {
                table: place,
                primary_key: None,
                steps: Vec::new(),
                interleaved: BTreeSet::new(),
                incomplete: false,
            });
            self.threads.len() - 1
        });
        let now = step.after.as_ref().unwrap_or(&found).clone();
        if let Some(state) = self.threads.get_mut(thread) {
            if !state.steps.is_empty() {
                state
                    .interleaved
                    .extend(between(state.last(), step.before.as_ref()));
            }
            state.incomplete |= incomplete;
            state.primary_key.clone_from(&entry.primary_key);
            state.steps.push(step);
        }
        if !table.is_keyed() {
            if entry.operation != Operation::Delete {
                self.by_image.entry((place, now)).or_default().push(thread);
            }
        } else if let Some(key) = table.key(&now) {
            if let Some(old) = table.key(&found).filter(|old| *old != key)
                && let Some(ends) = self.by_key.get_mut(&(place, old))
            {
                ends.retain(|end| *end != thread);
            }
            let ends = self.by_key.entry((place, key)).or_default();
            if ends.last() != Some(&thread) {
                ends.push(thread);
            }
        }
    }

    /// A thread of a table without key that ends in `image`: of equal rows any will do.
    fn take(&mut self, place: usize, image: Option<&Image>) -> Option<usize> {
        let ends = self.by_image.get_mut(&(place, image?.clone()))?;
        ends.pop()
    }
}

/// The columns that differ between where one change ended and the next one began; all of them where
/// there was a row on one side only.
fn between(end: Option<&Image>, begin: Option<&Image>) -> BTreeSet<String> {
    match (end, begin) {
        (Some(end), Some(begin)) => end.differing(begin),
        (None, None) => BTreeSet::new(),
        (Some(image), None) | (None, Some(image)) => image.columns().map(str::to_owned).collect(),
    }
}

/// Whether the image before lacks columns because the table's replica identity did not bring them.
fn is_incomplete(before: Option<&Image>, after: Option<&Image>, table: &Table) -> bool {
    match (before, after) {
        (Some(before), Some(after)) => !after.columns().all(|name| before.get(name).is_some()),
        (Some(before), None) => {
            let key = table.primary_key();
            let others = table
                .columns
                .iter()
                .any(|column| !column.generated && !key.contains(&column.name));
            before.is_empty()
                || others && before.columns().all(|name| key.iter().any(|k| k == name))
        }
        (None, _) => false,
    }
}
