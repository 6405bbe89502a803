//! Rows of every shape come back as they were.

use bemi_diesel::revert::Action;
use bemi_diesel::{Context, Operation, Revert};
use serde_json::json;

use crate::support::Shop;

#[test]
fn several_changes_of_one_row_are_one() {
    let mut shop = Shop::open(
        "CREATE TABLE todos (id int PRIMARY KEY, title text, done bool); INSERT INTO todos VALUES (1, 'a', false)",
    );
    let reverted = shop.there_and_back(
        "UPDATE todos SET title = 'b'; UPDATE todos SET id = 2; UPDATE todos SET done = true; \
         INSERT INTO todos VALUES (3, 'x', null); UPDATE todos SET title = 'y' WHERE id = 3; DELETE FROM todos WHERE id = 3",
    );
    assert_eq!(reverted.plan.changes, 6);
    let [row] = &reverted.plan.rows[..] else {
        panic!("{:?}", reverted.plan.rows);
    };
    assert_eq!(
        (row.action, row.primary_key.as_deref()),
        (Action::Update, Some("2"))
    );
    assert_eq!(
        row.before.as_str(),
        r#"{"id": 2, "done": true, "title": "b"}"#
    );
    assert_eq!(
        row.after.as_str(),
        r#"{"id": 1, "done": false, "title": "a"}"#
    );
}

#[test]
fn a_row_that_takes_the_key_of_another() {
    let mut shop = Shop::open(
        "CREATE TABLE todos (id int PRIMARY KEY, title text); INSERT INTO todos VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'c')",
    );
    let before = shop.state();
    let moved = "DELETE FROM todos WHERE id = 2; UPDATE todos SET id = 2 WHERE id = 1";
    shop.there_and_back(moved);
    // Here and back again is nothing at all.
    let transaction = shop.transaction(&format!(
        "{moved}; UPDATE todos SET id = 1 WHERE id = 2; INSERT INTO todos VALUES (2, 'b')"
    ));
    let plan = shop.revert(&Revert::new().transaction(transaction)).plan;
    assert_eq!((plan.rows, shop.state()), (vec![], before));
    // It looks like the one that was there, and is another.
    shop.there_and_back("DELETE FROM todos WHERE id = 4; UPDATE todos SET id = 4 WHERE id = 3");
    shop.there_and_back(
        "DELETE FROM todos WHERE id = 4; UPDATE todos SET id = 4 WHERE id = 3; DELETE FROM todos WHERE id = 4; INSERT INTO todos VALUES (4, 'd')",
    );
}

#[test]
fn values_of_many_types() {
    let mut shop = Shop::open(
        "CREATE TYPE mood AS ENUM ('sad', 'it''s ok'); CREATE TYPE pair AS (a int, b text); CREATE DOMAIN small AS int CHECK (VALUE < 100); \
         CREATE TABLE \"Every \"\"type\" (\"The id\" bigint PRIMARY KEY, n numeric, f float8, r real, t text, c char(5), b bytea, ts timestamptz, \
         i interval, d date, j json, jb jsonb NOT NULL, u uuid, ip inet, m mood, p pair, s small, ints int[], texts text[], rg int4range, bits varbit, x tsvector); \
         INSERT INTO \"Every \"\"type\" VALUES (9007199254740993, 1.10, 0.1, 1.1, E'it''s \"\\\\ \\u00e9', 'ab', '\\x00ff', '2024-02-29 12:34:56.789012+05', \
         '1 mon -2 days 03:04:05.000006', '0044-03-15 BC', '{\"b\":1,\"a\":[1.00]}', 'null', gen_random_uuid(), '10.0.0.1/8', 'it''s ok', \
         '(1,\"x,y\")', 7, '{{1,2},{3,null}}', '{\"a\\\"b\",null,\"NULL\"}', '[1,5)', B'10101', 'a:1 b:2'), \
         (2, 'NaN', 'Infinity', '-0', '', '', '', 'infinity', '0', 'infinity', null, '{}', null, null, null, null, null, '{}', '{}', 'empty', '', '')",
    );
    shop.there_and_back("DELETE FROM \"Every \"\"type\"");
    shop.there_and_back(
        "UPDATE \"Every \"\"type\" SET n = 1.1, f = null, r = 2, t = 'x', c = 'y', b = null, ts = now(), i = '1 h', d = now(), j = '1', jb = '2', \
         u = null, ip = null, m = 'sad', p = null, s = 1, ints = null, texts = null, rg = null, bits = null, x = null",
    );
    shop.there_and_back("INSERT INTO \"Every \"\"type\" (\"The id\", jb, n) VALUES (3, '[null]', 123456789012345678901234567890.123456789)");
}

