//! What must be known of the tables that a revert writes to.

use serde::Deserialize;

use super::image::{Image, Key};

/// The tables of a revert, and the foreign keys from and to them.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    pub(super) tables: Vec<Table>,
    pub(super) foreign_keys: Vec<ForeignKey>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Table {
    pub(super) relation: Relation,
    /// The partitioned table that it is a partition of, or itself.
    root: u32,
    pub(super) columns: Vec<Column>,
    /// Its unique indexes of plain columns.
    pub(super) uniques: Vec<Unique>,
}

/// A relation as statements name it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
pub(super) struct Relation {
    pub(super) oid: u32,
    pub(super) schema: String,
    pub(super) name: String,
    /// `r` for a table, `p` for a partitioned one.
    kind: String,
}

#[derive(Debug, Deserialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are independent, as in the catalog"
)]
pub(super) struct Column {
    pub(super) name: String,
    /// The type as SQL writes it.
    #[serde(rename = "type")]
    pub(super) ty: String,
    pub(super) not_null: bool,
    pub(super) has_default: bool,
    pub(super) generated: bool,
    /// `GENERATED ALWAYS AS IDENTITY`: an UPDATE cannot set it.
    pub(super) always: bool,
    /// A type that has a null of its own.
    pub(super) json: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct Unique {
    pub(super) name: String,
    pub(super) primary: bool,
    pub(super) deferrable: bool,
    /// Whether it is a constraint, and not only an index.
    pub(super) constraint: bool,
    pub(super) columns: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ForeignKey {
    pub(super) name: String,
    pub(super) deferrable: bool,
    pub(super) initially_deferred: bool,
    /// What a DELETE of the parent, and an UPDATE of its key, do: `a` for nothing.
    on_delete: String,
    on_update: String,
    pub(super) child: End,
    pub(super) parent: End,
}

/// One side of a foreign key.
#[derive(Debug, Deserialize)]
pub(super) struct End {
    pub(super) relation: Relation,
    pub(super) columns: Vec<TypedColumn>,
}

/// A column and its type as SQL writes it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
pub(super) struct TypedColumn {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) ty: String,
}

impl AsRef<str> for TypedColumn {
    fn as_ref(&self) -> &str {
        &self.name
    }
}

impl Catalog {
    /// The place of a table, if it is still there.
    pub(super) fn find(&self, schema: &str, name: &str) -> Option<usize> {
        self.tables
            .iter()
            .position(|table| table.relation.schema == schema && table.relation.name == name)
    }
}

impl Table {
    pub(super) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The columns that are compared and written: those of `image` that the table still has and does
    /// not compute.
    pub(super) fn own(&self, image: &Image) -> Image {
        image.restricted(|name| self.column(name).is_some_and(|column| !column.generated))
    }

    /// The primary key's columns; empty if there is none.
    pub(super) fn primary_key(&self) -> &[String] {
        let key = self.uniques.iter().find(|unique| unique.primary);
        key.map_or(&[], |unique| &unique.columns)
    }

    /// The row's key; `None` if the table has none, or the image does not tell it.
    pub(super) fn key(&self, image: &Image) -> Option<Key> {
        match self.primary_key() {
            [] => None,
            columns => image.key(columns),
        }
    }

    pub(super) fn is_keyed(&self) -> bool {
        !self.primary_key().is_empty()
    }

    /// Columns with their types; names that are not there are passed over.
    pub(super) fn typed(&self, names: &[impl AsRef<str>]) -> Vec<TypedColumn> {
        let column = |name: &str| self.column(name);
        names
            .iter()
            .filter_map(|name| column(name.as_ref()))
            .map(|column| TypedColumn {
                name: column.name.clone(),
                ty: column.ty.clone(),
            })
            .collect()
    }

    /// Whether the foreign key's `end` is this table, or the partitioned one that it belongs to.
    pub(super) fn is(&self, end: &End) -> bool {
        [self.relation.oid, self.root].contains(&end.relation.oid)
    }
}

impl Relation {
    /// The quoted name.
    pub(super) fn sql(&self) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&self.name))
    }

    /// The quoted name in a FROM clause or as a target: without the tables that inherit from it, which
    /// have changes of their own; but a partitioned table has no rows besides its partitions'.
    pub(super) fn only(&self) -> String {
        let only = if self.kind == "p" { "" } else { "ONLY " };
        format!("{only}{}", self.sql())
    }
}

