//! Every way to change a row, and the changes that it makes.

use serde_json::{Value, json};

use crate::support::{Trail, builder, connect};

/// Operation, table, before and after of each change.
async fn changes(trail: &Trail) -> Vec<Value> {
    let mut changes = trail.changes().await;
    for change in &mut changes {
        *change = json!([change[0], change[1], change[3], change[4]]);
    }
    changes
}

#[tokio::test]
async fn a_statement_of_many_rows_is_a_change_of_each() {
    let trail = Trail::start("CREATE TABLE t (id int PRIMARY KEY)").await;
    trail
        .sql("INSERT INTO t SELECT generate_series(1, 1000)")
        .await;
    trail
        .sql("UPDATE t SET id = id + 1000; DELETE FROM t")
        .await;
    trail.caught_up().await;
    let sql = "SELECT operation, count(*), count(DISTINCT (commit_lsn, ordinal)), count(DISTINCT primary_key) FROM changes \
               GROUP BY operation ORDER BY operation";
    let rows = trail.client.query(sql, &[]).await.unwrap();
    let rows: Vec<(String, i64, i64, i64)> = rows
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2), row.get(3)))
        .collect();
    assert_eq!(
        rows,
        ["CREATE", "DELETE", "UPDATE"].map(|operation| (operation.to_owned(), 1000, 1000, 1000))
    );
}

#[tokio::test]
async fn upserts_tell_what_became_of_each_row() {
    let trail = Trail::start(
        "CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t VALUES (1, 1), (2, 2)",
    )
    .await;
    trail
        .sql("INSERT INTO t VALUES (1, 10), (3, 30) ON CONFLICT (id) DO UPDATE SET n = excluded.n")
        .await;
    trail
        .sql("INSERT INTO t VALUES (2, 20), (4, 40) ON CONFLICT DO NOTHING")
        .await;
    assert_eq!(
        changes(&trail).await,
        [
            json!(["UPDATE", "t", {"id": 1, "n": 1}, {"id": 1, "n": 10}]),
            json!(["CREATE", "t", {}, {"id": 3, "n": 30}]),
            json!(["CREATE", "t", {}, {"id": 4, "n": 40}]),
        ]
    );
}

#[tokio::test]
async fn merge_tells_each_of_its_actions() {
    let trail = Trail::start(
        "CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t VALUES (1, 1), (2, 2)",
    )
    .await;
    let merge = "MERGE INTO t USING (VALUES (1, 10), (2, 0), (3, 30)) v (id, n) ON t.id = v.id \
                 WHEN MATCHED AND v.n = 0 THEN DELETE WHEN MATCHED THEN UPDATE SET n = v.n \
                 WHEN NOT MATCHED THEN INSERT VALUES (v.id, v.n)";
    let version = trail
        .client
        .query_one("SELECT current_setting('server_version_num')::int", &[])
        .await
        .unwrap();
    if version.get::<_, i32>(0) < 150_000 {
        return;
    }
    trail.sql(merge).await;
    assert_eq!(
        changes(&trail).await,
        [
            json!(["UPDATE", "t", {"id": 1, "n": 1}, {"id": 1, "n": 10}]),
            json!(["DELETE", "t", {"id": 2, "n": 2}, {}]),
            json!(["CREATE", "t", {}, {"id": 3, "n": 30}]),
        ]
    );
}

#[tokio::test]
async fn truncating_tables_reaches_those_that_refer_to_them() {
    let trail = Trail::start(
        "CREATE TABLE parent (id serial PRIMARY KEY); CREATE TABLE child (parent int REFERENCES parent); \
         CREATE TABLE other (id int); CREATE TABLE quiet (id int); \
         INSERT INTO parent VALUES (1); INSERT INTO child VALUES (1)",
    )
    .await;
    trail
        .sql("TRUNCATE parent, other RESTART IDENTITY CASCADE; INSERT INTO parent DEFAULT VALUES")
        .await;
    let mut changes = changes(&trail).await;
    let last = changes.pop().unwrap();
    assert_eq!(last, json!(["CREATE", "parent", {}, {"id": 1}]));
    changes.sort_by_key(ToString::to_string);
    assert_eq!(
        changes,
        ["child", "other", "parent"].map(|table| json!(["TRUNCATE", table, {}, {}]))
    );
}

