//! Questions to a long trail: `cargo bench -p bemi-diesel --bench history`.
//!
//! The trail has ten changes of each of a million records in ten tables of 100,000 rows, spread over 90 days, in
//! transactions of five by 900 users. One more makes a transaction a day, another every tenth.
//! They go straight into `changes`, with the indexes that setup makes. It takes 15 GB of the temporary folder,
//! and some minutes; `BEMI_BENCH_CHANGES=1000000` asks fewer changes.
//!
//! Each question is asked through diesel, and what comes back is read. A whole table as of an instant is measured
//! against the same query of the live table, in turns.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "a benchmark that cannot go on ends; diesel's macros write items without"
)]

use std::time::{Duration, Instant};

use bemi_diesel::history::{history, rows_as_of};
use bemi_diesel::{BemiConnection, Change};
use bemi_tests::{Cluster, Database};
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use comfy_table::{Table, presets::ASCII_MARKDOWN};
use diesel::data_types::PgNumeric;
use diesel::prelude::*;
use postgres::{Client, NoTls};
use serde_json::json;
use uuid::Uuid;

const SCHEMA: &str = include_str!("../migrations/0001_changes.sql");

/// How often each record was changed.
const VERSIONS: u64 = 10;

/// The rows of a table.
const ROWS: u64 = 100_000;

const QUESTIONS: usize = 200;

const ROUNDS: usize = 7;

const PAGE: i64 = 50;

const FREQUENT: i64 = 1000;

const RARE: i64 = 1001;

const LIVE: &str = "CREATE TABLE t0 (id bigint PRIMARY KEY, a int, b bigint, c text, d text, e bool, f timestamptz, \
                    g numeric, h uuid, i date)";

/// The changes from 0 on, of which there are `{changes}`, to `{records}` records in `{tables}` tables.
const CHANGES: &str = "
    INSERT INTO changes (id, source, database, schema, \"table\", primary_key, operation, before, after, context,
                         committed_at, queued_at, created_at, transaction_id, position, commit_lsn, ordinal)
    SELECT lpad(to_hex(n), 32, '0')::uuid, system_identifier, current_database(), 'public', 't' || record % {tables},
           (record / {tables})::text, CASE version WHEN 0 THEN 'CREATE' ELSE 'UPDATE' END,
           CASE version WHEN 0 THEN '{}' ELSE jsonb_build_object('a', version - 1) || image END,
           jsonb_build_object('a', version) || image,
           jsonb_build_object('user_id', CASE WHEN n / 5 % ({changes} / 500) = 0 THEN 1001 WHEN n / 5 % 10 = 0 THEN 1000
                                              ELSE n / 5 * 7919 % 1000 END,
                              'method', 'POST', 'path', '/things/' || record / {tables}, 'endpoint', 'things::update',
                              'request_id', md5((n / 5)::text), 'SQL', 'UPDATE \"t' || record % {tables}
                              || '\" SET \"a\" = $1 WHERE \"t' || record % {tables} || '\".\"id\" = $2'),
           at, at, at, n / 5, n * 100, n / 5 * 1000, n % 5
    FROM (SELECT n, n / {records} AS version, n * 7919 % {records} AS record,
                 '2026-01-01'::timestamptz + n / 5 * 5 * (interval '90 days' / {changes}) AS at
          FROM generate_series(0::bigint, {changes} - 1) n) n,
         LATERAL (SELECT md5(record::text) AS text) hash,
         LATERAL (SELECT jsonb_build_object('id', record / {tables}, 'b', record * 17, 'c', hash.text,
                      'd', 'a text of some length', 'e', record % 2 = 0, 'f', '2026-01-01T12:00:00.123456+00:00',
                      'g', record / 100.0, 'h', hash.text::uuid, 'i', '2026-01-01') AS image) image,
         pg_control_system()";