#[test]
fn generated_and_identity_columns() {
    let mut shop = Shop::open(
        "CREATE TABLE goods (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, net numeric, gross numeric GENERATED ALWAYS AS (net * 1.2) STORED); \
         INSERT INTO goods (net) VALUES (10), (20)",
    );
    shop.there_and_back("DELETE FROM goods WHERE id = 1");
    shop.there_and_back("UPDATE goods SET net = 30 WHERE id = 2");
    shop.there_and_back("INSERT INTO goods (net) VALUES (5)");
}

#[test]
fn composite_keys_and_none() {
    let mut shop = Shop::open(
        "CREATE TABLE lines (a int, b text, n int, PRIMARY KEY (b, a)); INSERT INTO lines VALUES (1, 'x', 1), (2, 'x', 2); \
         CREATE TABLE log (what text, n numeric); ALTER TABLE log REPLICA IDENTITY FULL; \
         INSERT INTO log VALUES ('a', 1.0), ('a', 1.0), ('a', 1.00), (null, null)",
    );
    shop.there_and_back("UPDATE lines SET a = a + 10, n = 0; DELETE FROM lines WHERE a = 12; INSERT INTO lines VALUES (12, 'y', 3)");
    // Of equal rows as many come and go as did.
    shop.there_and_back("DELETE FROM log WHERE ctid = (SELECT min(ctid) FROM log)");
    shop.there_and_back(
        "INSERT INTO log VALUES ('a', 1.0), ('b', 2); UPDATE log SET n = 7 WHERE what IS NULL",
    );
    shop.there_and_back("UPDATE log SET what = 'c' WHERE n = 1.0; DELETE FROM log WHERE n IS NULL");
}

#[test]
fn partitions() {
    let mut shop = Shop::open(
        "CREATE TABLE days (id int, day int, note text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day); \
         CREATE TABLE days_1 PARTITION OF days FOR VALUES FROM (0) TO (10); \
         CREATE TABLE days_2 PARTITION OF days FOR VALUES FROM (10) TO (20); \
         CREATE TABLE marks (id int PRIMARY KEY, day_id int, day int, FOREIGN KEY (day_id, day) REFERENCES days ON DELETE CASCADE); \
         INSERT INTO days VALUES (1, 1, 'a'), (2, 12, 'b'); INSERT INTO marks VALUES (1, 1, 1)",
    );
    shop.there_and_back("UPDATE days SET note = 'c'; INSERT INTO days VALUES (3, 3, 'd')");
    // From one partition to the other.
    shop.there_and_back("UPDATE days SET day = day - 10 WHERE id = 2");
    shop.there_and_back("DELETE FROM days WHERE id = 1");
    shop.there_and_back("INSERT INTO days VALUES (4, 4, 'e'); INSERT INTO marks VALUES (2, 4, 4)");
}

