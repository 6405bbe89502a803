//! The text of the statements. Values travel as one JSON parameter, and become rows again by the types
//! of the columns, so every type works and every digit stays. Pure.

use std::collections::BTreeMap;

use super::catalog::{Catalog, Table, TypedColumn, quoted};
use super::facts::{By, Question};
use super::fold::Thread;
use super::image::{Image, Key, object};
use super::judge::Write;
use super::order::Stage;
use super::plan::Action;

/// A statement, and the JSON that is bound to it.
#[derive(Debug)]
pub(super) struct Statement {
    pub(super) sql: String,
    pub(super) binds: Vec<String>,
    /// How many rows it has to write, and to which tables.
    pub(super) rows: usize,
    pub(super) tables: Vec<usize>,
}

/// So many rows are written by one statement, where nothing asks for more.
const CHUNK: usize = 2_000;

/// Looks for rows. Each line it gives is an array: the place of the key that was asked for, `tableoid`,
/// `ctid`, and the row.
pub(super) fn lookup(question: &Question, keys: &[Key]) -> Statement {
    let relation = question.relation.only();
    let lock = if question.lock {
        " FOR UPDATE OF bemi_row"
    } else {
        ""
    };
    let line = "pg_catalog.json_build_array(bemi_key.bemi_n - 1, bemi_row.tableoid::int8, bemi_row.ctid::text, \
                pg_catalog.to_jsonb(bemi_row.*))::text AS line";
    let (sql, keys) = match &question.by {
        By::Columns(columns) => {
            let condition: Vec<String> = columns
                .iter()
                .enumerate()
                .map(|(n, column)| format!("bemi_row.{} = bemi_key.k{n}", quoted(&column.name)))
                .collect();
            let json = keys.iter().map(|key| {
                let names: Vec<String> = (0..key.len()).map(|n| format!("k{n}")).collect();
                object(
                    names
                        .iter()
                        .map(String::as_str)
                        .zip(key.iter().map(|value| &**value)),
                )
            });
            let record = record(1, "bemi_key", &numbered("k", columns));
            let sql = format!(
                "SELECT {line} FROM {record} JOIN {relation} AS bemi_row ON {}{lock}",
                condition.join(" AND ")
            );
            (sql, array(json))
        }
        By::Row { without } => {
            let without: Vec<String> = without.iter().map(|name| literal(name)).collect();
            let sql = format!(
                "SELECT {line} FROM pg_catalog.json_array_elements($1::text::json) WITH ORDINALITY bemi_key (bemi_v, bemi_n) \
                 JOIN {relation} AS bemi_row ON (pg_catalog.to_jsonb(bemi_row.*) - ARRAY[{}]::text[])::text = bemi_key.bemi_v::jsonb::text{lock}",
                without.join(", ")
            );
            let json = keys.iter().filter_map(|key| key.first());
            (sql, array(json.map(ToString::to_string)))
        }
    };
    Statement {
        sql,
        binds: vec![keys],
        rows: 0,
        tables: Vec::new(),
    }
}

/// The statements of a stage, in their order.
pub(super) fn statements(
    stage: &Stage,
    writes: &[Write],
    threads: &[Thread],
    catalog: &Catalog,
) -> Vec<Statement> {
    let pick = |places: &[usize]| -> Vec<Row> {
        let writes = places.iter().filter_map(|place| writes.get(*place));
        writes.filter_map(|write| Row::of(write, catalog)).collect()
    };
    match stage {
        Stage::Batch(places) => {
            let rows = pick(places);
            let chunks = grouped(&rows).into_iter();
            chunks
                .flat_map(|rows| {
                    let chunks = rows.chunks(CHUNK);
                    chunks
                        .map(|rows| combined(&[rows.to_vec()], catalog))
                        .collect::<Vec<_>>()
                })
                .collect()
        }
        Stage::Together(places) => vec![combined(&grouped(&pick(places)), catalog)],
        Stage::Unfold(places) => {
            let writes: Vec<&Write> = places
                .iter()
                .filter_map(|place| writes.get(*place))
                .collect();
            let rows = unfolded(&writes, threads, catalog);
            rows.into_iter()
                .map(|row| combined(&[vec![row]], catalog))
                .collect()
        }
    }
}