#[tokio::test]
async fn cascades_and_triggers_are_changes_of_their_own() {
    let trail = Trail::start(
        "CREATE TABLE parent (id int PRIMARY KEY); \
         CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent ON DELETE CASCADE ON UPDATE CASCADE); \
         CREATE TABLE orphan (parent int REFERENCES parent ON DELETE SET NULL); CREATE TABLE log (what text); \
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS \
           $$ BEGIN INSERT INTO log VALUES (TG_OP || ' ' || coalesce(NEW.id, OLD.id)); RETURN NULL; END $$; \
         CREATE TRIGGER note AFTER INSERT OR DELETE ON child FOR EACH ROW EXECUTE FUNCTION note(); \
         INSERT INTO parent VALUES (1); INSERT INTO orphan VALUES (1)",
    )
    .await;
    trail.sql("INSERT INTO child VALUES (5, 1)").await;
    trail
        .sql("UPDATE parent SET id = 2 WHERE false; DELETE FROM parent")
        .await;
    let mut changes = changes(&trail).await;
    // In which order the two references act is PostgreSQL's business.
    changes[3..].sort_by_key(ToString::to_string);
    assert_eq!(
        changes,
        [
            json!(["CREATE", "child", {}, {"id": 5, "parent": 1}]),
            json!(["CREATE", "log", {}, {"what": "INSERT 5"}]),
            json!(["DELETE", "parent", {"id": 1}, {}]),
            json!(["CREATE", "log", {}, {"what": "DELETE 5"}]),
            json!(["DELETE", "child", {"id": 5, "parent": 1}, {}]),
            json!(["UPDATE", "orphan", {"parent": 1}, {"parent": null}]),
        ]
    );
}

const PARTITIONED: &str = "CREATE TABLE orders (id int PRIMARY KEY, total numeric) PARTITION BY RANGE (id); \
    CREATE TABLE low PARTITION OF orders FOR VALUES FROM (0) TO (100); \
    CREATE TABLE high PARTITION OF orders FOR VALUES FROM (100) TO (200); \
    CREATE TABLE spare (id int PRIMARY KEY, total numeric)";

#[tokio::test]
async fn rows_of_partitions_are_told_by_partition() {
    let trail = Trail::start(PARTITIONED).await;
    trail
        .sql("INSERT INTO orders VALUES (1, 1.0), (100, 2.00)")
        .await;
    trail.sql("UPDATE orders SET id = 150 WHERE id = 1").await;
    trail.sql("TRUNCATE orders").await;
    assert_eq!(
        changes(&trail).await,
        [
            json!(["CREATE", "low", {}, {"id": 1, "total": 1.0}]),
            json!(["CREATE", "high", {}, {"id": 100, "total": 2.00}]),
            // A move is what it is in the log: a row less here, one more there.
            json!(["DELETE", "low", {"id": 1, "total": 1.0}, {}]),
            json!(["CREATE", "high", {}, {"id": 150, "total": 1.0}]),
            json!(["TRUNCATE", "low", {}, {}]),
            json!(["TRUNCATE", "high", {}, {}]),
        ]
    );
}

#[tokio::test]
async fn partitions_that_are_attached_and_detached_go_on_being_told() {
    let trail = Trail::start(PARTITIONED).await;
    trail.sql("INSERT INTO spare VALUES (201, 0)").await;
    trail
        .sql("ALTER TABLE orders ATTACH PARTITION spare FOR VALUES FROM (200) TO (300)")
        .await;
    trail.sql("INSERT INTO orders VALUES (202, 1)").await;
    trail
        .sql("ALTER TABLE orders DETACH PARTITION low; INSERT INTO low VALUES (1000, 2)")
        .await;
    assert_eq!(
        changes(&trail).await,
        [
            json!(["CREATE", "spare", {}, {"id": 201, "total": 0}]),
            json!(["CREATE", "spare", {}, {"id": 202, "total": 1}]),
            json!(["CREATE", "low", {}, {"id": 1000, "total": 2}]),
        ]
    );
}

