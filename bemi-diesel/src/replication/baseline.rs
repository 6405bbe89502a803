//! The rows that were there before they were tracked.
//!
//! They are stored with the position at which they were seen, so that the trail can be read from there as if
//! they had just been made. A snapshot and a position do not come together: a transaction writes its commit
//! into the log before others see it. So the table is locked against writers for the moment in which both are
//! taken: when the lock is there, whoever wrote before has been seen to commit, and nobody writes in between.
//! The lock is waited for in short pieces only, so that the application does not queue behind it.
//!
//! The rows are turned into changes by the same code as those from the log, so both have the same form.

use std::time::{Duration, Instant};

use backon::{ConstantBuilder, Retryable};
use chrono::{DateTime, Utc};
use tokio_postgres::types::{PgLsn, ToSql};
use tokio_postgres::{SimpleQueryMessage, SimpleQueryRow};

use super::catalog;
use crate::error::{Error, ErrorKind, quote_identifier, quote_literal};
use crate::pgoutput::{
    Begin, Column, Commit, Message, Relation, RelationId, ReplicaIdentity, Tuple,
};
use crate::postgres::Connection;
use crate::settings::Settings;
use crate::setup::{Server, TablePattern};
use crate::sink::baseline::{self, Baseline, Earlier, Key, commit_lsn};
use crate::sink::postgres::PostgresSink;
use crate::sink::store;
use crate::stitch::{Rules, Stitcher};
use crate::{Change, Lsn, Operation, Xid};

/// How long a writer may have to wait behind us, each time that we try.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '100ms'";

/// How often we try, with [`LOCK_PAUSE`] in between: about five minutes.
const LOCK_ATTEMPTS: usize = 1000;
const LOCK_PAUSE: Duration = Duration::from_millis(200);

/// The texts are those that the log has, of all rows or none: a policy must not hide some.
const OUTPUT: &str = "RESET search_path; SET intervalstyle = 'postgres'; SET extra_float_digits = 3; SET bytea_output = 'hex'; SET row_security = off";

/// At most this many rows are read and stored at once …
const CHUNK_ROWS: usize = 1000;

/// … and about this many bytes of them.
const CHUNK_BYTES: usize = 4 << 20;

/// A published table.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    relation: Relation,
    partitioned: bool,
    /// Which rows are published, where it is not all.
    condition: Option<String>,
    /// The columns of the primary key with their types, if all of them are published.
    key: Vec<(String, String)>,
    /// How many rows the planner expects.
    pub(crate) estimate: u64,
}

