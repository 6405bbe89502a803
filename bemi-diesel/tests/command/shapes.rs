//! Tables that have another shape by the time their changes are read.

use serde_json::{Value, json};

use crate::support::Shop;

/// Table, operation, key, before and after of every change, in the order of the trail.
fn changes(shop: &Shop) -> Vec<Value> {
    let changes = shop.bemi(&["changes", "--json"]).json();
    let changes = changes.as_array().unwrap().iter();
    changes
        .map(|c| {
            json!([
                c["table"],
                c["operation"],
                c["primary_key"],
                c["before"],
                c["after"]
            ])
        })
        .collect()
}

/// A shop in which `tables` are made, then `history` runs, and only then its changes are read.
fn read_late(tables: &str, history: &[&str], expected: usize) -> (Shop, Vec<Value>) {
    let shop = Shop::open();
    shop.sql(tables);
    let outcome = shop.bemi(&["setup"]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    for sql in history {
        shop.sql(sql);
    }
    let capture = shop.capture();
    shop.wait_until_stored(i64::try_from(expected).unwrap());
    capture.kill();
    let changes = changes(&shop);
    assert_eq!(changes.len(), expected);
    (shop, changes)
}

#[test]
fn columns_that_came_went_and_were_renamed() {
    let (_shop, changes) = read_late(
        "CREATE TABLE t (gone int, id int PRIMARY KEY, a text)",
        &[
            "INSERT INTO t VALUES (0, 1, 'x')",
            "ALTER TABLE t ADD COLUMN b int DEFAULT 7",
            "UPDATE t SET a = 'y'",
            "ALTER TABLE t DROP COLUMN gone",
            "UPDATE t SET b = 8",
            "ALTER TABLE t RENAME COLUMN id TO key",
            "ALTER TABLE t ALTER COLUMN a TYPE int USING 3",
            "ALTER TABLE t RENAME TO u",
            "DELETE FROM u",
        ],
        4,
    );
    assert_eq!(
        changes,
        [
            json!(["t", "CREATE", "1", {}, {"gone": 0, "id": 1, "a": "x"}]),
            json!(["t", "UPDATE", "1", {"gone": 0, "id": 1, "a": "x", "b": 7}, {"gone": 0, "id": 1, "a": "y", "b": 7}]),
            json!(["t", "UPDATE", "1", {"id": 1, "a": "y", "b": 7}, {"id": 1, "a": "y", "b": 8}]),
            json!(["u", "DELETE", "1", {"key": 1, "a": 3, "b": 8}, {}]),
        ]
    );
}

#[test]
fn a_key_that_was_renamed_is_found_or_left_open() {
    let (_shop, changes) = read_late(
        "CREATE TABLE one (id int PRIMARY KEY, a int); \
         CREATE TABLE two (a int, b int, c int, PRIMARY KEY (c, b)); \
         CREATE TABLE unclear (x int, id int PRIMARY KEY)",
        &[
            "INSERT INTO one VALUES (1, 2); INSERT INTO two VALUES (1, 2, 3); INSERT INTO unclear VALUES (1, 2)",
            "ALTER TABLE one RENAME COLUMN id TO number",
            "ALTER TABLE two RENAME COLUMN b TO d",
            "ALTER TABLE unclear RENAME COLUMN id TO number; ALTER TABLE unclear DROP COLUMN x; ALTER TABLE unclear ADD COLUMN late int",
        ],
        3,
    );
    let keys: Vec<&Value> = changes.iter().map(|change| &change[2]).collect();
    // Of the last it cannot be told which of the two columns the key was.
    assert_eq!(keys, [&json!("1"), &json!(r#"["3","2"]"#), &Value::Null]);
}

#[test]
fn tables_keys_and_types_that_are_gone() {
    let (_shop, changes) = read_late(
        "CREATE TYPE pair AS (n int, t text); CREATE TYPE mood AS ENUM ('sad', 'ok'); \
         CREATE TABLE dropped (id int PRIMARY KEY, p pair, m mood[]); CREATE TABLE unkeyed (id int PRIMARY KEY)",
        &[
            "INSERT INTO dropped VALUES (1, (2, 'x'), '{sad,ok}'); INSERT INTO unkeyed VALUES (1)",
            "DROP TABLE dropped; DROP TYPE pair; DROP TYPE mood; ALTER TABLE unkeyed DROP CONSTRAINT unkeyed_pkey",
            "UPDATE unkeyed SET id = 2",
        ],
        3,
    );
    assert_eq!(
        changes,
        [
            json!(["dropped", "CREATE", null, {}, {"id": 1, "p": "(2,x)", "m": "{sad,ok}"}]),
            json!(["unkeyed", "CREATE", null, {}, {"id": 1}]),
            json!(["unkeyed", "UPDATE", null, {"id": 1}, {"id": 2}]),
        ]
    );
}

#[test]
fn types_within_types_and_partitions_within_partitions() {
    let (shop, changes) = read_late(
        "CREATE TYPE pair AS (n numeric, at timestamptz, \"two words\" text[]); \
         CREATE DOMAIN pairs AS pair[] CHECK (array_length(VALUE, 1) < 5); \
         CREATE TYPE nest AS (inner_pairs pairs, flag bool); \
         CREATE TABLE deep (id int, part int, n nest, PRIMARY KEY (part, id)) PARTITION BY LIST (part); \
         CREATE TABLE deep_1 PARTITION OF deep FOR VALUES IN (1) PARTITION BY RANGE (id); \
         CREATE TABLE deep_1_low PARTITION OF deep_1 FOR VALUES FROM (0) TO (100); \
         CREATE TABLE deep_2 (part int NOT NULL, n nest, id int NOT NULL, PRIMARY KEY (part, id)); \
         ALTER TABLE deep ATTACH PARTITION deep_2 FOR VALUES IN (2)",
        &[
            "INSERT INTO deep VALUES (7, 1, ROW(ARRAY[ROW(1.50, '2001-02-03 04:05:06+00', ARRAY['a,b', NULL, 'c\"d'])::pair, \
             NULL], true))",
            "UPDATE deep SET part = 2",
            "TRUNCATE deep",
        ],
        5,
    );
    let nest = json!({"inner_pairs": [{"n": 1.50, "at": "2001-02-03T04:05:06+00:00", "two words": ["a,b", null, "c\"d"]},
                                      null], "flag": true});
    let row = |part: i32| json!({"id": 7, "part": part, "n": nest});
    assert_eq!(
        changes[..3],
        [
            json!(["deep_1_low", "CREATE", r#"["1","7"]"#, {}, row(1)]),
            json!(["deep_1_low", "DELETE", r#"["1","7"]"#, row(1), {}]),
            json!(["deep_2", "CREATE", r#"["2","7"]"#, {}, row(2)]),
        ]
    );
    let mut truncated: Vec<&str> = changes[3..]
        .iter()
        .map(|change| change[0].as_str().unwrap())
        .collect();
    truncated.sort_unstable();
    // The partitioned tables have no rows, and are not tracked.
    assert_eq!(truncated, ["deep_1_low", "deep_2"]);
    drop(shop);
}

#[test]
fn sixteen_hundred_columns() {
    let columns: Vec<String> = (1..=1599)
        .map(|n| format!("c{n} smallint DEFAULT {n}"))
        .collect();
    let (_shop, changes) = read_late(
        &format!(
            "CREATE TABLE wide (id int PRIMARY KEY, {})",
            columns.join(", ")
        ),
        &[
            "INSERT INTO wide (id) VALUES (1)",
            "UPDATE wide SET c1599 = NULL",
        ],
        2,
    );
    assert_eq!(changes[0][4].as_object().unwrap().len(), 1600);
    assert_eq!(
        (&changes[1][3]["c1599"], &changes[1][4]["c1599"]),
        (&json!(1599), &Value::Null)
    );
}

#[test]
fn a_shape_that_changes_within_the_stream() {
    let shop = Shop::set_up();
    let _capture = shop.capture();
    shop.sql(
        "BEGIN; INSERT INTO todos (title) VALUES ('a'); ALTER TABLE todos ADD COLUMN done bool NOT NULL DEFAULT true; \
         UPDATE todos SET title = 'b'; ALTER TABLE todos DROP COLUMN title; UPDATE todos SET done = false; COMMIT",
    );
    shop.wait_until_stored(3);
    shop.sql("ALTER TABLE todos DROP CONSTRAINT todos_pkey; ALTER TABLE todos ADD COLUMN code text DEFAULT 'x' PRIMARY KEY");
    shop.sql("UPDATE todos SET done = true");
    shop.wait_until_stored(4);
    assert_eq!(
        changes(&shop),
        [
            json!(["todos", "CREATE", "1", {}, {"id": 1, "title": "a"}]),
            json!(["todos", "UPDATE", "1", {"id": 1, "title": "a", "done": true}, {"id": 1, "title": "b", "done": true}]),
            json!(["todos", "UPDATE", "1", {"id": 1, "done": true}, {"id": 1, "done": false}]),
            json!(["todos", "UPDATE", "x", {"id": 1, "done": false, "code": "x"}, {"id": 1, "done": true, "code": "x"}]),
        ]
    );
}

#[test]
fn a_composite_that_is_altered_within_the_stream() {
    let shop = Shop::open();
    shop.sql("CREATE TYPE pair AS (a int, b int); CREATE TABLE t (id int PRIMARY KEY, p pair)");
    assert_eq!(shop.bemi(&["setup"]).code, 0);
    let _capture = shop.capture();
    shop.sql("INSERT INTO t VALUES (1, (1, 2))");
    shop.wait_until_stored(1);
    shop.sql("ALTER TYPE pair ADD ATTRIBUTE c text; ALTER TYPE pair RENAME ATTRIBUTE a TO z");
    shop.sql("INSERT INTO t VALUES (2, (1, 2, 'x'))");
    shop.wait_until_stored(2);
    let after: Vec<Value> = changes(&shop)
        .into_iter()
        .map(|change| change[4]["p"].clone())
        .collect();
    assert_eq!(
        after,
        [json!({"a": 1, "b": 2}), json!({"z": 1, "b": 2, "c": "x"})]
    );
}
