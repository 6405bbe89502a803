//! Rows of every kind: what is told of large values, generated columns, keys, and tables that are altered
//! on the way.

use serde_json::{Value, json};

use crate::support::Trail;

/// Large, and stored as it is, outside of the row.
const LARGE: &str = "string_agg(md5(n::text), '') FROM generate_series(1, 200) n";

async fn major(trail: &Trail) -> i32 {
    let sql = "SELECT current_setting('server_version_num')::int / 10000";
    trail.client.query_one(sql, &[]).await.unwrap().get(0)
}

/// Operation, key, before and after of each change.
async fn images(trail: &Trail) -> Vec<Value> {
    let mut changes = trail.changes().await;
    for change in &mut changes {
        *change = json!([change[0], change[2], change[3], change[4]]);
    }
    changes
}

#[tokio::test]
async fn a_large_value_that_was_left_alone_is_told_under_full_identity() {
    let trail = Trail::start("CREATE TABLE t (id int PRIMARY KEY, big text, n int)").await;
    trail
        .sql("ALTER TABLE t ALTER big SET STORAGE EXTERNAL")
        .await;
    trail.sql(&format!("INSERT INTO t SELECT 1, {LARGE}")).await;
    trail.sql("UPDATE t SET n = 1").await;
    let sql = "SELECT bool_and(length(before ->> 'big') = 6400), bool_and(after -> 'big' = before -> 'big') \
               FROM changes WHERE operation = 'UPDATE'";
    trail.caught_up().await;
    let row = trail.client.query_one(sql, &[]).await.unwrap();
    assert_eq!((row.get(0), row.get(1)), (Some(true), Some(true)));
}

#[tokio::test]
async fn a_large_value_that_was_left_alone_is_unknown_under_default_identity() {
    let trail = Trail::start("CREATE TABLE t (id int PRIMARY KEY, big text, n int)").await;
    trail
        .sql("ALTER TABLE t ALTER big SET STORAGE EXTERNAL; ALTER TABLE t REPLICA IDENTITY DEFAULT")
        .await;
    trail.sql(&format!("INSERT INTO t SELECT 1, {LARGE}")).await;
    trail.sql("UPDATE t SET n = 1").await;
    trail.sql("UPDATE t SET n = 1").await;
    trail.sql("UPDATE t SET big = 'small'").await;
    trail.sql("UPDATE t SET id = 2").await;
    trail.sql("DELETE FROM t").await;
    assert_eq!(
        images(&trail).await[1..],
        [
            json!(["UPDATE", "1", {}, {"id": 1, "n": 1}]),
            // Whether it changed anything is unknown, so it is kept.
            json!(["UPDATE", "1", {}, {"id": 1, "n": 1}]),
            json!(["UPDATE", "1", {}, {"id": 1, "big": "small", "n": 1}]),
            json!(["UPDATE", "2", {"id": 1}, {"id": 2, "big": "small", "n": 1}]),
            json!(["DELETE", "2", {"id": 2}, {}]),
        ]
    );
}

/// Before PostgreSQL 18 the log's reader is not given them; from 18 on setup asks for them.
#[tokio::test]
async fn stored_generated_columns_are_told_from_18_on() {
    let trail = Trail::start(
        "CREATE TABLE t (id int PRIMARY KEY, n int, twice int GENERATED ALWAYS AS (n * 2) STORED)",
    )
    .await;
    trail.sql("INSERT INTO t VALUES (1, 2)").await;
    trail.sql("UPDATE t SET n = 3").await;
    trail.sql("DELETE FROM t").await;
    let row = |n: i32| json!({"id": 1, "n": n});
    let mut expected = [
        json!(["CREATE", "1", {}, row(2)]),
        json!(["UPDATE", "1", row(2), row(3)]),
        json!(["DELETE", "1", row(3), {}]),
    ];
    if major(&trail).await >= 18 {
        for side in expected
            .iter_mut()
            .flat_map(|change| change.as_array_mut().unwrap())
        {
            if let Some(n) = side.get("n").and_then(Value::as_i64) {
                side["twice"] = json!(n * 2);
            }
        }
    }
    assert_eq!(images(&trail).await, expected);
}

