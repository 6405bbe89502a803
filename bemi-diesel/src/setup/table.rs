//! The source's tables, and what cannot be tracked.

use tokio_postgres::Row;

use super::selection::Tables;
use crate::error::{Error, quote_identifier};
use crate::postgres::Connection;
use crate::sink::store;

/// Something that has rows, and which of the selection's patterns mean it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Relation {
    pub(crate) kind: Kind,
    pub(crate) table: Table,
    pub(crate) matched: Vec<bool>,
}

/// What it is to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A table with a log of its own.
    Table,
    /// A partitioned table: its partitions have the rows.
    Partitioned,
    Unlogged,
    Temporary,
    Foreign,
    View,
    MaterializedView,
}

impl Kind {
    /// What cannot be tracked.
    pub(crate) const UNTRACKABLE: [Self; 5] = [
        Self::Unlogged,
        Self::Temporary,
        Self::Foreign,
        Self::View,
        Self::MaterializedView,
    ];

    fn new(kind: &str, persistence: &str) -> Self {
        match (kind, persistence) {
            ("v", _) => Self::View,
            ("m", _) => Self::MaterializedView,
            ("f", _) => Self::Foreign,
            (_, "t") => Self::Temporary,
            ("p", _) => Self::Partitioned,
            (_, "u") => Self::Unlogged,
            _ => Self::Table,
        }
    }

    /// What it is called.
    fn noun(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Partitioned => "partitioned table",
            Self::Unlogged => "unlogged table",
            Self::Temporary => "temporary table",
            Self::Foreign => "foreign table",
            Self::View => "view",
            Self::MaterializedView => "materialized view",
        }
    }

    /// Why there is nothing to track.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Table | Self::Partitioned => "they are tracked",
            Self::Unlogged => "the rows of unlogged tables are in no log",
            Self::Temporary => "the rows of temporary tables are in no log",
            Self::Foreign => "the rows of foreign tables are in another server's log",
            Self::View => "views have no rows of their own",
            Self::MaterializedView => "materialized views have only copies of other tables' rows",
        }
    }
}

impl Relation {
    /// Everything with rows that is neither the system's nor ours, in order of name.
    pub(crate) async fn read_all(source: &Connection, tables: &Tables) -> Result<Vec<Self>, Error> {
        let matched: Vec<String> = tables
            .patterns()
            .map(|pattern| pattern.matches("c.oid"))
            .collect();
        let sql = format!(
            "SELECT c.oid, n.nspname::text, c.relname::text, \
                        ARRAY(SELECT a.oid::oid FROM pg_partition_ancestors(c.oid) WITH ORDINALITY a (oid, n) \
                              WHERE a.oid <> c.oid ORDER BY n), \
                        c.relreplident::text, pg_has_role(current_user, c.relowner, 'USAGE'), \
                        EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary), \
                        ARRAY(SELECT DISTINCT a.attgenerated::text FROM pg_attribute a \
                              WHERE a.attrelid = c.oid AND a.attgenerated <> '' AND NOT a.attisdropped), \
                        c.relkind::text, c.relpersistence::text, ARRAY[{}]::bool[] \
                 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                 WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm') \
                   AND (n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' OR c.relpersistence = 't') \
                   AND NOT {} \
                 ORDER BY n.nspname, c.relname",
            matched.join(", "),
            store::is_ours("c.oid")
        );
        let rows = source
            .client
            .query(&sql, &[])
            .await
            .map_err(|error| source.error("listing the tables", &error))?;
        Ok(rows.iter().map(Self::from_row).collect())
    }

    fn from_row(row: &Row) -> Self {
        let (kind, persistence): (String, String) = (row.get(8), row.get(9));
        Self {
            kind: Kind::new(&kind, &persistence),
            table: Table {
                oid: row.get(0),
                schema: row.get(1),
                name: row.get(2),
                ancestors: row.get(3),
                identity: row.get(4),
                owned: row.get(5),
                is_partitioned: kind == "p",
                has_primary_key: row.get(6),
                generated: row.get(7),
                condition: None,
            },
            matched: row.get(10),
        }
    }

    /// Whether it has no log of its own.
    pub(crate) fn is_untrackable(&self) -> bool {
        Kind::UNTRACKABLE.contains(&self.kind)
    }

    /// What it is, with its name.
    pub(crate) fn described(&self) -> String {
        format!("{} is a {}", self.table.full_name(), self.kind.noun())
    }
}

/// A table that can be tracked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) oid: u32,
    schema: String,
    name: String,
    /// The partitioned tables above it, from the nearest up.
    pub(crate) ancestors: Vec<u32>,
    identity: String,
    /// The kinds of its generated columns: `s` stored, `v` virtual, which no log has.
    generated: Vec<String>,
    pub(crate) owned: bool,
    /// Its partitions have its rows.
    pub(crate) is_partitioned: bool,
    pub(crate) has_primary_key: bool,
    /// The rows to track, where it is not all.
    pub(crate) condition: Option<String>,
}

/// What a tracked table's `REPLICA IDENTITY` is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// `FULL`: the log has the whole row before.
    Full,
    /// The primary key. Where a table has virtual generated columns, PostgreSQL refuses the application's
    /// UPDATE and DELETE under `FULL`.
    PrimaryKey,
}

impl Identity {
    /// As SQL writes it.
    pub(crate) fn sql(self) -> &'static str {
        match self {
            Self::Full => "FULL",
            Self::PrimaryKey => "DEFAULT",
        }
    }
}

impl Table {
    /// What its replica identity is to be; `None` if there is none under which the application could
    /// go on writing to it.
    pub(crate) fn identity(&self) -> Option<Identity> {
        if !self.generated.iter().any(|kind| kind == "v") {
            Some(Identity::Full)
        } else if self.has_primary_key {
            Some(Identity::PrimaryKey)
        } else {
            None
        }
    }

    /// Whether it has generated columns that are stored.
    pub(crate) fn stores_generated(&self) -> bool {
        self.generated.iter().any(|kind| kind == "s")
    }

    /// Whether its replica identity is the one that it is to be.
    pub(crate) fn is_identified(&self) -> bool {
        match self.identity() {
            Some(Identity::Full) => self.identity == "f",
            // An index of the application's choice will do.
            Some(Identity::PrimaryKey) => matches!(&*self.identity, "d" | "i"),
            None => false,
        }
    }

    /// Schema and name.
    pub(crate) fn name(&self) -> (&str, &str) {
        (&self.schema, &self.name)
    }

    /// The name as people write it.
    pub(crate) fn full_name(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    /// The name as SQL writes it.
    pub(crate) fn quoted(&self) -> String {
        format!(
            "{}.{}",
            quote_identifier(&self.schema),
            quote_identifier(&self.name)
        )
    }
}
