//! What the source's catalog says beyond the messages: primary keys and the structure of types.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use tokio_postgres::Row;
use tokio_postgres::types::{PgLsn, ToSql};

use crate::error::Error;
use crate::pgoutput::{Relation, RelationId};
use crate::postgres::Connection;
use crate::sink::store;
use crate::stitch::Description;
use crate::value::{ColumnType, builtin};
use crate::{Lsn, Xid};

/// How deeply types may be nested (an array of a composite of a domain of …) before the rest is taken
/// as text.
const MAX_DEPTH: u32 = 32;

/// How often and how long to wait for a commit to be seen.
const UNSEEN_CHECKS: u32 = 200;
const UNSEEN_INTERVAL: Duration = Duration::from_millis(5);

/// Waits until others see what the transaction `xid` did: its commit can be sent before. A commit that
/// waits for synchronous standbys may wait for us, so there is an end to it.
pub(super) async fn seen(source: &Connection, xid: Xid) -> Result<(), Error> {
    let sql = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'transactionid' AND granted \
               AND mode = 'ExclusiveLock' AND transactionid = $1::text::xid)";
    let number = xid.to_string();
    let binds: [&(dyn ToSql + Sync); 1] = [&number];
    for _ in 0..UNSEEN_CHECKS {
        let query = source.client.query_one(sql, &binds);
        let row = source
            .answer("waiting for a transaction to be seen", query)
            .await?;
        if !row.get::<_, bool>(0) {
            break;
        }
        tokio::time::sleep(UNSEEN_INTERVAL).await;
    }
    Ok(())
}

/// Describes `relation` as it is now.
///
/// The log may be behind: a table that has been dropped since has no primary key any more, and a type
/// that has gone is text.
pub(super) async fn describe(
    source: &Connection,
    relation: &Relation,
) -> Result<Description, Error> {
    let doing = "reading the source's catalog";
    let oid: [&(dyn ToSql + Sync); 1] = [&relation.id.0];
    let sql = format!(
        "SELECT {}, \
                EXISTS (SELECT FROM pg_publication_rel r WHERE r.prrelid = $1 AND to_jsonb(r) ->> 'prattrs' IS NOT NULL), \
                ARRAY(SELECT a.attname::text FROM pg_index i, unnest(i.indkey) WITH ORDINALITY k (attnum, position) \
                      JOIN pg_attribute a ON a.attrelid = $1 AND a.attnum = k.attnum \
                      WHERE i.indrelid = $1 AND i.indisprimary AND k.position <= i.indnkeyatts ORDER BY k.position)",
        store::is_ours("$1")
    );
    let query = source.client.query_one(&sql, &oid);
    let row = source.answer(doing, query).await?;
    let (ours, some_columns, key): (bool, bool, Vec<String>) = (row.get(0), row.get(1), row.get(2));
    // Generated columns are sent only by publications that say so, from PostgreSQL 18 on.
    let names: Vec<&str> = relation
        .columns
        .iter()
        .map(|column| &*column.name)
        .collect();
    let published: [&(dyn ToSql + Sync); 2] = [&relation.id.0, &names];
    let query = source.client.query(
        "SELECT attname::text, attisdropped FROM pg_attribute \
         WHERE attrelid = $1 AND attnum > 0 AND (attgenerated = '' OR attname = ANY ($2)) ORDER BY attnum",
        &published,
    );
    let rows = source.answer(doing, query).await?;
    let attributes: Vec<Attribute> = rows.iter().map(Attribute::from_row).collect();
    // Which columns were published then is not known.
    let attributes = if some_columns { &[] } else { &*attributes };
    let oids = relation.columns.iter().map(|column| column.type_oid);
    let definitions = source
        .answer(doing, TypeDefinition::read(source, oids))
        .await?;
    let types = definitions
        .keys()
        .map(|oid| (*oid, resolve(*oid, &definitions, 0)))
        .collect();
    Ok(Description {
        primary_key: key
            .into_iter()
            .map(|name| name_then(&name, relation, attributes).unwrap_or(name))
            .collect(),
        tracked: !ours,
        types,
    })
}

