//! The trail against the truth.

use std::collections::{BTreeMap, HashMap};

use bemi_diesel::JsonObject;
use serde_json::Value;

use crate::base::Restores;
use crate::source::{literal, quote};
use crate::world::{Table, World};

/// A row's columns, each as the text of its JSON, so that numbers are compared digit by digit.
type Image = BTreeMap<String, String>;

/// A row of the truth or of the trail.
struct Entry {
    xid: i64,
    table: String,
    operation: String,
    key: Option<String>,
    before: Image,
    after: Image,
    context: Option<String>,
}

/// What only the truth knows.
struct True {
    entry: Entry,
    full: bool,
    same: bool,
    new_key: bool,
    /// After an update, with `json` as it was written.
    written: Image,
}

fn image(json: &str) -> Image {
    let object: JsonObject = json.parse().unwrap();
    let members = object.members().unwrap();
    members
        .into_iter()
        .map(|(name, value)| (name, value.get().to_owned()))
        .collect()
}

fn groups<T>(entries: Vec<T>, of: impl Fn(&T) -> (i64, String)) -> BTreeMap<(i64, String), Vec<T>> {
    let mut groups = BTreeMap::<_, Vec<T>>::new();
    for entry in entries {
        groups.entry(of(&entry)).or_default().push(entry);
    }
    groups
}

/// Whether the trail tells the truth, and how many changes it has.
pub(crate) fn check(world: &mut World<'_>) -> Result<usize, String> {
    world.source.caught_up();
    let (truth, trail) = (truth(world), trail(world));
    let mut changes = 0;
    for table in 0..world.tables.len() {
        let folded = fold(&world.tables[table], &trail)?;
        live(world, table, &folded)?;
        restored(world, table, &folded)?;
    }
    let mut trail = groups(trail, |entry| (entry.xid, entry.table.clone()));
    for ((xid, table), truth) in groups(truth, |row| (row.entry.xid, row.entry.table.clone())) {
        let found = trail.remove(&(xid, table.clone())).unwrap_or_default();
        let expected: Vec<True> = truth
            .into_iter()
            .filter(|row| !(row.same && row.full))
            .collect();
        let said = |what: &str| format!("{table}, transaction {xid}: {what}");
        if found.len() != expected.len() {
            let operations: Vec<_> = found.iter().map(|entry| &entry.operation).collect();
            return Err(said(&format!(
                "{} changes where there were {}: {operations:?}",
                found.len(),
                expected.len()
            )));
        }
        changes += found.len();
        for (found, expected) in found.iter().zip(&expected) {
            let columns = world
                .tables
                .iter()
                .find(|own| own.was_called(&table))
                .unwrap()
                .key_columns
                .as_slice();
            compare(found, expected, columns).map_err(|what| said(&what))?;
        }
    }
    match trail.keys().next() {
        Some(invented) => Err(format!("changes that nobody made: {invented:?}")),
        None => Ok(changes),
    }
}

fn truth(world: &mut World<'_>) -> Vec<True> {
    // The first context of a transaction is that of the rows before it.
    let sql = "SELECT xid, \"table\", operation, coalesce(key, old_key), before::text, after::text, \
                      coalesce(context, (SELECT c.context FROM truth.context c WHERE c.xid = r.xid ORDER BY seq LIMIT 1), '{}')::text, \
                      identity = 'f', same, key IS DISTINCT FROM old_key, coalesce(written, '{}')::text \
               FROM truth.row r WHERE schema = $1 ORDER BY seq";
    let rows = world
        .source
        .client
        .query(sql, &[&world.types.schema])
        .unwrap();
    rows.iter()
        .map(|row| True {
            entry: entry(row),
            full: row.get(7),
            same: row.get(8),
            new_key: row.get(9),
            written: image(row.get(10)),
        })
        .collect()
}