impl Table {
    /// The published tables that one of `patterns` means; all of them if there is none.
    ///
    /// Generated columns are published by PostgreSQL 18, where the publication says so; earlier versions do
    /// not, and name them all the same.
    pub(crate) async fn published(
        source: &Connection,
        publication: &str,
        patterns: &[TablePattern],
    ) -> Result<Vec<Self>, Error> {
        let meant: Vec<String> = patterns
            .iter()
            .map(|pattern| pattern.matches("c.oid"))
            .collect();
        let meant = if meant.is_empty() {
            "true".to_owned()
        } else {
            meant.join(" OR ")
        };
        let sql = format!(
            "SELECT c.oid, n.nspname::text, c.relname::text, c.relkind = 'p', to_jsonb(t) ->> 'rowfilter', \
                    (SELECT coalesce(sum(greatest(part.reltuples, 0)), 0)::float8 FROM pg_class part \
                     WHERE part.oid = c.oid OR part.oid IN (SELECT relid FROM pg_partition_tree(c.oid))), \
                    ARRAY(SELECT a.attname::text FROM {columns}), ARRAY(SELECT a.atttypid FROM {columns}), \
                    ARRAY(SELECT a.attname::text FROM {key}), ARRAY(SELECT format_type(a.atttypid, a.atttypmod) FROM {key}) \
             FROM pg_publication_tables t JOIN pg_namespace n ON n.nspname = t.schemaname \
             JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.tablename \
             WHERE t.pubname = $1 AND NOT {ours} AND ({meant}) ORDER BY n.nspname, c.relname",
            columns = "pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND \
                       coalesce(to_jsonb(t) -> 'attnames' ? a.attname::text, true) AND \
                       (a.attgenerated = '' OR current_setting('server_version_num')::int >= 180000) ORDER BY a.attnum",
            key = "pg_index i, unnest(i.indkey) WITH ORDINALITY k (attnum, position) \
                   JOIN pg_attribute a ON a.attnum = k.attnum WHERE i.indrelid = c.oid AND a.attrelid = c.oid \
                   AND i.indisprimary AND k.position <= i.indnkeyatts ORDER BY k.position",
            ours = store::is_ours("c.oid"),
        );
        let binds: [&(dyn ToSql + Sync); 1] = [&publication];
        let rows = source.client.query(&sql, &binds);
        let rows = source.answer("listing the published tables", rows).await?;
        Ok(rows
            .iter()
            .map(|row| {
                let (names, types): (Vec<String>, Vec<u32>) = (row.get(6), row.get(7));
                let (key, key_types): (Vec<String>, Vec<String>) = (row.get(8), row.get(9));
                let published = key.iter().all(|name| names.contains(name));
                let key = key.into_iter().zip(key_types);
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "an estimate, and not negative"
                )]
                let estimate = row.get::<_, f64>(5) as u64;
                Self {
                    relation: Relation {
                        id: RelationId(row.get(0)),
                        schema: row.get(1),
                        name: row.get(2),
                        replica_identity: ReplicaIdentity::Full,
                        columns: names
                            .into_iter()
                            .zip(types)
                            .map(|(name, type_oid)| Column {
                                key: true,
                                name,
                                type_oid,
                                type_modifier: -1,
                            })
                            .collect(),
                    },
                    partitioned: row.get(3),
                    condition: row.get(4),
                    key: if published { key.collect() } else { Vec::new() },
                    estimate,
                }
            })
            .collect())
    }

    /// The name as people write it.
    pub(crate) fn full_name(&self) -> String {
        format!("{}.{}", self.relation.schema, self.relation.name)
    }

    /// The name as SQL writes it, without the tables that inherit from it.
    fn quoted(&self) -> String {
        let (schema, name) = (&self.relation.schema, &self.relation.name);
        let only = if self.partitioned { "" } else { "ONLY " };
        let (schema, name) = (quote_identifier(schema), quote_identifier(name));
        format!("{only}{schema}.{name}")
    }

    /// The cursor over the rows behind `last_key`, in the order of the key.
    fn cursor(&self, last_key: Option<&Key>) -> String {
        let columns = self.relation.columns.iter();
        let columns: Vec<String> = columns
            .map(|column| quote_identifier(&column.name))
            .collect();
        let key: Vec<String> = self
            .key
            .iter()
            .map(|(name, _)| quote_identifier(name))
            .collect();
        let mut conditions: Vec<String> = self
            .condition
            .iter()
            .map(|condition| format!("({condition})"))
            .collect();
        if let Some(last) = last_key {
            let values = last.iter().zip(&self.key);
            let values: Vec<String> = values
                .map(|((_, value), (_, ty))| format!("{}::{ty}", quote_literal(value)))
                .collect();
            conditions.push(format!("({}) > ({})", key.join(", "), values.join(", ")));
        }
        let conditions = match &*conditions.join(" AND ") {
            "" => String::new(),
            conditions => format!(" WHERE {conditions}"),
        };
        let order = match &*key.join(", ") {
            "" => String::new(),
            key => format!(" ORDER BY {key}"),
        };
        let (columns, table) = (columns.join(", "), self.quoted());
        format!(
            "DECLARE baseline NO SCROLL CURSOR FOR SELECT {columns} FROM {table}{conditions}{order}"
        )
    }

    /// The text of the row's primary key, column by column.
    fn key_of(&self, row: &SimpleQueryRow) -> Option<Key> {
        let place = |name: &str| {
            let mut columns = self.relation.columns.iter();
            columns.position(|column| column.name == name)
        };
        let texts = self
            .key
            .iter()
            .map(|(name, _)| Some((name.clone(), row.get(place(name)?)?.to_owned())));
        let texts: Option<Key> = texts.collect();
        texts.filter(|texts| !texts.is_empty())
    }

    /// Whether `key` is one of its primary key as it is now.
    fn is_keyed_by(&self, key: &Key) -> bool {
        let names = key.iter().map(|(name, _)| name);
        names.eq(self.key.iter().map(|(name, _)| name))
    }

    /// The error for a table that is not as it was listed.
    fn altered(&self) -> Error {
        let name = self.full_name();
        Error::configuration(format!(
            "the table {name} has been altered meanwhile: run `bemi snapshot` again"
        ))
    }

    /// Whether it is as `listed`.
    fn is_still(&self, listed: &Self) -> bool {
        self.relation == listed.relation
            && self.condition == listed.condition
            && self.key == listed.key
    }

    /// By schema, name and identifier.
    fn id(&self) -> (&str, &str, u32) {
        let Relation {
            schema, name, id, ..
        } = &self.relation;
        (schema, name, id.0)
    }
}