/// A table as the catalog has it.
pub(super) struct Named {
    pub(super) schema: String,
    pub(super) name: String,
    /// It is one of bemi's own.
    pub(super) ours: bool,
}

/// The table with this identifier; `None` if it has been dropped since.
pub(super) async fn name(source: &Connection, id: RelationId) -> Result<Option<Named>, Error> {
    let oid: [&(dyn ToSql + Sync); 1] = [&id.0];
    let sql = format!(
        "SELECT nspname::text, relname::text, {} FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace \
         WHERE pg_class.oid = $1",
        store::is_ours("$1")
    );
    let query = source.client.query_opt(&sql, &oid);
    let row = source.answer("reading the source's catalog", query).await?;
    Ok(row.map(|row| Named {
        schema: row.get(0),
        name: row.get(1),
        ours: row.get(2),
    }))
}

/// Whether one of the relation's types can be altered without a word in the log: a composite.
pub(super) fn is_composed(description: &Description) -> bool {
    description.types.values().any(ColumnType::is_composed)
}

/// A row of `pg_attribute`. Columns keep their order for ever, the dropped ones their place.
#[derive(Clone, Debug)]
struct Attribute {
    name: String,
    dropped: bool,
}

impl Attribute {
    fn from_row(row: &Row) -> Self {
        Self {
            name: row.get(0),
            dropped: row.get(1),
        }
    }
}

/// The name in `relation`, which may be older than a renaming, of the column that is called `name` now.
/// `None` if it cannot be told from a column that has been dropped since.
fn name_then(name: &str, relation: &Relation, attributes: &[Attribute]) -> Option<String> {
    let then: Vec<&str> = relation
        .columns
        .iter()
        .map(|column| &*column.name)
        .collect();
    let place_then = |attribute: &Attribute| {
        let place = then.iter().position(|then| *then == attribute.name)?;
        (!attribute.dropped).then_some(place)
    };
    if then.contains(&name) {
        return Some(name.to_owned());
    }
    let at = attributes.iter().position(|now| now.name == name)?;
    let (before, after) = (attributes.get(..at)?, attributes.get(at + 1..)?);
    // The columns between those that are called the same are the same ones, then and now, except that
    // some of the dropped ones had been dropped before.
    let left = before.iter().rposition(|now| place_then(now).is_some());
    let right = after.iter().position(|now| place_then(now).is_some());
    let begin = left
        .and_then(|left| place_then(&before[left]))
        .map_or(0, |place| place + 1);
    let end = right
        .and_then(|right| place_then(&after[right]))
        .unwrap_or(then.len());
    let between = then.get(begin..end)?;
    let before = before.get(left.map_or(0, |left| left + 1)..)?;
    let after = after.get(..right.unwrap_or(after.len()))?;
    let live = |attributes: &[Attribute]| attributes.iter().filter(|now| !now.dropped).count();
    let place = if between.len() == before.len() + 1 + after.len() || live(before) == before.len() {
        before.len()
    } else if right.is_some() && between.len() == live(before) + 1 + live(after) {
        live(before)
    } else {
        return None;
    };
    between.get(place).map(|name| (*name).to_owned())
}

/// A walsender, as the server sees it.
pub(super) struct Walsender {
    /// It has nothing more to send now.
    pub(super) idle: bool,
    /// How far it has sent the log.
    pub(super) sent: Lsn,
}

/// The walsender that serves `slot`; `None` if there is none.
pub(super) async fn walsender(source: &Connection, slot: &str) -> Result<Option<Walsender>, Error> {
    let slot: [&(dyn ToSql + Sync); 1] = [&slot];
    let query = source.client.query_opt(
        "SELECT coalesce(lower(a.wait_event) IN ('walsendermain', 'walsenderwaitforwal'), false), \
                coalesce(r.sent_lsn, '0/0') \
         FROM pg_replication_slots s JOIN pg_stat_activity a ON a.pid = s.active_pid \
         LEFT JOIN pg_stat_replication r ON r.pid = s.active_pid WHERE s.slot_name = $1",
        &slot,
    );
    let row = source.answer("asking for the walsender", query).await?;
    Ok(row.map(|row| Walsender {
        idle: row.get(0),
        sent: Lsn::new(row.get::<_, PgLsn>(1).into()),
    }))
}