#[test]
fn truncated_rows_come_back() {
    let mut shop = Shop::open(
        "CREATE TABLE a (id int PRIMARY KEY, t text); CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a); \
         CREATE TABLE c (t text); ALTER TABLE c REPLICA IDENTITY FULL",
    );
    // From here on the trail knows every row.
    shop.sql("TRUNCATE a, b, c");
    shop.sql("INSERT INTO a VALUES (1, 'x'), (2, 'y'), (3, 'z'); INSERT INTO b VALUES (1, 1), (2, 2); INSERT INTO c VALUES ('r'), ('r'), ('s')");
    shop.sql("UPDATE a SET id = 4, t = 'w' WHERE id = 3; DELETE FROM b WHERE id = 2; UPDATE c SET t = 'q' WHERE t = 's'");
    shop.there_and_back("TRUNCATE a, b, c");
    shop.there_and_back(
        "INSERT INTO a VALUES (9, 'n'); TRUNCATE a, b; INSERT INTO a VALUES (1, 'other')",
    );
}

#[test]
fn deleted_rows_and_whole_tables() {
    let mut shop = Shop::open(
        "CREATE TABLE todos (id int PRIMARY KEY, title text); CREATE TABLE other (id int PRIMARY KEY)",
    );
    shop.sql("INSERT INTO todos VALUES (1, 'a'), (2, 'b')");
    let then = shop.state();
    let instant = shop.now();
    shop.sql("UPDATE todos SET title = 'c' WHERE id = 1");
    shop.sql("DELETE FROM todos WHERE id = 2; INSERT INTO other VALUES (1)");
    let deleted = Revert::to(instant).operation(Operation::Delete);
    shop.revert(&deleted);
    assert_eq!(
        shop.rows("todos"),
        [
            json!({"id": 1, "title": "c"}),
            json!({"id": 2, "title": "b"})
        ]
    );
    // What the revert itself has done goes back with the rest.
    shop.revert(&Revert::to(instant).table("todos"));
    assert_eq!(
        shop.rows("todos"),
        [
            json!({"id": 1, "title": "a"}),
            json!({"id": 2, "title": "b"})
        ]
    );
    assert_eq!(shop.rows("other"), [json!({"id": 1})]);
    shop.revert(&Revert::to(instant));
    assert_eq!(shop.state(), then);
}

#[test]
fn a_users_changes() {
    let mut shop = Shop::open(
        "CREATE TABLE todos (id int PRIMARY KEY, title text); INSERT INTO todos VALUES (1, 'a'), (2, 'a')",
    );
    let by = |user: i32, sql: &str| {
        format!(
            "BEGIN; SELECT pg_logical_emit_message(true, '_bemi', '{{\"user\": {user}, \"é\": 1}}'); {sql}; COMMIT"
        )
    };
    shop.sql(&by(7, "UPDATE todos SET title = 'b' WHERE id = 1"));
    shop.sql(&by(8, "UPDATE todos SET title = 'c' WHERE id = 2"));
    shop.sql(&by(7, "INSERT INTO todos VALUES (3, 'd')"));
    let revert = Revert::new().context(Context::new().with("user", 7));
    shop.revert(&revert);
    assert_eq!(
        shop.rows("todos"),
        [
            json!({"id": 1, "title": "a"}),
            json!({"id": 2, "title": "c"})
        ]
    );
    // Once more, there is nothing to do.
    let again = shop.revert(&revert);
    assert_eq!(
        (
            again.plan.rows.len(),
            again.plan.unchanged,
            again.transaction
        ),
        (0, 2, None)
    );
    // The revert says what it took back.
    shop.caught_up();
    let context: String = shop
        .client
        .query_one(
            "SELECT DISTINCT (context - 'SQL')::text FROM changes WHERE context ? 'revert'",
            &[],
        )
        .unwrap()
        .get(0);
    assert_eq!(context, r#"{"revert": {"context": {"user": 7}}}"#);
    shop.revert(&Revert::new().context(Context::new().with_in(&["revert", "context", "user"], 7)));
    assert_eq!(shop.rows("todos").len(), 3);
}