/// The trail covers everything up to here.
const COVERAGE: &str = "
    CREATE PUBLICATION bemi FOR TABLE t0;
    INSERT INTO _bemi_progress (source, database, slot, publication, flush_lsn, covered_at)
    SELECT system_identifier, current_database(), 'bemi', pg_publication.oid, 'FFFFFFF/0', '2027-01-01'
    FROM pg_control_system(), pg_publication;
    INSERT INTO _bemi_coverage (source, database, schema, \"table\", oid, from_lsn, since_lsn, since)
    SELECT system_identifier, current_database(), 'public', 't0', 't0'::regclass::oid, 0, 0, '2025-01-01'
    FROM pg_control_system();
    INSERT INTO t0 SELECT r.* FROM changes, LATERAL jsonb_populate_record(NULL::t0, after) r
    WHERE \"table\" = 't0' AND after ->> 'a' = '9'";

diesel::table! {
    t0 {
        id -> BigInt,
        a -> Integer,
        b -> BigInt,
        c -> Text,
        d -> Text,
        e -> Bool,
        f -> Timestamptz,
        g -> Numeric,
        h -> Uuid,
        i -> Date,
    }
}

type Row = (
    i64,
    i32,
    i64,
    String,
    String,
    bool,
    DateTime<Utc>,
    PgNumeric,
    Uuid,
    NaiveDate,
);

fn main() {
    // `cargo test --benches` runs it too.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let changes = std::env::var("BEMI_BENCH_CHANGES").map_or(10_000_000, |n| n.parse().unwrap());
    let cluster = Cluster::builder()
        .setting("wal_level", "minimal")
        .setting("max_wal_senders", "0")
        .setting("shared_buffers", "2GB")
        .setting("maintenance_work_mem", "1GB")
        .start()
        .unwrap();
    let database = Database::create_in(&cluster).unwrap();
    fill(&database, changes);
    let mut connection = BemiConnection::establish(database.url()).unwrap();
    let last = history()
        .latest_first()
        .first::<Change>(&mut connection)
        .unwrap();
    let now = last.committed_at;
    let rows = (changes / VERSIONS).min(ROWS);
    println!(
        "PostgreSQL {}, {changes} changes, shared_buffers 2 GB.\n",
        cluster.major()
    );
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header(["question", "p50", "p99", "to be"]);
    let mut ask = |question: &str, limit: &str, times: &mut [Duration]| {
        times.sort();
        let (p50, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
        table.add_row([
            question.to_owned(),
            format!("{:.2} ms", p50.as_secs_f64() * 1e3),
            format!("{:.2} ms", p99.as_secs_f64() * 1e3),
            limit.to_owned(),
        ]);
    };
    let key = || i64::try_from(fastrand::u64(..rows)).unwrap();
    let mut times = times(QUESTIONS, || {
        let found: Vec<Change> = history().record("t0", key()).load(&mut connection).unwrap();
        assert_eq!(found.len(), 10);
    });
    ask("history of a record", "5 ms", &mut times);
    let mut times = self::times(QUESTIONS, || {
        let instant = now - TimeDelta::seconds(fastrand::i64(0..80 * 86_400));
        let found = rows_as_of("t0", instant)
            .record(key())
            .load(&mut connection);
        assert_eq!(found.unwrap().len(), 1);
    });
    ask("a row as of an instant", "5 ms", &mut times);
    let week = now - TimeDelta::days(7);
    for (question, user) in [
        ("a user's changes of the last week, first page", None),
        ("the same of one who makes one a day", Some(RARE)),
        ("the same of one who makes every tenth", Some(FREQUENT)),
    ] {
        let mut times = self::times(QUESTIONS / 4, || {
            let user = user.unwrap_or_else(|| fastrand::i64(0..100) * 10 + fastrand::i64(1..10));
            let theirs = history().context(json!({ "user_id": user })).since(week);
            let page: Vec<Change> = theirs.limit(PAGE).load(&mut connection).unwrap();
            assert!(!page.is_empty());
        });
        ask(question, "50 ms", &mut times);
    }
    println!("{table}\n");
    whole_table(&mut connection, now - TimeDelta::hours(1), rows);
}

fn times(count: usize, mut question: impl FnMut()) -> Vec<Duration> {
    // What is asked for the first time is read from disk.
    question();
    (0..count)
        .map(|_| {
            let begun = Instant::now();
            question();
            begun.elapsed()
        })
        .collect()
}

fn whole_table(connection: &mut BemiConnection, instant: DateTime<Utc>, rows: u64) {
    let load = |connection: &mut BemiConnection| t0::table.load::<Row>(connection);
    let (mut live, mut past) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let begun = Instant::now();
        let now = load(connection).unwrap();
        let between = Instant::now();
        let then = connection.as_of(instant, load).unwrap();
        if round > 0 {
            live.push(between - begun);
            past.push(between.elapsed());
        }
        assert_eq!([now.len() as u64, then.len() as u64], [rows; 2]);
    }
    live.sort();
    past.sort();
    let (live, past) = (
        live[ROUNDS / 2].as_secs_f64(),
        past[ROUNDS / 2].as_secs_f64(),
    );
    println!(
        "a table of {rows} rows as of an instant: {past:.2} s, live {live:.2} s, ratio {:.1}, to be 10",
        past / live
    );
}

/// Fills the trail, then makes the indexes, and prints what they take.
fn fill(database: &Database, changes: u64) {
    let mut client = Client::connect(database.url(), NoTls).unwrap();
    client.batch_execute(SCHEMA).unwrap();
    let constraints = "changes_pkey PRIMARY KEY (id); ALTER TABLE changes ADD CONSTRAINT changes_identity \
                       UNIQUE (source, commit_lsn, ordinal)";
    let drop = "SELECT string_agg(format('DROP INDEX %I', indexname), '; ') FROM pg_indexes \
                WHERE tablename = 'changes' AND indexname NOT IN ('changes_pkey', 'changes_identity')";
    let drop: String = client.query_one(drop, &[]).unwrap().get(0);
    let tables = (changes / VERSIONS / ROWS).max(1);
    let insert = CHANGES
        .replace("{changes}", &changes.to_string())
        .replace("{records}", &(changes / VERSIONS).to_string())
        .replace("{tables}", &tables.to_string());
    let begun = Instant::now();
    // A table that is emptied in the same transaction needs no log.
    client
        .batch_execute(&format!(
            "BEGIN; {drop}; ALTER TABLE changes DROP CONSTRAINT changes_pkey, DROP CONSTRAINT changes_identity; \
             TRUNCATE changes; {insert}; COMMIT; \
             ALTER TABLE changes ADD CONSTRAINT {constraints}; {SCHEMA}; {LIVE}; {COVERAGE}"
        ))
        .unwrap();
    client.batch_execute("VACUUM ANALYZE changes").unwrap();
    client.batch_execute("VACUUM ANALYZE t0").unwrap();
    println!("filled in {:.0?}", begun.elapsed());
    let sizes = "SELECT relname::text, pg_size_pretty(pg_relation_size(oid)) FROM pg_class \
                 WHERE relname ~ '^changes' AND relkind IN ('r', 'i') ORDER BY pg_relation_size(oid) DESC";
    for size in client.query(sizes, &[]).unwrap() {
        println!("  {}: {}", size.get::<_, &str>(0), size.get::<_, &str>(1));
    }
}
