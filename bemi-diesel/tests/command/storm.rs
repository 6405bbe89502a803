//! Many writers, and a capture that is killed again and again.

use std::thread;

use postgres::{Client, NoTls};

use crate::support::Shop;

const WRITERS: i32 = 8;
const TRANSACTIONS: i32 = 120;

/// What one writer does in its `n`-th transaction: rows in the transaction itself, in savepoints that
/// stay and in ones that are rolled back, an upsert, a row that every writer fights for, a context.
fn transaction(writer: i32, n: i32) -> String {
    let key = writer * 1_000_000 + n * 10;
    let end = if n % 7 == 3 { "ROLLBACK" } else { "COMMIT" };
    format!(
        "BEGIN; SELECT pg_logical_emit_message(true, '_bemi', '{{\"writer\": {writer}, \"n\": {n}}}'); \
         INSERT INTO t VALUES ({key}, 'a'), ({}, repeat('b', 3000)); \
         SAVEPOINT one; UPDATE t SET v = 'c' WHERE id = {key}; \
         SAVEPOINT two; DELETE FROM t WHERE id = {key}; ROLLBACK TO two; \
         INSERT INTO t VALUES ({}, 'd'); RELEASE one; \
         INSERT INTO t VALUES ({key}, 'e') ON CONFLICT (id) DO UPDATE SET v = excluded.v; \
         UPDATE t SET v = '{writer} {n}' WHERE id = 0; DELETE FROM t WHERE id = {}; {end}",
        key + 1,
        key + 2,
        key + 1,
    )
}

#[test]
fn every_change_is_stored_once_and_in_the_order_of_commits() {
    let shop = Shop::open();
    // The truth is written by a trigger within the same transaction; the row that everybody fights for
    // puts the commits in one order, which its trigger's sequence tells.
    shop.sql(
        "CREATE TABLE t (id int PRIMARY KEY, v text); \
         CREATE TABLE truth (n bigserial PRIMARY KEY, xid bigint, op text, before jsonb, after jsonb, context jsonb); \
         INSERT INTO t VALUES (0, ''); \
         CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             INSERT INTO truth (xid, op, before, after) VALUES (pg_current_xact_id()::text::bigint, TG_OP, \
                 CASE WHEN TG_OP = 'INSERT' THEN '{}' ELSE to_jsonb(OLD) END, \
                 CASE WHEN TG_OP = 'DELETE' THEN '{}' ELSE to_jsonb(NEW) END); RETURN NULL; END $$; \
         CREATE TRIGGER tell AFTER INSERT OR UPDATE OR DELETE ON t FOR EACH ROW EXECUTE FUNCTION tell()",
    );
    let setup = shop.bemi(&["setup", "--tables", "t"]);
    assert_eq!(setup.code, 0, "{}", setup.stderr);
    let url = shop.database.url();
    thread::scope(|scope| {
        let writers: Vec<_> = (1..=WRITERS)
            .map(|writer| {
                scope.spawn(move || {
                    let mut client = Client::connect(url, NoTls).unwrap();
                    for n in 0..TRANSACTIONS {
                        client.batch_execute(&transaction(writer, n)).unwrap();
                    }
                })
            })
            .collect();
        while !writers.iter().all(thread::ScopedJoinHandle::is_finished) {
            let stored: i64 = shop.value("SELECT count(*) FROM changes");
            let capture = shop.capture();
            shop.wait_until_stored(stored + 1);
            capture.kill();
        }
    });
    let expected: i64 = shop.value("SELECT count(*) FROM truth");
    assert_eq!(
        expected,
        i64::from(WRITERS * (TRANSACTIONS - TRANSACTIONS.div_euclid(7)) * 7)
    );
    let _capture = shop.capture();
    shop.wait_until_stored(expected);
    let differing = "SELECT count(*) FROM \
        (SELECT row_number() OVER (PARTITION BY xid ORDER BY n) AS i, * FROM truth) truth \
        FULL JOIN (SELECT row_number() OVER (PARTITION BY transaction_id ORDER BY ordinal) AS i, * FROM changes) changes \
        ON truth.xid = changes.transaction_id AND truth.i = changes.i \
        WHERE (truth.op, truth.before, truth.after) IS DISTINCT FROM \
              (CASE operation WHEN 'CREATE' THEN 'INSERT' ELSE operation END, changes.before, changes.after)";
    assert_eq!(shop.value::<i64>(differing), 0);
    // Each transaction has one context, its own.
    let contexts = "SELECT count(*) FROM (SELECT transaction_id, count(DISTINCT changes.context), \
        bool_and(after ->> 'v' = concat_ws(' ', changes.context ->> 'writer', changes.context ->> 'n')) \
            FILTER (WHERE primary_key = '0') AS own FROM changes GROUP BY 1) each WHERE (count, own) <> (1, true)";
    assert_eq!(shop.value::<i64>(contexts), 0);
    // The versions of the row that everybody fights for follow one another.
    let order = "SELECT count(*) FROM (SELECT before ->> 'v' AS old, \
        lag(after ->> 'v', 1, '') OVER (ORDER BY commit_lsn, ordinal) AS previous \
        FROM changes WHERE primary_key = '0') versions WHERE old <> previous";
    assert_eq!(shop.value::<i64>(order), 0);
}