#[tokio::test]
async fn a_publication_via_the_root_tells_rows_by_the_partitioned_table() {
    let trail = Trail::start(PARTITIONED).await;
    trail
        .sql("ALTER PUBLICATION bemi SET (publish_via_partition_root = true); ALTER PUBLICATION bemi SET TABLE orders; \
              ALTER TABLE orders REPLICA IDENTITY FULL")
        .await;
    trail
        .sql("INSERT INTO orders VALUES (1, 1), (100, 2); UPDATE orders SET total = 3 WHERE id = 1")
        .await;
    trail
        .sql("UPDATE orders SET id = 150 WHERE id = 1; TRUNCATE orders")
        .await;
    let changes = trail.changes().await;
    let brief: Vec<Value> = changes
        .iter()
        .map(|change| json!([change[0], change[1], change[2], change[4]]))
        .collect();
    assert_eq!(
        brief,
        [
            json!(["CREATE", "orders", "1", {"id": 1, "total": 1}]),
            json!(["CREATE", "orders", "100", {"id": 100, "total": 2}]),
            json!(["UPDATE", "orders", "1", {"id": 1, "total": 3}]),
            json!(["DELETE", "orders", "1", {}]),
            json!(["CREATE", "orders", "150", {"id": 150, "total": 3}]),
            json!(["TRUNCATE", "orders", null, {}]),
        ]
    );
}

#[tokio::test]
async fn inherited_tables_are_tables_of_their_own() {
    let trail = Trail::start(
        "CREATE TABLE base (id int, n int); CREATE TABLE derived (extra text) INHERITS (base)",
    )
    .await;
    trail.sql("INSERT INTO base VALUES (1, 1); INSERT INTO derived VALUES (2, 2, 'x'); UPDATE base SET n = n + 1; TRUNCATE base").await;
    assert_eq!(
        changes(&trail).await,
        [
            json!(["CREATE", "base", {}, {"id": 1, "n": 1}]),
            json!(["CREATE", "derived", {}, {"id": 2, "n": 2, "extra": "x"}]),
            json!(["UPDATE", "base", {"id": 1, "n": 1}, {"id": 1, "n": 2}]),
            json!(["UPDATE", "derived", {"id": 2, "n": 2, "extra": "x"}, {"id": 2, "n": 3, "extra": "x"}]),
            json!(["TRUNCATE", "base", {}, {}]),
            json!(["TRUNCATE", "derived", {}, {}]),
        ]
    );
}

#[tokio::test]
async fn unlogged_and_temporary_tables_are_not_in_the_trail() {
    let trail = Trail::start("CREATE TABLE t (id int); CREATE UNLOGGED TABLE quiet (id int)").await;
    trail.sql("CREATE TEMPORARY TABLE passing (id int); INSERT INTO passing VALUES (1); INSERT INTO quiet VALUES (1)").await;
    trail.sql("INSERT INTO t VALUES (1)").await;
    assert_eq!(
        changes(&trail).await,
        [json!(["CREATE", "t", {}, {"id": 1}])]
    );
}

const RULED: &str = "CREATE TABLE posts (id int PRIMARY KEY, title text, likes_cached_counter int, updated_at timestamptz); \
    INSERT INTO posts VALUES (1, 'a', 0, NULL)";

