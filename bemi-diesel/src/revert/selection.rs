//! Which changes are to be reverted. Pure: the query that reads them, and the words for it.

use std::collections::BTreeSet;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::trail::Entry;
use crate::{Context, Lsn, Operation, Xid};

/// What all changes to revert have in common; at least one thing.
///
/// As JSON it is what the context of the revert says of it.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Selection {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) change: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) transaction: Option<Xid>,
    #[serde(skip_serializing_if = "Context::is_empty")]
    pub(crate) context: Context,
    /// As `table`, in every schema, or `schema.table`; none is every table.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) tables: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) primary_key: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) operations: Vec<Operation>,
    /// Committed at or after this time, as PostgreSQL reads it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) since: Option<String>,
    /// Committed before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) until: Option<String>,
    /// Committed after this time, position, or from this transaction on: back to how it was then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) to: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) to_lsn: Option<Lsn>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) to_before: Option<Xid>,
}

/// A database of a cluster, as the trail names it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
pub(crate) struct Origin {
    pub(crate) source: i64,
    pub(crate) database: String,
}

/// Reads the [`Origin`] of the database that is asked.
pub(super) const ORIGIN: &str = "SELECT pg_catalog.json_build_object('source', system_identifier, \
                                 'database', pg_catalog.current_database())::text AS line FROM pg_catalog.pg_control_system()";

/// The form of a time that PostgreSQL reads exactly.
pub(super) fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

impl Selection {
    /// Whether it selects everything there is.
    pub(crate) fn is_empty(&self) -> bool {
        self.conditions(&mut Vec::new()).is_empty()
    }

    /// The query for the changes of `origin`, as documents in the order of the trail.
    pub(super) fn query(&self, origin: &Origin) -> (String, Vec<String>) {
        let mut binds = Vec::new();
        let mut conditions = origin.conditions(&mut binds);
        conditions.extend(self.conditions(&mut binds));
        conditions.push("operation NOT IN ('SNAPSHOT', 'DDL', 'GAP')".to_owned());
        (select(&conditions), binds)
    }

    fn conditions(&self, binds: &mut Vec<String>) -> Vec<String> {
        let mut conditions = Vec::new();
        let mut add = |condition: &str, value: String| {
            binds.push(value);
            conditions.push(condition.replace('?', &format!("${}::text", binds.len())));
        };
        if let Some(change) = &self.change {
            add("id = ?::uuid", change.to_string());
        }
        if let Some(transaction) = self.transaction {
            add(
                "transaction_id = ?::bigint",
                transaction.as_u32().to_string(),
            );
        }
        if !self.context.is_empty() {
            let members: Value = self.context.iter().map(|(k, v)| (k, v.clone())).collect();
            add("context @> ?::jsonb", members.to_string());
        }
        if !self.tables.is_empty() {
            add(
                "ARRAY[\"table\", schema || '.' || \"table\"] && ARRAY(SELECT pg_catalog.jsonb_array_elements_text(?::jsonb))",
                Value::from(self.tables.clone()).to_string(),
            );
        }
        if let Some(key) = &self.primary_key {
            add("primary_key = ?", key.clone());
        }
        if !self.operations.is_empty() {
            let names: Vec<&str> = self.operations.iter().map(|o| o.as_str()).collect();
            add(
                "operation = ANY (ARRAY(SELECT pg_catalog.jsonb_array_elements_text(?::jsonb)))",
                Value::from(names).to_string(),
            );
        }
        if let Some(since) = &self.since {
            add("committed_at >= ?::timestamptz", since.clone());
        }
        if let Some(until) = &self.until {
            add("committed_at < ?::timestamptz", until.clone());
        }
        if let Some(to) = &self.to {
            add("committed_at > ?::timestamptz", to.clone());
        }
        if let Some(lsn) = self.to_lsn {
            add("commit_lsn > ?::bigint", lsn.as_i64().to_string());
        }
        if let Some(transaction) = self.to_before {
            add(
                "commit_lsn >= (SELECT max(commit_lsn) FROM public.changes WHERE transaction_id = ?::bigint)",
                transaction.as_u32().to_string(),
            );
        }
        conditions
    }
}

impl Origin {
    fn conditions(&self, binds: &mut Vec<String>) -> Vec<String> {
        binds.extend([self.source.to_string(), self.database.clone()]);
        vec![
            "source = $1::text::bigint".to_owned(),
            "database = $2::text".to_owned(),
        ]
    }

    /// The query for a change of the transactions of `entries` that could not be stored.
    pub(super) fn put_aside(&self, entries: &[Entry]) -> (String, Vec<String>) {
        let mut binds = Vec::new();
        let mut conditions = self.conditions(&mut binds);
        let commits: BTreeSet<i64> = entries.iter().map(|entry| entry.commit_lsn).collect();
        binds.push(serde_json::json!(commits).to_string());
        conditions.push(
            "commit_lsn = ANY (ARRAY(SELECT pg_catalog.jsonb_array_elements_text($3::text::jsonb)::bigint))"
                .to_owned(),
        );
        let conditions = conditions.join(" AND ");
        let sql = format!(
            "SELECT commit_lsn::text AS line FROM public._bemi_poison WHERE {conditions} LIMIT 1"
        );
        (sql, binds)
    }

    /// The query for everything that happened to a table before `position`.
    pub(super) fn earlier(
        &self,
        schema: &str,
        table: &str,
        position: super::trail::Position,
    ) -> (String, Vec<String>) {
        let mut binds = Vec::new();
        let mut conditions = self.conditions(&mut binds);
        binds.extend([schema.to_owned(), table.to_owned()]);
        binds.extend([position.0.to_string(), position.1.to_string()]);
        conditions.push(
            "schema = $3::text AND \"table\" = $4::text AND (commit_lsn, ordinal) < ($5::text::bigint, $6::text::bigint)"
                .to_owned(),
        );
        // Of a snapshot that is whole.
        conditions.push(
            "(operation <> 'SNAPSHOT' OR EXISTS (SELECT FROM public._bemi_coverage c WHERE c.source = changes.source \
             AND c.database = changes.database AND c.schema = changes.schema AND c.\"table\" = changes.\"table\" \
             AND c.since_lsn IS NOT NULL AND c.from_lsn <= changes.commit_lsn))"
                .to_owned(),
        );
        (select(&conditions), binds)
    }
}

fn select(conditions: &[String]) -> String {
    format!(
        "SELECT pg_catalog.json_build_object('id', id, 'source', source, 'database', database, 'schema', schema, 'table', \"table\", \
         'primary_key', primary_key, 'operation', operation, 'before', before, 'after', after, 'commit_lsn', commit_lsn, \
         'ordinal', ordinal)::text AS line FROM public.changes WHERE {} ORDER BY commit_lsn, ordinal",
        conditions.join(" AND ")
    )
}