fn trail(world: &mut World<'_>) -> Vec<Entry> {
    let sql = "SELECT transaction_id, \"table\", CASE operation WHEN 'CREATE' THEN 'INSERT' ELSE operation END, \
                      primary_key, before::text, after::text, context::text \
               FROM changes WHERE schema = $1 ORDER BY commit_lsn, ordinal";
    let rows = world
        .source
        .trail
        .query(sql, &[&world.types.schema])
        .unwrap();
    rows.iter().map(entry).collect()
}

fn entry(row: &postgres::Row) -> Entry {
    Entry {
        xid: row.get(0),
        table: row.get(1),
        operation: row.get(2),
        key: row.get(3),
        before: image(row.get(4)),
        after: image(row.get(5)),
        context: row.get(6),
    }
}

fn compare(found: &Entry, truth: &True, key_columns: &[&str]) -> Result<(), String> {
    let expected = &truth.entry;
    let differ = |what: &str, found: &dyn std::fmt::Debug, expected: &dyn std::fmt::Debug| {
        Err(format!(
            "{} {what}: {found:?} in place of {expected:?}",
            expected_operation(expected, truth)
        ))
    };
    if found.operation != expected.operation {
        return differ("operation", &found.operation, &expected.operation);
    }
    if found.context != expected.context {
        return differ("context", &found.context, &expected.context);
    }
    let key = |key: &Option<String>| match key {
        Some(key) if key_columns.len() > 1 => serde_json::from_str(key).unwrap(),
        Some(key) => Value::from(key.as_str()),
        None => Value::Null,
    };
    if key(&found.key) != key(&expected.key) {
        return differ("key", &found.key, &expected.key);
    }
    let mut before = expected.before.clone();
    let mut after = expected.after.clone();
    if !truth.full {
        before.retain(|name, _| {
            key_columns.contains(&name.as_str())
                && (expected.operation == "DELETE" || truth.new_key)
        });
        // A large value that was left alone is not told. How large it is stored, `jsonb` does not say.
        after.retain(|name, value| {
            let left_alone = expected.before.get(name) == Some(value);
            let large = truth.written.get(name).is_some_and(|json| json.len() > 400);
            found.after.contains_key(name) || !(left_alone && large)
        });
    }
    for (side, found, expected) in [
        ("before", &found.before, before),
        ("after", &found.after, after),
    ] {
        for name in found.keys().chain(expected.keys()) {
            if found.get(name) != expected.get(name) {
                return differ(
                    &format!("{side}, {name:?}"),
                    &found.get(name),
                    &expected.get(name),
                );
            }
        }
    }
    Ok(())
}

fn expected_operation<'a>(_: &dyn std::fmt::Debug, truth: &'a True) -> &'a str {
    &truth.entry.operation
}

/// The rows that the changes of a table make, without the columns that were altered: DDL is not in the
/// trail.
fn fold(table: &Table, trail: &[Entry]) -> Result<Vec<Image>, String> {
    let mut rows: HashMap<&str, Vec<Image>> = HashMap::new();
    let lasting = |image: &Image| -> Image {
        let lasting = image
            .iter()
            .filter(|(name, _)| !table.altered.contains(*name));
        lasting
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    };
    for entry in trail.iter().filter(|entry| table.was_called(&entry.table)) {
        let place = if table.partitions.is_empty() {
            table.name()
        } else {
            &entry.table
        };
        let rows = rows.entry(place).or_default();
        let (before, after) = (lasting(&entry.before), lasting(&entry.after));
        let mut take = || {
            let by: Image = if before.is_empty() {
                let key = after
                    .iter()
                    .filter(|(name, _)| table.key_columns.contains(&name.as_str()));
                key.map(|(name, value)| (name.clone(), value.clone()))
                    .collect()
            } else {
                before.clone()
            };
            let matches = |row: &Image| by.iter().all(|(name, value)| row.get(name) == Some(value));
            let at = rows
                .iter()
                .position(matches)
                .ok_or_else(|| format!("{} of a row that is not there: {by:?}", entry.operation))?;
            Ok::<_, String>(rows.swap_remove(at))
        };
        match entry.operation.as_str() {
            "INSERT" => rows.push(after),
            "UPDATE" => {
                let mut row = take()?;
                row.extend(after);
                rows.push(row);
            }
            "DELETE" => {
                take()?;
            }
            "TRUNCATE" => rows.clear(),
            other => return Err(format!("an operation {other}")),
        }
    }
    let mut rows: Vec<Image> = rows.into_values().flatten().collect();
    rows.sort();
    Ok(rows)
}

