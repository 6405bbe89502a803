//! What a revert asks of the live tables, and the answers.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::catalog::{Catalog, Relation, Table, TypedColumn};
use super::fold::Thread;
use super::image::{Image, Key};

/// A row as it is.
#[derive(Debug)]
pub(super) struct LiveRow {
    /// Where it is: `tableoid` and `ctid`, which stay while the row is locked and not written.
    pub(super) table: u32,
    pub(super) ctid: String,
    pub(super) image: Image,
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.columns()).finish()
    }
}

/// By which columns rows of a relation are looked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Question {
    pub(super) relation: Relation,
    pub(super) by: By,
    /// Whether the rows are to be locked.
    pub(super) lock: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum By {
    /// By the values of these columns.
    Columns(Vec<TypedColumn>),
    /// By the whole row, these columns excepted: it has no key. The one value is the row's JSON.
    Row { without: Vec<String> },
}

/// What to ask: the values that are looked for, by question.
pub(super) type Questions = HashMap<Question, BTreeSet<Key>>;

/// The rows that were found.
#[derive(Default)]
pub(super) struct Facts {
    pub(super) rows: HashMap<Question, HashMap<Key, Vec<Arc<LiveRow>>>>,
}

impl Facts {
    pub(super) fn find(&self, question: &Question, key: &Key) -> &[Arc<LiveRow>] {
        self.rows
            .get(question)
            .and_then(|rows| rows.get(key))
            .map_or(&[], Vec::as_slice)
    }
}

impl Question {
    /// By the columns of one end of a foreign key, or of a unique index.
    pub(super) fn by(relation: &Relation, columns: Vec<TypedColumn>) -> Self {
        Self {
            relation: relation.clone(),
            by: By::Columns(columns),
            lock: false,
        }
    }

    /// By what identifies the row, which is then to be written: its key, or all of it.
    pub(super) fn of_row(table: &Table, image: &Image) -> Option<(Self, Key)> {
        let own = table.own(image);
        let (by, key) = if table.is_keyed() {
            let by = By::Columns(table.typed(table.primary_key()));
            (by, table.key(image)?)
        } else {
            let told = |name: &str| own.get(name).is_some();
            let columns = table.columns.iter().map(|column| &column.name);
            let by = By::Row {
                without: columns.filter(|name| !told(name)).cloned().collect(),
            };
            (by, vec![own.to_json().as_str().into()])
        };
        let question = Self {
            relation: table.relation.clone(),
            by,
            lock: true,
        };
        Some((question, key))
    }
}

/// What has to be known of the live tables before the threads can be judged.
pub(super) fn questions(threads: &[Thread], catalog: &Catalog) -> Questions {
    let mut questions = Questions::new();
    let mut ask = |question: Question, key: Key| {
        questions.entry(question).or_default().insert(key);
    };
    for thread in threads {
        let Some(table) = catalog.tables.get(thread.table) else {
            continue;
        };
        let (from, to) = (thread.last(), thread.first());
        for image in [from, to].into_iter().flatten() {
            if let Some((question, key)) = Question::of_row(table, image) {
                ask(question, key);
            }
        }
        for unique in &table.uniques {
            let question = || Question::by(&table.relation, table.typed(&unique.columns));
            // The keys between are where a row can step aside to.
            let between = thread
                .steps
                .iter()
                .skip(1)
                .filter_map(|step| step.before.as_ref());
            let keys = between.filter_map(|image| image.key(&unique.columns));
            for key in keys.chain(moved(to, from, &unique.columns)) {
                ask(question(), key);
            }
        }
        for fk in &catalog.foreign_keys {
            if table.is(&fk.child)
                && let Some(key) = moved(to, from, &fk.child.columns)
            {
                ask(
                    Question::by(&fk.parent.relation, fk.parent.columns.clone()),
                    key,
                );
            }
            if table.is(&fk.parent)
                && let Some(key) = moved(from, to, &fk.parent.columns)
            {
                ask(
                    Question::by(&fk.child.relation, fk.child.columns.clone()),
                    key,
                );
            }
        }
    }
    questions
}

/// The key that the row has on this side, and not on the other.
pub(super) fn moved(
    here: Option<&Image>,
    there: Option<&Image>,
    columns: &[impl AsRef<str>],
) -> Option<Key> {
    let key = here?.key(columns)?;
    let other = there.and_then(|image| image.key(columns));
    (other.as_ref() != Some(&key)).then_some(key)
}
