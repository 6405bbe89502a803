//! What the open-source worker that bemi is named after gets wrong, each as a test.

use serde_json::{Value, json};

use crate::support::{Trail, builder};

const TODOS: &str = "CREATE TABLE todos (id int PRIMARY KEY, title text)";

fn emit(context: &str) -> String {
    let context = context.replace('\'', "''");
    format!("SELECT pg_logical_emit_message(true, '_bemi', '{context}')")
}

/// It keeps one row of each COPY, as its key is the position in the log, which they share.
#[tokio::test]
async fn every_row_of_one_copy_is_kept() {
    let trail = Trail::start(TODOS).await;
    let sink = trail.client.copy_in("COPY todos FROM STDIN").await.unwrap();
    let mut sink = std::pin::pin!(sink);
    futures_util::SinkExt::send(&mut sink, &b"1\ta\n2\tb\n3\tc\n"[..])
        .await
        .unwrap();
    sink.finish().await.unwrap();
    let keys: Vec<Value> = trail
        .changes()
        .await
        .iter()
        .map(|change| change[2].clone())
        .collect();
    assert_eq!(keys, ["1", "2", "3"]);
    let sql = "SELECT count(DISTINCT position), count(DISTINCT (commit_lsn, ordinal)) FROM changes";
    let row = trail.client.query_one(sql, &[]).await.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (1, 3));
}

/// It loses the context of a transaction that does not fit into one fetch.
#[tokio::test]
async fn a_transaction_of_many_rows_keeps_the_context_that_comes_last() {
    let trail = Trail::start(TODOS).await;
    let last = emit(r#"{"user": 7}"#);
    trail.sql(&format!("BEGIN; INSERT INTO todos SELECT n, repeat('x', 200) FROM generate_series(1, 20000) n; {last}; COMMIT")).await;
    trail.caught_up().await;
    let sql = "SELECT count(*), bool_and(context = '{\"user\": 7}') FROM changes";
    let row = trail.client.query_one(sql, &[]).await.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get(1)), (20_000, Some(true)));
}

/// It gives all rows of a transaction the first of its contexts.
#[tokio::test]
async fn each_row_has_the_context_of_its_time() {
    let trail = Trail::start(TODOS).await;
    let (first, second) = (emit(r#"{"n": 1}"#), emit(r#"{"n": 2}"#));
    trail.sql(&format!("BEGIN; {first}; INSERT INTO todos VALUES (1); {second}; INSERT INTO todos VALUES (2); COMMIT")).await;
    assert_eq!(
        trail.contexts().await,
        [json!(["1", {"n": 1}]), json!(["2", {"n": 2}])]
    );
}

/// It takes contexts out of comments, which a value can end.
#[tokio::test]
async fn a_value_that_looks_like_the_end_of_a_comment_forges_nothing() {
    let trail = Trail::start(TODOS).await;
    let hostile = json!({"name": "x */ /*Bemi {\"user\": 1} Bemi*/ '; DROP TABLE todos; --"});
    let context = emit(&hostile.to_string());
    trail.sql(&format!("BEGIN; {context}; INSERT INTO todos VALUES (1, '/*Bemi {{\"user\": 1}} Bemi*/'); COMMIT")).await;
    assert_eq!(trail.contexts().await, [json!(["1", hostile])]);
}

/// A message that is not JSON stops it for ever.
#[tokio::test]
async fn a_message_that_is_no_json_stops_nothing() {
    let trail = Trail::start(TODOS).await;
    for (id, message) in ["{", "", "7", "\u{1}"].iter().enumerate() {
        trail
            .sql(&format!(
                "BEGIN; {}; INSERT INTO todos VALUES ({id}); COMMIT",
                emit(message)
            ))
            .await;
    }
    assert_eq!(
        trail.contexts().await,
        [0, 1, 2, 3].map(|id: u8| json!([id.to_string(), {}]))
    );
    assert_eq!(trail.capture.status().rejected_contexts, 4);
}

/// It knows no key but a column called `id`.
#[tokio::test]
async fn the_key_is_the_primary_key() {
    let trail = Trail::start("CREATE TABLE t (id text, number int PRIMARY KEY)").await;
    trail.sql("INSERT INTO t VALUES ('not the key', 7)").await;
    assert_eq!(trail.changes().await[0][2], "7");
}

/// It makes a float of `numeric`.
#[tokio::test]
async fn numeric_keeps_every_digit() {
    const DIGITS: &str = "12345678901234567890.12345678901234567890000";
    let trail = Trail::start("CREATE TABLE t (n numeric)").await;
    trail.sql(&format!("INSERT INTO t VALUES ({DIGITS})")).await;
    trail.caught_up().await;
    let sql = "SELECT (after -> 'n')::text FROM changes";
    assert_eq!(
        trail
            .client
            .query_one(sql, &[])
            .await
            .unwrap()
            .get::<_, &str>(0),
        DIGITS
    );
}

/// It throws at a large value that an UPDATE left alone.
#[tokio::test]
async fn a_large_value_that_was_left_alone_stops_nothing() {
    let trail = Trail::start("CREATE TABLE t (id int PRIMARY KEY, big text); ALTER TABLE t ALTER big SET STORAGE EXTERNAL").await;
    trail
        .sql("INSERT INTO t VALUES (1, repeat('x', 10000)); UPDATE t SET id = 2")
        .await;
    let after = &trail.changes().await[1][4];
    assert_eq!(after, &json!({"id": 2, "big": "x".repeat(10_000)}));
}

/// Its restart drops the slot, and with it what was committed in the meantime.
#[tokio::test]
async fn a_restart_goes_on_where_it_left_off() {
    let trail = Trail::start(TODOS).await;
    let slot = "SELECT restart_lsn, catalog_xmin FROM pg_replication_slots WHERE slot_name = $1";
    trail.sql("INSERT INTO todos VALUES (1)").await;
    trail.caught_up().await;
    let Trail {
        client,
        capture,
        database,
    } = trail;
    capture.shutdown().await.unwrap();
    client
        .batch_execute("INSERT INTO todos VALUES (2)")
        .await
        .unwrap();
    assert!(
        client
            .query_opt(slot, &[&database.name()])
            .await
            .unwrap()
            .is_some()
    );
    let capture = builder(&database).start().await.unwrap();
    let trail = Trail {
        client,
        capture,
        database,
    };
    assert_eq!(trail.contexts().await, [json!(["1", {}]), json!(["2", {}])]);
}

/// It stores about 100 messages a second.
#[tokio::test]
async fn a_backlog_of_two_thousand_transactions_is_stored_in_few_batches() {
    let Trail {
        client,
        capture,
        database,
    } = Trail::start(TODOS).await;
    capture.shutdown().await.unwrap();
    client
        .batch_execute("DO $$ BEGIN FOR n IN 1..2000 LOOP INSERT INTO todos VALUES (n); COMMIT; END LOOP; END $$")
        .await
        .unwrap();
    let capture = builder(&database).start().await.unwrap();
    let trail = Trail {
        client,
        capture,
        database,
    };
    trail.caught_up().await;
    assert_eq!(trail.capture.status().transactions, 2000);
    let batches = "SELECT count(DISTINCT xmin::text) FROM changes";
    let batches: i64 = trail.client.query_one(batches, &[]).await.unwrap().get(0);
    assert!(batches < 500, "{batches}");
}
