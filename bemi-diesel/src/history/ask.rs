//! What is asked of the database before a journey, and what the answers mean. Pure.
//!
//! Two queries, whatever the statements that follow: which state the instant is, and what the catalog
//! and the trail say of the tables.

use chrono::{DateTime, SecondsFormat, Utc};

use super::error::TravelError;
use super::facts::{Live, Moment};
use super::fold::State;
use super::instant::Instant;
use crate::Lsn;
use crate::sql::literal;

/// The answer to [`moment`]: a row for each database that is meant.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) source: i64,
    pub(crate) database: String,
    pub(crate) flush_lsn: Option<i64>,
    pub(crate) covered_at: Option<DateTime<Utc>>,
    /// The commit that the instant is about, if there is one.
    pub(crate) commit_lsn: Option<i64>,
    /// Whether a backslash in a literal is one.
    pub(crate) conforming: bool,
    /// The publication that the changes were read through.
    pub(crate) publication: Option<i64>,
}

/// Whose changes are asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place<'a> {
    /// Those of the database that is asked.
    #[cfg(any(feature = "sync", feature = "async"))]
    Here,
    /// Those of this database of this source.
    #[cfg(feature = "cli")]
    Source(i64, &'a str),
    /// Those of the database with this name, or of the only one, that are stored here.
    #[cfg(any(feature = "sync", feature = "async"))]
    Stored(Option<&'a str>),
}

impl Place<'_> {
    /// A relation with its source and database.
    fn sql(self) -> String {
        match self {
            #[cfg(any(feature = "sync", feature = "async"))]
            Self::Here => {
                "(SELECT system_identifier AS source, current_database()::text AS database \
                           FROM pg_catalog.pg_control_system())"
                    .to_owned()
            }
            #[cfg(feature = "cli")]
            Self::Source(source, database) => format!(
                "(SELECT {source}::bigint AS source, {}::text AS database)",
                literal(database)
            ),
            #[cfg(any(feature = "sync", feature = "async"))]
            Self::Stored(None) => {
                "(SELECT source, database FROM public._bemi_progress LIMIT 10)".to_owned()
            }
            #[cfg(any(feature = "sync", feature = "async"))]
            Self::Stored(Some(name)) => format!(
                "(SELECT source, database FROM public._bemi_progress WHERE database = {})",
                literal(name)
            ),
        }
    }
}

/// How many changes are looked at before an instant for one that stands later in the log although its time is
/// earlier: that of a transaction that ended at once with another, or after the clock was set back. A
/// count and not a span of time, which the planner overrates so much that it compiles the query for half a second.
const DISORDER: &str = "LIMIT 1000";

/// The query that tells which state `instant` is: the columns of [`Answer`].
pub(crate) fn moment(instant: Instant, place: Place<'_>) -> String {
    let of = "FROM public.changes WHERE source = here.source AND database = here.database AND";
    let commit = match instant {
        Instant::Time(time) => {
            let until = literal(&time.to_rfc3339_opts(SecondsFormat::Micros, true));
            format!(
                "SELECT max(commit_lsn) FROM (SELECT commit_lsn {of} committed_at <= {until}::timestamptz \
                 ORDER BY committed_at DESC {DISORDER}) late"
            )
        }
        Instant::Lsn(_) => "SELECT NULL::bigint".to_owned(),
        Instant::Before(xid) | Instant::After(xid) => {
            format!(
                "SELECT commit_lsn {of} transaction_id = {xid} ORDER BY commit_lsn DESC LIMIT 1"
            )
        }
    };
    format!(
        "SELECT here.source, here.database, (p.flush_lsn - '0/0')::bigint AS flush_lsn, \
                greatest(p.covered_at, p.last_committed_at) AS covered_at, \
                ({commit}) AS commit_lsn, current_setting('standard_conforming_strings') = 'on' AS conforming, \
                p.publication::bigint AS publication \
         FROM {} here \
         LEFT JOIN public._bemi_progress p ON p.source = here.source AND p.database = here.database",
        place.sql()
    )
}