/// The folded changes are the live table.
fn live(world: &mut World<'_>, table: usize, folded: &[Image]) -> Result<(), String> {
    const SETTINGS: &str = "SET timezone = 'UTC'; SET datestyle = 'ISO'; SET intervalstyle = 'postgres'; \
                            SET extra_float_digits = 1; SET bytea_output = 'hex'";
    world.source.client.batch_execute(SETTINGS).unwrap();
    let name = world.qualified(world.tables[table].name());
    let sql = format!("SELECT ({})::text FROM {name} t", world.image(table, "t"));
    let rows = world.source.client.query(&sql, &[]).unwrap();
    let mut live: Vec<Image> = rows.iter().map(|row| image(row.get(0))).collect();
    for row in &mut live {
        row.retain(|name, _| !world.tables[table].altered.contains(name));
    }
    live.sort();
    if live == folded {
        Ok(())
    } else {
        Err(format!(
            "folding the changes of {name} gives {folded:?} in place of {live:?}"
        ))
    }
}

/// `jsonb_populate_record` makes the live rows of the trail's images.
fn restored(world: &mut World<'_>, table: usize, folded: &[Image]) -> Result<(), String> {
    let own = &world.tables[table];
    let name = world.qualified(own.name());
    let mut columns: Vec<String> = own
        .key_columns
        .iter()
        .map(|column| format!("{}::text", quote(column)))
        .collect();
    let mut unreadable = Vec::new();
    for column in own
        .columns
        .iter()
        .filter(|column| !own.altered.contains(&column.name))
    {
        let name = quote(&column.name);
        match world.types.restores(&column.ty) {
            Restores::Exactly => columns.push(format!("{name}::text")),
            Restores::NumberWithoutSignOfZero => columns.push(format!("({name} + 0)::text")),
            Restores::SameJson
                if world.types.documented(&column.ty) == crate::types::Documented::Value =>
            {
                columns.push(format!("nullif(to_jsonb({name}), 'null')::text"));
            }
            Restores::SameJson => {}
            Restores::Nothing => unreadable.push(column.name.clone()),
        }
    }
    let fingerprint = format!("jsonb_build_array({})::text", columns.join(", "));
    let mut rows = |from: &str| {
        let sql = format!("SELECT {fingerprint} FROM {from} ORDER BY 1");
        let rows = world
            .source
            .client
            .query(&sql, &[])
            .map_err(|error| format!("{sql}: {error:?}"))?;
        Ok::<Vec<String>, String>(rows.iter().map(|row| row.get(0)).collect())
    };
    let images: Vec<String> = folded
        .iter()
        .map(|row| {
            let readable = row.iter().filter(|(name, _)| !unreadable.contains(name));
            let members: Vec<String> = readable
                .map(|(name, value)| format!("{}:{value}", Value::from(name.as_str())))
                .collect();
            format!("{{{}}}", members.join(","))
        })
        .collect();
    let images = literal(&format!("[{}]", images.join(",")));
    let restored = rows(&format!(
        "jsonb_populate_recordset(NULL::{name}, {images}::jsonb)"
    ))?;
    let live = rows(&name)?;
    if restored == live {
        Ok(())
    } else {
        Err(format!(
            "{name} is restored as {restored:?} in place of {live:?}"
        ))
    }
}