/// Stores the rows of `table` that are not stored yet, at most `rows_per_second`; how many that were.
/// `stored` is told of each step.
pub(crate) async fn store_table(
    settings: &Settings,
    server: &Server,
    table: &Table,
    rows_per_second: Option<u32>,
    stored: impl Fn(u64),
) -> Result<u64, Error> {
    let (source, database) = (server.system_identifier, &*server.database);
    let destination = Connection::open(&settings.destination).await?;
    let (mut begun, mut last_key) = match Earlier::read(&destination, server, table.id()).await? {
        Earlier::All => return Ok(0),
        Earlier::None => (None, None),
        Earlier::Some(begun, Some(key)) if table.is_keyed_by(&key) => (Some(begun), Some(key)),
        Earlier::Some(begun, _) => {
            baseline::discard(&destination, server, begun).await?;
            (None, None)
        }
    };
    drop(destination);
    let mut sink =
        PostgresSink::open(&settings.destination, source, database, &settings.slot).await?;
    let mut reader = Reader::open(settings, server, table).await?;
    reader
        .begin(last_key.as_ref())
        .await
        .map_err(|error| match error.kind() {
            // What was listed is not there any more.
            ErrorKind::Server { error, .. }
                if matches!(&*error.sqlstate, "42P01" | "42703" | "3F000") =>
            {
                table.altered()
            }
            _ => error,
        })?;
    reader.describe(settings).await?;
    let begun = *begun.get_or_insert(commit_lsn(reader.lsn));
    let (started, mut read) = (Instant::now(), 0_u64);
    let mut chunk = 100.min(rows_per_second.map_or(CHUNK_ROWS, |rate| rate.max(1) as usize));
    loop {
        let (changes, key) = reader.next(chunk).await?;
        let done = changes.len() < chunk;
        read += changes.len() as u64;
        last_key = key.or(last_key);
        let baseline = Baseline {
            table: table.id(),
            begun,
            seen: (reader.lsn, reader.seen_at),
            last_key: last_key.clone(),
            done,
            whole: table.condition.is_none(),
        };
        sink.store_baseline(server, &changes, &baseline).await?;
        stored(changes.len() as u64);
        if done {
            return Ok(read);
        }
        let bytes: usize = changes.iter().map(Change::size).sum();
        let fitting = CHUNK_BYTES / (bytes / changes.len()).max(1);
        chunk = fitting.clamp(1, CHUNK_ROWS);
        if let Some(rate) = rows_per_second {
            chunk = chunk.min(rate.max(1) as usize);
            let due = Duration::from_secs(read) / rate.max(1);
            tokio::time::sleep(due.saturating_sub(started.elapsed())).await;
        }
    }
}

/// Reads the rows of a table as they are at one position of the log.
struct Reader<'a> {
    table: &'a Table,
    connection: Connection,
    catalog: Connection,
    stitcher: Stitcher,
    source: i64,
    lsn: Lsn,
    seen_at: DateTime<Utc>,
    ordinal: u64,
}

const READING: &str = "reading the rows that were there before";

