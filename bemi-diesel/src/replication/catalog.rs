//! What the source's catalog says beyond the messages: primary keys and the structure of types.

use std::collections::{BTreeSet, HashMap};

use tokio_postgres::Row;

use crate::error::Error;
use crate::pgoutput::Relation;
use crate::postgres::Connection;
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
    let failed =
        |error: tokio_postgres::Error| source.error("reading the source's catalog", &error);
    let row = source
        .client
        .query_one(
            "SELECT ARRAY(SELECT a.attname::text FROM pg_index i, \
                          unnest(i.indkey) WITH ORDINALITY k (attnum, position) \
                          JOIN pg_attribute a ON a.attrelid = $1 AND a.attnum = k.attnum \
                          WHERE i.indrelid = $1 AND i.indisprimary AND k.position <= i.indnkeyatts \
                          ORDER BY k.position), \
                    coalesce(obj_description($1, 'pg_class'), '') LIKE 'bemi:%'",
            &[&relation.id.0],
        )
        .await
        .map_err(failed)?;
    let oids = relation.columns.iter().map(|column| column.type_oid);
    let definitions = TypeDefinition::read(source, oids).await.map_err(failed)?;
    let types = definitions
        .keys()
        .map(|oid| (*oid, resolve(*oid, &definitions, 0)))
        .collect();
    Ok(Description {
        primary_key: row.get(0),
        tracked: !row.get::<_, bool>(1),
        types,
    })
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