#[tokio::test]
async fn updates_that_change_nothing_make_no_entry_unless_asked_for() {
    let trail = Trail::start(&format!("CREATE TABLE mark (id int); {RULED}")).await;
    let touch = "UPDATE posts SET title = title; UPDATE posts SET title = 'a'";
    trail.sql(touch).await;
    trail.sql("INSERT INTO mark VALUES (1)").await;
    let mark = json!(["CREATE", "mark", {}, {"id": 1}]);
    assert_eq!(changes(&trail).await, std::slice::from_ref(&mark));
    let Trail {
        client,
        capture,
        database,
    } = trail;
    capture.shutdown().await.unwrap();
    client.batch_execute(touch).await.unwrap();
    let capture = builder(&database).keep_unchanged().start().await.unwrap();
    let trail = Trail {
        client,
        capture,
        database,
    };
    let row = json!({"id": 1, "title": "a", "likes_cached_counter": 0, "updated_at": null});
    let same = json!(["UPDATE", "posts", row, row]);
    assert_eq!(changes(&trail).await, [mark, same.clone(), same]);
}

#[tokio::test]
async fn changes_of_only_ignored_columns_make_no_entry() {
    let trail = Trail::start(RULED).await;
    let Trail {
        client,
        capture,
        database,
    } = trail;
    capture.shutdown().await.unwrap();
    let capture = builder(&database)
        .ignore(["*.updated_at", "*_cached_counter"])
        .start()
        .await
        .unwrap();
    let trail = Trail {
        client,
        capture,
        database,
    };
    trail
        .sql("BEGIN; UPDATE posts SET updated_at = '2024-01-01 00:00:00+00'; UPDATE posts SET likes_cached_counter = 1; \
              UPDATE posts SET title = 'b', likes_cached_counter = 2; COMMIT")
        .await;
    let row = |title, likes| json!({"id": 1, "title": title, "likes_cached_counter": likes, "updated_at": "2024-01-01T00:00:00+00:00"});
    assert_eq!(
        changes(&trail).await,
        [json!(["UPDATE", "posts", row("a", 1), row("b", 2)])]
    );
    // What identifies a change does not depend on what else is left out.
    let ordinal = trail
        .client
        .query_one("SELECT ordinal FROM changes", &[])
        .await
        .unwrap();
    assert_eq!(ordinal.get::<_, i64>(0), 2);
}

#[tokio::test]
async fn a_pattern_that_names_no_column_is_refused() {
    let trail = Trail::start(RULED).await;
    for pattern in ["", "posts.", ".title"] {
        let error = builder(&trail.database)
            .ignore([pattern])
            .start()
            .await
            .unwrap_err();
        let expected = format!(
            "the pattern {pattern:?} names no column: it is `column`, `table.column` or `schema.table.column`"
        );
        assert_eq!(error.to_string(), expected);
    }
}

/// The server sends the row of the second savepoint before the context that stands in front of it.
#[tokio::test]
async fn a_context_between_savepoints_covers_what_follows_it() {
    let trail =
        Trail::start("CREATE TABLE t (id int, n int DEFAULT 0); INSERT INTO t VALUES (1), (2)")
            .await;
    let other = connect(trail.database.url()).await;
    for n in 1..=10 {
        other
            .batch_execute(&format!(
                "BEGIN; SAVEPOINT a; UPDATE t SET n = {n}; RELEASE a; \
                 SAVEPOINT b; SELECT pg_logical_emit_message(true, '_bemi', '{{\"n\": {n}}}'); RELEASE b; \
                 SAVEPOINT c; UPDATE t SET n = -{n}; RELEASE c; \
                 SAVEPOINT d; SELECT pg_logical_emit_message(true, '_bemi', '{{\"last\": {n}}}'); RELEASE d; \
                 SAVEPOINT e; UPDATE t SET n = 0; RELEASE e; COMMIT"
            ))
            .await
            .unwrap();
    }
    let contexts: Vec<Value> = trail
        .contexts()
        .await
        .into_iter()
        .map(|pair| pair[1].clone())
        .collect();
    let expected: Vec<Value> = (1..=10)
        .flat_map(|n| {
            [
                json!({"n": n}),
                json!({"n": n}),
                json!({"n": n}),
                json!({"n": n}),
                json!({"last": n}),
                json!({"last": n}),
            ]
        })
        .collect();
    assert_eq!(contexts, expected);
}