impl<'a> Reader<'a> {
    async fn open(settings: &Settings, server: &Server, table: &'a Table) -> Result<Self, Error> {
        let catalog = Connection::open(&settings.source).await?;
        let connection = Connection::open(&settings.source).await?;
        connection.batch(READING, OUTPUT).await?;
        let database = server.database.as_str().into();
        let stitcher = Stitcher::new(server.system_identifier, database, Rules::default());
        Ok(Self {
            table,
            connection,
            catalog,
            stitcher,
            source: server.system_identifier,
            lsn: Lsn::ZERO,
            seen_at: DateTime::UNIX_EPOCH,
            ordinal: 0,
        })
    }

    /// Takes a snapshot and its position, and begins behind `last_key`.
    async fn begin(&mut self, last_key: Option<&Key>) -> Result<(), Error> {
        let lock = format!(
            "BEGIN; {LOCK_TIMEOUT}; LOCK TABLE {} IN SHARE MODE",
            self.table.quoted()
        );
        let locking = async || {
            let locked = self
                .catalog
                .batch("waiting for a moment without writers", &lock)
                .await;
            if locked.is_err() {
                self.catalog.batch(READING, "ROLLBACK").await?;
            }
            locked
        };
        let patient = ConstantBuilder::default()
            .with_delay(LOCK_PAUSE)
            .with_max_times(LOCK_ATTEMPTS);
        locking
            .retry(patient)
            .sleep(tokio::time::sleep)
            .when(|error| {
                matches!(error.kind(), ErrorKind::Server { error, .. } if error.sqlstate == "55P03")
            })
            .await?;
        // A record of its own, so that no other table has this position.
        let marking = self.catalog.client.query_one(
            "SELECT pg_logical_emit_message(false, '_bemi_baseline', ''), clock_timestamp()",
            &[],
        );
        let row = self.catalog.answer(READING, marking).await?;
        self.lsn = Lsn::new(row.get::<_, PgLsn>(0).into());
        self.seen_at = row.get(1);
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT FROM pg_catalog.pg_class LIMIT 1";
        self.connection.batch(READING, begin).await?;
        // With a lock of its own, as a table that is rewritten looks empty to those who began before.
        let cursor = self.table.cursor(last_key);
        self.connection.batch(READING, &cursor).await?;
        self.catalog.batch(READING, "COMMIT").await
    }

    /// Describes the table, which cannot be altered any more, and must be what it was when it was listed.
    async fn describe(&mut self, settings: &Settings) -> Result<(), Error> {
        let now = Table::published(&self.catalog, &settings.publication, &[]).await?;
        if !now.iter().any(|now| now.is_still(self.table)) {
            return Err(self.table.altered());
        }
        let relation = &self.table.relation;
        let description = catalog::describe(&self.catalog, relation).await?;
        self.stitcher.describe(relation.clone(), None, description);
        Ok(())
    }

    /// The next rows as changes, and the key of the last one.
    async fn next(&mut self, count: usize) -> Result<(Vec<Change>, Option<Key>), Error> {
        let fetch = format!("FETCH {count} FROM baseline");
        let rows = self.connection.client.simple_query(&fetch).await;
        let rows = rows.map_err(|error| self.connection.error(READING, &error))?;
        let rows = rows.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let commit_lsn = commit_lsn(self.lsn);
        let mut messages = vec![Message::Begin(Begin {
            final_lsn: commit_lsn,
            committed_at: self.seen_at,
            xid: Xid::new(0),
        })];
        let mut key = None;
        for row in rows {
            messages.push(Message::Insert {
                relation: self.table.relation.id,
                new: Tuple::from_texts((0..row.len()).map(|column| row.get(column))),
            });
            key = self.table.key_of(row);
        }
        messages.push(Message::Commit(Commit {
            commit_lsn,
            end_lsn: self.lsn,
            committed_at: self.seen_at,
        }));
        let (mut changes, position) = (Vec::new(), self.lsn);
        for message in messages {
            let pushed = self.stitcher.push(message, position, Utc::now());
            let pushed =
                pushed.map_err(|error| super::transport::decode_error(self.lsn, &error))?;
            changes = pushed.map_or(changes, |transaction| transaction.changes);
        }
        for change in &mut changes {
            change.operation = Operation::Snapshot;
            change.ordinal = self.ordinal;
            change.id = Change::identifier(self.source, commit_lsn, self.ordinal, self.seen_at);
            self.ordinal += 1;
        }
        Ok((changes, key))
    }
}
