//! What the source's catalog says beyond the messages: primary keys and the structure of types.

use std::collections::{BTreeSet, HashMap};

use tokio_postgres::Row;
use tokio_postgres::types::{PgLsn, ToSql};

use crate::Lsn;
use crate::error::Error;
use crate::pgoutput::Relation;
use crate::postgres::Connection;
use crate::sink::store;
use crate::stitch::Description;
use crate::value::{ColumnType, builtin};

/// How deeply types may be nested (an array of a composite of a domain of …) before the rest is taken
/// as text.
const MAX_DEPTH: u32 = 32;

/// Describes `relation` as it is now.
///
/// The log may be behind: a table that has been dropped since has no primary key any more, and a type
/// that has gone is text.
pub(super) async fn describe(
    source: &Connection,
    relation: &Relation,
) -> Result<Description, Error> {
    let doing = "reading the source's catalog";
    let sql = format!(
        "SELECT {}, \
                EXISTS (SELECT FROM pg_publication_rel r WHERE r.prrelid = $1 AND to_jsonb(r) ->> 'prattrs' IS NOT NULL), \
                ARRAY(SELECT attname::text FROM pg_attribute WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped)",
        store::is_ours("$1")
    );
    let oid: [&(dyn ToSql + Sync); 1] = [&relation.id.0];
    let query = source.client.query_one(&sql, &oid);
    let row = source.answer(doing, query).await?;
    let live: Vec<String> = if row.get(1) { Vec::new() } else { row.get(2) };
    let query = source.client.query(
        "SELECT a.attname::text, \
                (SELECT count(*) FROM pg_attribute b WHERE b.attrelid = $1 AND b.attnum > 0 AND b.attnum < a.attnum \
                 AND NOT b.attisdropped AND b.attgenerated = ''), \
                (SELECT count(*) FROM pg_attribute b WHERE b.attrelid = $1 AND b.attnum > 0 AND b.attnum < a.attnum \
                 AND b.attisdropped) \
         FROM pg_index i, unnest(i.indkey) WITH ORDINALITY k (attnum, position) \
         JOIN pg_attribute a ON a.attrelid = $1 AND a.attnum = k.attnum \
         WHERE i.indrelid = $1 AND i.indisprimary AND k.position <= i.indnkeyatts ORDER BY k.position",
        &oid,
    );
    let key = source.answer(doing, query).await?;
    let primary_key = key.iter().map(|row| {
        let count = |column| usize::try_from(row.get::<_, i64>(column)).unwrap_or_default();
        KeyColumn {
            name: row.get(0),
            live_before: count(1),
            dropped_before: count(2),
        }
        .name_then(relation, &live)
    });
    let oids = relation.columns.iter().map(|column| column.type_oid);
    let reading = TypeDefinition::read(source, oids);
    let definitions = source.answer(doing, reading).await?;
    let types = definitions
        .keys()
        .map(|oid| (*oid, resolve(*oid, &definitions, 0)))
        .collect();
    Ok(Description {
        primary_key: primary_key.collect(),
        tracked: !row.get::<_, bool>(0),
        types,
    })
}

/// A column of the primary key as it is now.
struct KeyColumn {
    name: String,
    /// How many columns stand before it.
    live_before: usize,
    /// How many stood before it and have been dropped.
    dropped_before: usize,
}

impl KeyColumn {
    /// Its name in `relation`, which may be older than a renaming; `live` are the names of today.
    ///
    /// Columns keep their order for ever, so it stands behind as many as today, and behind at most those
    /// that have been dropped since. A name that nobody answers to leaves the key unknown.
    fn name_then(self, relation: &Relation, live: &[String]) -> String {
        let columns = &relation.columns;
        if columns.iter().any(|column| column.name == self.name) || live.is_empty() {
            return self.name;
        }
        let mut candidates = columns
            .iter()
            .skip(self.live_before)
            .take(self.dropped_before + 1)
            .filter(|column| !live.contains(&column.name));
        match (candidates.next(), candidates.next()) {
            (Some(only), None) => only.name.clone(),
            _ => self.name,
        }
    }
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