/// They are in no log, and under FULL identity PostgreSQL would refuse to update the table at all.
#[tokio::test]
async fn virtual_generated_columns_cost_the_row_before_and_never_an_update() {
    let trail = Trail::start("CREATE TABLE old (id int PRIMARY KEY)").await;
    if major(&trail).await < 18 {
        return;
    }
    drop(trail);
    let trail = Trail::start(
        "CREATE TABLE t (id int PRIMARY KEY, n int, twice int GENERATED ALWAYS AS (n * 2) VIRTUAL); \
         CREATE TABLE keyless (n int, twice int GENERATED ALWAYS AS (n * 2) VIRTUAL)",
    )
    .await;
    trail
        .sql("INSERT INTO t VALUES (1, 2); UPDATE t SET n = 3; DELETE FROM t")
        .await;
    trail
        .sql("INSERT INTO keyless VALUES (1); UPDATE keyless SET n = 2; DELETE FROM keyless")
        .await;
    assert_eq!(
        images(&trail).await,
        [
            json!(["CREATE", "1", {}, {"id": 1, "n": 2}]),
            json!(["UPDATE", "1", {}, {"id": 1, "n": 3}]),
            json!(["DELETE", "1", {"id": 1}, {}]),
        ]
    );
}

#[tokio::test]
async fn columns_that_are_added_and_dropped_in_the_stream() {
    let trail = Trail::start("CREATE TABLE t (id int PRIMARY KEY, old text)").await;
    trail.sql("INSERT INTO t VALUES (1, 'a')").await;
    trail
        .sql("ALTER TABLE t ADD added numeric DEFAULT 1.50")
        .await;
    trail.sql("UPDATE t SET old = 'b'").await;
    trail.sql("BEGIN; UPDATE t SET old = 'c'; ALTER TABLE t DROP old; UPDATE t SET added = 2.0; COMMIT").await;
    trail
        .sql("ALTER TABLE t ALTER added TYPE text USING 'now text'; DELETE FROM t")
        .await;
    assert_eq!(
        images(&trail).await,
        [
            json!(["CREATE", "1", {}, {"id": 1, "old": "a"}]),
            json!(["UPDATE", "1", {"id": 1, "old": "a", "added": 1.50}, {"id": 1, "old": "b", "added": 1.50}]),
            json!(["UPDATE", "1", {"id": 1, "old": "b", "added": 1.50}, {"id": 1, "old": "c", "added": 1.50}]),
            json!(["UPDATE", "1", {"id": 1, "added": 1.50}, {"id": 1, "added": 2.0}]),
            json!(["DELETE", "1", {"id": 1, "added": "now text"}, {}]),
        ]
    );
}

#[tokio::test]
async fn a_renamed_table_has_the_name_of_its_time() {
    let trail =
        Trail::start("CREATE TABLE before (id int PRIMARY KEY, n int); CREATE SCHEMA other").await;
    trail.sql("INSERT INTO before VALUES (1, 1)").await;
    trail.sql("ALTER TABLE before RENAME TO after; ALTER TABLE after RENAME n TO m; ALTER TABLE after SET SCHEMA other").await;
    trail.sql("UPDATE other.after SET m = 2").await;
    trail.caught_up().await;
    let sql = "SELECT jsonb_agg(jsonb_build_array(schema, \"table\", primary_key, before, after) ORDER BY commit_lsn) FROM changes";
    let changes: Value = trail.client.query_one(sql, &[]).await.unwrap().get(0);
    assert_eq!(
        changes,
        json!([
            ["public", "before", "1", {}, {"id": 1, "n": 1}],
            ["other", "after", "1", {"id": 1, "m": 1}, {"id": 1, "m": 2}],
        ])
    );
}