/// The state that `instant` is.
pub(crate) fn decide(instant: Instant, answers: Vec<Answer>) -> Result<Moment, TravelError> {
    if answers.len() > 1 {
        let databases = answers.into_iter().map(|answer| answer.database);
        return Err(TravelError::Several(databases.collect()));
    }
    let Some(answer) = answers.into_iter().next() else {
        return Err(TravelError::NoTrail);
    };
    let Some(covered_lsn) = answer.flush_lsn.map(Lsn::from_i64) else {
        return Err(TravelError::NoTrail);
    };
    if !answer.conforming {
        return Err(TravelError::Unreadable);
    }
    let covered_at = answer.covered_at;
    let too_late = TravelError::TooLate {
        covered_lsn,
        covered_at,
    };
    let commit = answer.commit_lsn.map(Lsn::from_i64);
    let before = |lsn: Lsn| Lsn::new(lsn.as_u64().saturating_sub(1));
    let last = match instant {
        Instant::Time(time) if covered_at.is_none_or(|covered| time > covered) => {
            return Err(too_late);
        }
        Instant::Time(_) => commit.unwrap_or(Lsn::ZERO),
        Instant::Lsn(lsn) if lsn > covered_lsn => return Err(too_late),
        Instant::Lsn(lsn) => before(lsn),
        Instant::Before(xid) => before(commit.ok_or(TravelError::UnknownTransaction(xid))?),
        Instant::After(xid) => commit.ok_or(TravelError::UnknownTransaction(xid))?,
    };
    Ok(Moment {
        state: State {
            source: answer.source,
            database: answer.database,
            last,
        },
        time: match instant {
            Instant::Time(time) => Some(time),
            _ => None,
        },
        publication: answer.publication.unwrap_or_default(),
    })
}

/// A query for the identifiers of the tables whose changes are published under their own names.
fn published(moment: &Moment) -> String {
    format!(
        "SELECT t.relid FROM pg_catalog.pg_publication p, LATERAL pg_catalog.pg_get_publication_tables(p.pubname::text) t \
         WHERE p.oid = {}",
        moment.publication
    )
}

/// SQL that tells whether only some rows of the table with the identifier `oid` are published.
fn conditional(moment: &Moment, oid: &str) -> String {
    // Before PostgreSQL 15 there is no such column.
    format!(
        "EXISTS (SELECT FROM pg_catalog.pg_publication_rel r WHERE r.prrelid = {oid} \
         AND r.prpubid = {} AND to_jsonb(r) ->> 'prqual' <> '')",
        moment.publication
    )
}

/// SQL that tells whether the moment is one of those from `since` and `since_lsn` on.
fn begun(moment: &Moment) -> String {
    match moment.time {
        Some(time) => format!(
            "since <= {}::timestamptz",
            literal(&time.to_rfc3339_opts(SecondsFormat::Micros, true))
        ),
        None => format!("since_lsn <= {}", moment.state.last.as_i64() + 1),
    }
}

/// What was noted of the partitions of the table with the identifier `oid`: `FROM` and `WHERE`.
fn noted(moment: &Moment, oid: &str) -> String {
    let State {
        source, database, ..
    } = &moment.state;
    format!(
        "FROM public._bemi_partitions WHERE source = {source} AND database = {} AND _bemi_partitions.oid = {oid}",
        literal(database)
    )
}

/// The members of a [`Stored`](super::facts::Stored) that the trail tells at `moment`. `part` has `schema` and `name`,
/// `cov` is what is noted of it in `_bemi_coverage`.
fn told(moment: &Moment) -> String {
    let State {
        source,
        database,
        last,
    } = &moment.state;
    let (database, last) = (literal(database), last.as_i64());
    let aside = put_aside(*source, &database, last);
    let changes = format!(
        "FROM public.changes ch WHERE ch.source = {source} AND ch.database = {database} \
         AND ch.schema = part.schema AND ch.\"table\" = part.name AND ch.commit_lsn <= {last}"
    );
    let (noted, begun) = (noted(moment, "cov.oid"), begun(moment));
    format!(
        "'schema', part.schema, 'name', part.name, 'oid', cov.oid, \
         'from_lsn', cov.from_lsn, 'from_ordinal', cov.from_ordinal, 'since_lsn', cov.since_lsn, 'since', cov.since, \
         'truncated', (SELECT json_build_array(ch.commit_lsn, ch.ordinal) {changes} AND ch.operation = 'TRUNCATE' \
                       ORDER BY ch.commit_lsn DESC, ch.ordinal DESC LIMIT 1), \
         'keyless', (SELECT json_build_array(ch.commit_lsn, ch.ordinal) {changes} AND ch.primary_key IS NULL \
                     AND ch.operation IN ('CREATE', 'UPDATE', 'DELETE', 'SNAPSHOT') \
                     ORDER BY ch.commit_lsn DESC, ch.ordinal DESC LIMIT 1), \
         'aside', {aside}, 'strays', current_setting('server_version_num')::int < 150000, \
         'moved', (SELECT json_build_array(since_lsn, ordinal, since) {noted} AND {begun} AND NOT kept \
                   ORDER BY since_lsn DESC, ordinal DESC LIMIT 1), \
         'blurred', (SELECT since {noted} AND NOT {begun} AND NOT kept AND NOT exact \
                     ORDER BY since_lsn, ordinal LIMIT 1)"
    )
}