/// `name` as SQL writes an identifier.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl ForeignKey {
    /// Whether a parent may go before its children do, as the constraint looks only at the end. What a
    /// constraint does to the children, it does at once.
    pub(super) fn parent_may_go_first(&self) -> bool {
        self.deferrable && self.on_delete == "a" && self.on_update == "a"
    }
}

/// The document of each table whose schema and name stand in `$1`, an array of pairs.
pub(super) const TABLES: &str = "\
SELECT pg_catalog.json_build_object('relation', pg_catalog.json_build_object('oid', c.oid::int8, 'schema', n.nspname, \
'name', c.relname, 'kind', c.relkind), 'root', coalesce(pg_catalog.pg_partition_root(c.oid)::oid, c.oid)::int8, \
'columns', coalesce((SELECT pg_catalog.json_agg(pg_catalog.json_build_object('name', a.attname, \
'type', pg_catalog.format_type(a.atttypid, a.atttypmod), 'not_null', a.attnotnull, 'has_default', a.atthasdef OR a.attidentity <> '', \
'generated', a.attgenerated <> '', 'always', a.attidentity = 'a', 'json', a.atttypid IN (114, 3802)) ORDER BY a.attnum) \
FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), '[]'), \
'uniques', coalesce((SELECT pg_catalog.json_agg(pg_catalog.json_build_object('name', i.relname, 'primary', x.indisprimary, \
'deferrable', NOT x.indimmediate, 'constraint', EXISTS (SELECT FROM pg_catalog.pg_constraint WHERE conindid = i.oid AND conrelid = c.oid), \
'columns', (SELECT pg_catalog.json_agg(a.attname ORDER BY k.place) \
FROM pg_catalog.unnest(x.indkey::int2[]) WITH ORDINALITY k (attnum, place) \
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum WHERE k.place <= x.indnkeyatts))) \
FROM pg_catalog.pg_index x JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid \
WHERE x.indrelid = c.oid AND x.indisunique AND x.indisvalid AND x.indexprs IS NULL), '[]'))::text AS line \
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
WHERE c.relkind IN ('r', 'p') AND EXISTS (SELECT FROM pg_catalog.json_array_elements($1::text::json) w \
WHERE w->>0 = n.nspname AND w->>1 = c.relname) ORDER BY c.oid";

/// The document of each foreign key from or to one of the tables whose identifiers stand in `$1`, or to
/// the partitioned tables above them.
pub(super) const FOREIGN_KEYS: &str = "\
WITH involved AS (SELECT w::text::oid AS oid FROM pg_catalog.json_array_elements($1::text::json) w \
UNION SELECT pg_catalog.pg_partition_root(w::text::oid)::oid FROM pg_catalog.json_array_elements($1::text::json) w), \
ends AS (SELECT k.oid AS fk, e.child, pg_catalog.json_build_object('relation', pg_catalog.json_build_object('oid', c.oid::int8, \
'schema', n.nspname, 'name', c.relname, 'kind', c.relkind), 'columns', (SELECT pg_catalog.json_agg(pg_catalog.json_build_object( \
'name', a.attname, 'type', pg_catalog.format_type(a.atttypid, a.atttypmod)) ORDER BY p.place) \
FROM pg_catalog.unnest(e.columns) WITH ORDINALITY p (attnum, place) \
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = p.attnum)) AS document \
FROM pg_catalog.pg_constraint k, LATERAL (VALUES (true, k.conrelid, k.conkey), (false, k.confrelid, k.confkey)) e (child, relation, columns) \
JOIN pg_catalog.pg_class c ON c.oid = e.relation JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
WHERE k.contype = 'f' AND k.conparentid = 0 AND (k.conrelid IN (SELECT oid FROM involved) OR k.confrelid IN (SELECT oid FROM involved))) \
SELECT pg_catalog.json_build_object('name', k.conname, 'deferrable', k.condeferrable, 'initially_deferred', k.condeferred, \
'on_delete', k.confdeltype, 'on_update', k.confupdtype, 'child', a.document, 'parent', b.document)::text AS line \
FROM pg_catalog.pg_constraint k JOIN ends a ON a.fk = k.oid AND a.child JOIN ends b ON b.fk = k.oid AND NOT b.child ORDER BY k.oid";