#[tokio::test]
async fn keys_of_any_type() {
    let types = [
        ("int2", "-7"),
        ("int8", "9223372036854775807"),
        ("numeric", "10.500"),
        ("text", "a \"b\"\\,"),
        ("bool", "t"),
        ("uuid", "00000000-0000-0000-0000-00000000000a"),
        ("date", "2024-02-29"),
        ("timestamptz", "2024-02-29 12:00:00+00"),
        ("bytea", "\\x00ff"),
        ("inet", "10.0.0.1"),
        ("int4[]", "{1,2}"),
        ("int4range", "[1,5)"),
        ("money", "$1.50"),
        ("\"char\"", "x"),
        ("mood", "so so"),
        ("interval", "1 mon 2 days"),
    ];
    let tables: Vec<String> = types
        .iter()
        .enumerate()
        .map(|(at, (ty, _))| format!("CREATE TABLE t{at} (k {ty} PRIMARY KEY)"))
        .collect();
    let trail = Trail::start(&format!(
        "CREATE TYPE mood AS ENUM ('ok', 'so so'); {}",
        tables.join("; ")
    ))
    .await;
    for (at, (ty, text)) in types.iter().enumerate() {
        let text = text.replace('\'', "''");
        trail
            .sql(&format!(
                "INSERT INTO t{at} VALUES ('{text}'::{ty}); DELETE FROM t{at}"
            ))
            .await;
    }
    let keys: Vec<String> = images(&trail)
        .await
        .iter()
        .map(|change| change[1].as_str().unwrap().to_owned())
        .collect();
    let expected: Vec<&str> = types.iter().flat_map(|(_, text)| [*text, *text]).collect();
    assert_eq!(keys, expected);
}

#[tokio::test]
async fn composite_keys_change_as_a_whole() {
    let trail = Trail::start("CREATE TABLE t (a int, n int, b text, PRIMARY KEY (b, a))").await;
    trail.sql("INSERT INTO t VALUES (1, 0, 'x,\"y')").await;
    trail.sql("UPDATE t SET a = 2").await;
    trail.sql("UPDATE t SET b = 'z', a = 3").await;
    let keys: Vec<Value> = images(&trail)
        .await
        .iter()
        .map(|change| change[1].clone())
        .collect();
    assert_eq!(
        keys,
        [
            json!(r#"["x,\"y","1"]"#),
            json!(r#"["x,\"y","2"]"#),
            json!(r#"["z","3"]"#)
        ]
    );
}

#[tokio::test]
async fn a_table_without_key_tells_equal_rows_one_by_one() {
    let trail = Trail::start("CREATE TABLE t (n int)").await;
    trail
        .sql("INSERT INTO t VALUES (1), (1); UPDATE t SET n = 2; DELETE FROM t")
        .await;
    let expected: Vec<Value> = [
        ("CREATE", json!({}), json!({"n": 1})),
        ("UPDATE", json!({"n": 1}), json!({"n": 2})),
        ("DELETE", json!({"n": 2}), json!({})),
    ]
    .into_iter()
    .flat_map(|(operation, before, after)| {
        std::iter::repeat_n(json!([operation, null, before, after]), 2)
    })
    .collect();
    assert_eq!(images(&trail).await, expected);
}

#[tokio::test]
async fn names_of_63_bytes_with_spaces_dots_and_quotes() {
    let name = "a \"b\".c d.é".to_owned() + &"x".repeat(51);
    assert_eq!(name.len(), 63);
    let quoted = format!("\"{}\"", name.replace('"', "\"\""));
    let trail = Trail::start(&format!(
        "CREATE SCHEMA {quoted}; CREATE TABLE {quoted}.{quoted} ({quoted} text PRIMARY KEY, \"SELECT\" int)"
    ))
    .await;
    trail.sql(&format!("INSERT INTO {quoted}.{quoted} VALUES ('k', 1); UPDATE {quoted}.{quoted} SET \"SELECT\" = 2")).await;
    trail.caught_up().await;
    let sql = "SELECT array_agg(DISTINCT schema), array_agg(DISTINCT \"table\"), jsonb_agg(after ORDER BY ordinal, commit_lsn) FROM changes";
    let row = trail.client.query_one(sql, &[]).await.unwrap();
    assert_eq!(
        (row.get::<_, Vec<&str>>(0), row.get::<_, Vec<&str>>(1)),
        (vec![&*name], vec![&*name])
    );
    let row_of =
        |n| Value::from_iter([(name.clone(), json!("k")), ("SELECT".to_owned(), json!(n))]);
    assert_eq!(row.get::<_, Value>(2), json!([row_of(1), row_of(2)]));
}