/// Writes rows once more that were to be updated, wherever they are by now.
pub(super) fn again(writes: &[&Write], catalog: &Catalog) -> Vec<Statement> {
    let rows: Vec<Row> = writes
        .iter()
        .filter(|write| write.action != Action::Delete)
        .filter_map(|write| {
            let table = catalog.tables.get(write.table)?;
            Some(Row {
                table: write.table,
                action: Action::Update,
                at: At::Key(table.key(write.target.as_ref()?)?),
                set: write.set.clone(),
            })
        })
        .collect();
    let groups = grouped(&rows).into_iter();
    groups.map(|rows| combined(&[rows], catalog)).collect()
}

/// The steps of the threads, backwards. A row without key can only be found once: it goes first, and
/// comes back last.
fn unfolded(writes: &[&Write], threads: &[Thread], catalog: &Catalog) -> Vec<Row> {
    let mut steps = Vec::new();
    let (mut first, mut last) = (Vec::new(), Vec::new());
    for write in writes {
        let Some((table, thread)) = catalog
            .tables
            .get(write.table)
            .zip(threads.get(write.thread))
        else {
            continue;
        };
        if !table.is_keyed() {
            first.extend(write.live.as_ref().map(|live| Row {
                table: write.table,
                action: Action::Delete,
                at: At::Ctid(live.ctid.clone()),
                set: Image::default(),
            }));
            last.extend(write.target.as_ref().map(|row| Row {
                table: write.table,
                action: Action::Insert,
                at: At::Nowhere,
                set: table.own(row),
            }));
            continue;
        }
        steps.extend(thread.steps.iter().filter_map(|step| {
            let at = step.after.as_ref().and_then(|after| table.key(after));
            let at = at.map_or(At::Nowhere, At::Key);
            let (action, set) = match (&step.before, &step.after) {
                (Some(before), Some(after)) => {
                    let columns = before.differing(after);
                    let set = table.own(before).restricted(|name| columns.contains(name));
                    (Action::Update, set)
                }
                (Some(before), None) => (Action::Insert, table.own(before)),
                (None, _) => (Action::Delete, Image::default()),
            };
            let row = Row {
                table: write.table,
                action,
                at,
                set,
            };
            let nothing = action == Action::Update && row.set.is_empty();
            (!nothing).then_some((step.position, row))
        }));
    }
    steps.sort_by_key(|(position, _)| std::cmp::Reverse(*position));
    let steps = steps.into_iter().map(|(_, row)| row);
    first.into_iter().chain(steps).chain(last).collect()
}

/// One row to write, and where it is.
#[derive(Clone)]
struct Row {
    table: usize,
    action: Action,
    at: At,
    set: Image,
}

#[derive(Clone)]
enum At {
    Nowhere,
    Key(Key),
    Ctid(String),
}

impl Row {
    fn of(write: &Write, catalog: &Catalog) -> Option<Self> {
        let table = catalog.tables.get(write.table)?;
        let at = write
            .live
            .as_ref()
            .map_or(At::Nowhere, |live| match table.key(&live.image) {
                Some(key) => At::Key(key),
                None => At::Ctid(live.ctid.clone()),
            });
        Some(Self {
            table: write.table,
            action: write.action,
            at,
            set: write.set.clone(),
        })
    }

    /// The row as an object: where it is under `k0` …, what to set under `v0` ….
    fn to_json(&self) -> String {
        let mut members: Vec<(String, String)> = Vec::new();
        match &self.at {
            At::Nowhere => {}
            At::Key(key) => {
                let values = key.iter().enumerate();
                members.extend(values.map(|(n, value)| (format!("k{n}"), value.to_string())));
            }
            At::Ctid(ctid) => members.push(("k0".to_owned(), format!("\"{ctid}\""))),
        }
        for (n, column) in self.set.columns().enumerate() {
            let value = self.set.get(column).unwrap_or("null");
            members.push((format!("v{n}"), value.to_owned()));
        }
        object(
            members
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str())),
        )
    }
}

/// Rows that one statement can write: of one table, the same way, with the same columns.
fn grouped(rows: &[Row]) -> Vec<Vec<Row>> {
    let mut groups: BTreeMap<_, Vec<Row>> = BTreeMap::new();
    for row in rows {
        let kind = match row.action {
            Action::Delete => 0,
            Action::Update => 1,
            Action::Insert => 2,
        };
        let columns: Vec<String> = row.set.columns().map(str::to_owned).collect();
        let group = groups.entry((kind, row.table, columns)).or_default();
        group.push(row.clone());
    }
    groups.into_values().collect()
}