/// What a journey begins with. Compiling what makes a table's rows takes seconds and gains nothing; in a transaction of
/// the application's it stays so until that ends.
#[cfg(any(feature = "sync", feature = "async"))]
pub(crate) const DEPARTURE: &str = "SET TRANSACTION READ ONLY; SET LOCAL jit = off";

/// The query for what the catalog and the trail say at `moment` of every relation and function that is the
/// application's: the text of a [`Fact`](super::facts::Fact) in each row.
#[cfg(any(feature = "sync", feature = "async"))]
pub(crate) fn facts(moment: &Moment) -> String {
    let State {
        source, database, ..
    } = &moment.state;
    let database = literal(database);
    let own = "n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'";
    let (published, told, begun) = (published(moment), told(moment), begun(moment));
    let (conditional, noted) = (conditional(moment, "part.oid"), noted(moment, "c.oid"));
    let latest = "ORDER BY since_lsn DESC, ordinal DESC LIMIT 1";
    format!(
        "WITH published AS MATERIALIZED ({published}) \
         SELECT json_build_object('relation', json_build_object(\
            'schema', n.nspname, 'name', c.relname, 'visible', pg_catalog.pg_table_is_visible(c.oid), 'kind', c.relkind, \
            'keyed', EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisprimary), \
            'generated', CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attgenerated <> '' AND NOT a.attisdropped) \
                THEN (SELECT json_agg(json_build_array(a.attname, \
                          CASE WHEN a.attgenerated <> '' THEN pg_catalog.pg_get_expr(d.adbin, d.adrelid) END) ORDER BY a.attnum) \
                      FROM pg_catalog.pg_attribute a \
                      LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
                      WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) END, \
            'partitioned', CASE WHEN c.relkind = 'p' THEN json_build_object(\
                'whole', whole, 'known', EXISTS (SELECT {noted} AND {begun}), \
                'settled', (SELECT parts {noted} {latest}) IS NOT DISTINCT FROM coalesce((\
                    SELECT jsonb_agg(jsonb_build_array(pn.nspname, pc.relname, pc.oid::bigint) ORDER BY pc.oid) \
                    FROM pg_catalog.pg_partition_tree(c.oid) JOIN pg_catalog.pg_class pc ON pc.oid = relid \
                    JOIN pg_catalog.pg_namespace pn ON pn.oid = pc.relnamespace WHERE pc.relkind <> 'p'), '[]'), \
                'first', (SELECT min(since) {noted}), \
                'blurred', (SELECT since FROM (SELECT since, exact {noted} AND NOT {begun} \
                                               ORDER BY since_lsn, ordinal LIMIT 1) next WHERE NOT exact)) END, \
            'parts', coalesce((\
                SELECT json_agg(json_build_object({told}, \
                    'partial', part.there AND part.oid NOT IN (SELECT relid FROM published) OR {conditional}, \
                    'missing', (SELECT json_object_agg(a.attname, (a.attmissingval::text::text[])[1]) FROM pg_catalog.pg_attribute a \
                                WHERE a.attrelid = part.oid AND a.atthasmissing AND NOT a.attisdropped))) \
                FROM (WITH RECURSIVE below (oid) AS (SELECT c.oid WHERE c.relkind <> 'p' OR whole UNION \
                          SELECT inhrelid FROM below JOIN pg_catalog.pg_inherits ON inhparent = below.oid AND c.relkind <> 'p') \
                      SELECT pc.oid, pn.nspname::text COLLATE \"default\" AS schema, pc.relname::text COLLATE \"default\" AS name, true AS there \
                      FROM below JOIN pg_catalog.pg_class pc ON pc.oid = below.oid JOIN pg_catalog.pg_namespace pn ON pn.oid = pc.relnamespace \
                      WHERE pc.relkind IN ('r', 'p', 'f') \
                      UNION ALL \
                      SELECT (held ->> 2)::oid, held ->> 0, held ->> 1, EXISTS (SELECT FROM pg_catalog.pg_class pc WHERE pc.oid = (held ->> 2)::oid) \
                      FROM (SELECT parts {noted} AND {begun} {latest}) layout, \
                           LATERAL pg_catalog.jsonb_array_elements(layout.parts) held \
                      WHERE c.relkind = 'p' AND NOT whole) part \
                LEFT JOIN public._bemi_coverage cov ON cov.source = {source} AND cov.database = {database} \
                    AND cov.schema = part.schema AND cov.\"table\" = part.name AND cov.oid = part.oid), '[]'::json)))::text AS fact \
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace, \
         LATERAL (SELECT c.relkind = 'p' AND c.oid IN (SELECT relid FROM published) AS whole) publishing \
         WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relpersistence <> 't' AND {own} \
           AND coalesce(pg_catalog.obj_description(c.oid, 'pg_class'), '') NOT LIKE 'bemi:%' \
         UNION ALL SELECT json_build_object('function', p.proname)::text \
         FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace \
         JOIN pg_catalog.pg_language l ON l.oid = p.prolang \
         WHERE {own} AND l.lanname NOT IN ('c', 'internal') AND p.provolatile <> 'i' \
           AND p.prorettype <> 'pg_catalog.trigger'::pg_catalog.regtype"
    )
}

/// The query for what the trail alone says at `moment` of the table `name`, with or without its schema: the
/// text of a [`Stored`](super::facts::Stored) in each row. The answer to [`live`] comes before.
pub(crate) fn stored(moment: &Moment, name: &str, live: &Live) -> String {
    let State {
        source,
        database,
        last,
    } = &moment.state;
    let (database, name, last) = (literal(database), literal(name), last.as_i64());
    let since = format!(
        "SELECT FROM public.changes ch WHERE ch.source = {source} AND ch.database = {database} \
         AND ch.schema = part.schema AND ch.\"table\" = part.name AND ch.commit_lsn >= {last}"
    );
    let (told, gone) = (told(moment), live.lacks("part.schema", "part.name"));
    format!(
        "SELECT json_build_object({told}, 'changed', CASE WHEN {gone} THEN EXISTS ({since}) END)::text AS fact \
         FROM (SELECT schema, \"table\" AS name FROM public._bemi_coverage \
                   WHERE source = {source} AND database = {database} \
                     AND (\"table\" = {name} OR schema || '.' || \"table\" = {name}) \
               UNION SELECT schema, \"table\" FROM public.changes \
                   WHERE source = {source} AND database = {database} AND operation = 'TRUNCATE' AND commit_lsn <= {last} \
                     AND (\"table\" = {name} OR schema || '.' || \"table\" = {name})) part \
         LEFT JOIN public._bemi_coverage cov ON cov.source = {source} AND cov.database = {database} \
             AND cov.schema = part.schema AND cov.\"table\" = part.name"
    )
}

/// The query for what the captured database, if that is the one that is asked, says of the tables called
/// `name` now: the text of a [`Live`].
pub(crate) fn live(moment: &Moment, name: &str) -> String {
    let State {
        source, database, ..
    } = &moment.state;
    let (database, name) = (literal(database), literal(name));
    format!(
        "SELECT json_build_object('tables', CASE WHEN system_identifier = {source} AND current_database() = {database} THEN \
             (SELECT coalesce(json_agg(json_build_object('schema', n.nspname, 'name', c.relname, 'oid', c.oid::bigint, \
                  'partial', c.oid NOT IN ({}) OR {})), '[]') \
              FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
              WHERE c.relkind IN ('r', 'p') AND (c.relname = {name} OR n.nspname || '.' || c.relname = {name})) END)::text AS fact \
         FROM pg_catalog.pg_control_system()",
        published(moment),
        conditional(moment, "c.oid")
    )
}

/// The last change of the table `part` that is put aside, up to the commit at `last`.
fn put_aside(source: i64, database: &str, last: i64) -> String {
    format!(
        "(SELECT json_build_array(po.commit_lsn, po.ordinal) FROM public._bemi_poison po \
         WHERE po.source = {source} AND po.database = {database} AND po.schema = part.schema AND po.\"table\" = part.name \
         AND po.commit_lsn <= {last} AND po.operation <> 'DDL' ORDER BY po.commit_lsn DESC, po.ordinal DESC LIMIT 1)"
    )
}