/// A row of `pg_type`, as far as it matters for a value's text form.
enum TypeDefinition {
    Domain { base: u32 },
    Array { element: u32, delimiter: char },
    Composite { fields: Vec<(String, u32)> },
    Text,
}

impl TypeDefinition {
    /// The definitions of `oids` and of everything that they are made of, builtin types excepted.
    async fn read(
        source: &Connection,
        oids: impl IntoIterator<Item = u32>,
    ) -> Result<HashMap<u32, Self>, tokio_postgres::Error> {
        let mut definitions = HashMap::new();
        let mut wanted: BTreeSet<u32> = oids
            .into_iter()
            .filter(|oid| builtin(*oid).is_none())
            .collect();
        while !wanted.is_empty() {
            let batch: Vec<u32> = wanted.iter().copied().collect();
            let rows = source
                .client
                .query(
                    "SELECT t.oid, t.typtype::text, t.typbasetype, \
                            CASE WHEN t.typsubscript = 'array_subscript_handler'::regproc THEN t.typelem ELSE 0 END, \
                            t.typdelim::text, \
                            ARRAY(SELECT attname::text FROM pg_attribute WHERE attrelid = t.typrelid \
                                  AND attnum > 0 AND NOT attisdropped ORDER BY attnum), \
                            ARRAY(SELECT atttypid FROM pg_attribute WHERE attrelid = t.typrelid \
                                  AND attnum > 0 AND NOT attisdropped ORDER BY attnum) \
                     FROM pg_type t WHERE t.oid = ANY ($1)",
                    &[&batch],
                )
                .await?;
            // What has no row any more is text; without an entry it would be asked for again for ever.
            definitions.extend(batch.into_iter().map(|oid| (oid, Self::Text)));
            definitions.extend(rows.iter().map(|row| (row.get(0), Self::from_row(row))));
            wanted = definitions
                .values()
                .flat_map(Self::parts)
                .filter(|oid| builtin(*oid).is_none() && !definitions.contains_key(oid))
                .collect();
        }
        Ok(definitions)
    }

    fn from_row(row: &Row) -> Self {
        let (kind, element): (String, u32) = (row.get(1), row.get(3));
        match (&*kind, element) {
            ("d", _) => Self::Domain { base: row.get(2) },
            ("c", _) => {
                let (names, types): (Vec<String>, Vec<u32>) = (row.get(5), row.get(6));
                Self::Composite {
                    fields: names.into_iter().zip(types).collect(),
                }
            }
            ("b", 1..) => Self::Array {
                element,
                delimiter: row.get::<_, String>(4).chars().next().unwrap_or(','),
            },
            _ => Self::Text,
        }
    }

    fn parts(&self) -> Vec<u32> {
        match self {
            Self::Domain { base } => vec![*base],
            Self::Array { element, .. } => vec![*element],
            Self::Composite { fields } => fields.iter().map(|(_, oid)| *oid).collect(),
            Self::Text => Vec::new(),
        }
    }
}

fn resolve(oid: u32, definitions: &HashMap<u32, TypeDefinition>, depth: u32) -> ColumnType {
    if let Some(builtin) = builtin(oid) {
        return builtin;
    }
    let part = |oid: u32| resolve(oid, definitions, depth + 1);
    match definitions.get(&oid) {
        Some(_) if depth >= MAX_DEPTH => ColumnType::text(),
        Some(TypeDefinition::Domain { base }) => part(*base),
        Some(TypeDefinition::Array { element, delimiter }) => {
            ColumnType::array(part(*element), *delimiter)
        }
        Some(TypeDefinition::Composite { fields }) => ColumnType::composite(
            fields
                .iter()
                .map(|(name, oid)| (name.clone(), part(*oid)))
                .collect(),
        ),
        Some(TypeDefinition::Text) | None => ColumnType::text(),
    }
}

#[cfg(test)]
mod tests;