/// One statement that writes all groups, and gives how many rows it wrote.
fn combined(groups: &[Vec<Row>], catalog: &Catalog) -> Statement {
    let mut parts = Vec::new();
    let mut counts = Vec::new();
    let mut binds = Vec::new();
    for rows in groups {
        let Some((row, table)) = rows
            .first()
            .and_then(|row| Some((row, catalog.tables.get(row.table)?)))
        else {
            continue;
        };
        binds.push(array(rows.iter().map(Row::to_json)));
        let name = format!("bemi_{}", binds.len());
        parts.push(format!("{name} AS ({})", write(row, table, binds.len())));
        counts.push(format!("(SELECT pg_catalog.count(*) FROM {name})"));
    }
    Statement {
        sql: format!(
            "WITH {} SELECT ({})::text AS line",
            parts.join(", "),
            counts.join(" + ")
        ),
        binds,
        rows: groups.iter().map(Vec::len).sum(),
        tables: groups.iter().flatten().map(|row| row.table).collect(),
    }
}

/// The statement that writes rows like `row`, which stand in parameter `bind`.
fn write(row: &Row, table: &Table, bind: usize) -> String {
    let names: Vec<&str> = row.set.columns().collect();
    let keys = match &row.at {
        At::Nowhere => Vec::new(),
        At::Key(_) => table.typed(table.primary_key()),
        At::Ctid(_) => vec![TypedColumn {
            name: "ctid".to_owned(),
            ty: "tid".to_owned(),
        }],
    };
    let mut columns = numbered("k", &keys);
    columns.extend(numbered("v", &table.typed(&names)));
    let values = record(bind, "bemi_new", &columns);
    let target = table.relation.only();
    let place: Vec<String> = keys
        .iter()
        .enumerate()
        .map(|(n, column)| format!("bemi_row.{} = bemi_new.k{n}", quoted(&column.name)))
        .collect();
    let place = place.join(" AND ");
    let value = |(n, name): (usize, &&str)| {
        let own = table.column(name);
        // A column that cannot be null holds the null of its own.
        match own.filter(|column| column.json && column.not_null) {
            Some(column) => format!("coalesce(bemi_new.v{n}, 'null'::{})", column.ty),
            None => format!("bemi_new.v{n}"),
        }
    };
    let new: Vec<String> = names.iter().enumerate().map(value).collect();
    let columns: Vec<String> = names.iter().map(|name| quoted(name)).collect();
    match row.action {
        Action::Delete => {
            format!("DELETE FROM {target} AS bemi_row USING {values} WHERE {place} RETURNING 1")
        }
        Action::Insert => {
            // An INSERT goes to the table itself, and so does not know ONLY.
            let target = table.relation.sql();
            let (columns, new) = (columns.join(", "), new.join(", "));
            format!(
                "INSERT INTO {target} ({columns}) OVERRIDING SYSTEM VALUE SELECT {new} FROM {values} RETURNING 1"
            )
        }
        Action::Update => {
            let set: Vec<String> = columns
                .iter()
                .zip(&new)
                .map(|(column, new)| format!("{column} = {new}"))
                .collect();
            let set = set.join(", ");
            format!("UPDATE {target} AS bemi_row SET {set} FROM {values} WHERE {place} RETURNING 1")
        }
    }
}

/// Columns under names of ours.
fn numbered(prefix: &str, columns: &[TypedColumn]) -> Vec<TypedColumn> {
    columns
        .iter()
        .enumerate()
        .map(|(n, column)| TypedColumn {
            name: format!("{prefix}{n}"),
            ty: column.ty.clone(),
        })
        .collect()
}

/// The objects of the array in parameter `bind` as rows of a FROM clause, numbered from 1.
fn record(bind: usize, alias: &str, columns: &[TypedColumn]) -> String {
    let typed: Vec<String> = columns
        .iter()
        .map(|column| format!("{} {}", column.name, column.ty))
        .collect();
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    format!(
        "ROWS FROM (pg_catalog.jsonb_to_recordset(${bind}::text::jsonb) AS ({})) WITH ORDINALITY AS {alias} ({}, bemi_n)",
        typed.join(", "),
        names.join(", ")
    )
}

fn array(elements: impl Iterator<Item = String>) -> String {
    format!("[{}]", elements.collect::<Vec<_>>().join(", "))
}

fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') {
        format!("E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}
