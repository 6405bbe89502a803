//! Which changes there are, and what `before` and `after` hold.

use serde_json::{Value, json};

use crate::support::Trail;

const TODOS: &str = "CREATE TABLE todos (id serial PRIMARY KEY, title text)";

#[tokio::test]
async fn every_operation_has_the_whole_row_on_both_sides() {
    let trail = Trail::start(TODOS).await;
    trail
        .sql("INSERT INTO todos (title) VALUES ('Sleep')")
        .await;
    trail.sql("UPDATE todos SET title = 'Dream'").await;
    trail.sql("UPDATE todos SET id = 7").await;
    trail.sql("DELETE FROM todos").await;
    trail.sql("TRUNCATE todos").await;
    assert_eq!(
        trail.changes().await,
        [
            json!(["CREATE", "todos", "1", {}, {"id": 1, "title": "Sleep"}, {}]),
            json!(["UPDATE", "todos", "1", {"id": 1, "title": "Sleep"}, {"id": 1, "title": "Dream"}, {}]),
            json!(["UPDATE", "todos", "7", {"id": 1, "title": "Dream"}, {"id": 7, "title": "Dream"}, {}]),
            json!(["DELETE", "todos", "7", {"id": 7, "title": "Dream"}, {}, {}]),
            json!(["TRUNCATE", "todos", null, {}, {}, {}]),
        ]
    );
}

#[tokio::test]
async fn the_other_columns_say_where_and_when() {
    let trail = Trail::start(TODOS).await;
    let row = trail
        .client
        .query_one("INSERT INTO todos (title) VALUES ('a'), ('b') RETURNING pg_current_xact_id()::text::bigint", &[]);
    // `query_one` refuses two rows; one transaction number is all that is wanted.
    assert!(row.await.is_err());
    trail.caught_up().await;
    let sql = "SELECT (source = (SELECT system_identifier FROM pg_control_system()) \
                 AND database = current_database() AND schema = 'public' \
                 AND committed_at <= queued_at AND queued_at <= created_at AND created_at <= now() \
                 AND transaction_id = (SELECT max(xmin::text::bigint) FROM todos) \
                 AND position < commit_lsn AND uuid_version = 7), ordinal \
               FROM changes, LATERAL (SELECT ('x' || substr(id::text, 15, 1))::bit(4)::int AS uuid_version) v \
               ORDER BY ordinal";
    let rows = trail.client.query(sql, &[]).await.unwrap();
    let rows: Vec<(bool, i64)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(rows, [(true, 0), (true, 1)]);
}

#[tokio::test]
async fn a_copy_of_ten_thousand_rows_is_ten_thousand_changes() {
    let trail = Trail::start(TODOS).await;
    let sink = trail
        .client
        .copy_in::<_, &[u8]>("COPY todos (title) FROM STDIN")
        .await
        .unwrap();
    let mut sink = std::pin::pin!(sink);
    let data: Vec<u8> = (1..=10_000)
        .flat_map(|n| format!("title {n}\n").into_bytes())
        .collect();
    // The driver takes what borrows for ever.
    let data: &'static [u8] = data.leak();
    futures_util::SinkExt::send(&mut sink, data).await.unwrap();
    assert_eq!(sink.finish().await.unwrap(), 10_000);

    trail.caught_up().await;
    let sql = "SELECT count(*), count(DISTINCT position) < 10000, count(DISTINCT (commit_lsn, ordinal)), \
               bool_and(primary_key = (ordinal + 1)::text AND after = jsonb_build_object('id', ordinal + 1, \
               'title', 'title ' || ordinal + 1)) FROM changes";
    let row = trail.client.query_one(sql, &[]).await.unwrap();
    let row: (i64, bool, i64, bool) = (row.get(0), row.get(1), row.get(2), row.get(3));
    assert_eq!(row, (10_000, true, 10_000, true));
}

#[tokio::test]
async fn what_is_rolled_back_leaves_nothing() {
    let trail = Trail::start(TODOS).await;
    trail
        .sql("BEGIN; INSERT INTO todos (title) VALUES ('whole'); ROLLBACK")
        .await;
    trail
        .sql(
            "BEGIN; INSERT INTO todos (title) VALUES ('kept'); SAVEPOINT s; \
             SELECT pg_logical_emit_message(true, '_bemi', '{\"lost\": true}'); \
             UPDATE todos SET title = 'changed'; ROLLBACK TO s; INSERT INTO todos (title) VALUES ('too'); COMMIT",
        )
        .await;
    assert_eq!(
        trail.changes().await,
        [
            json!(["CREATE", "todos", "2", {}, {"id": 2, "title": "kept"}, {}]),
            json!(["CREATE", "todos", "3", {}, {"id": 3, "title": "too"}, {}]),
        ]
    );
}

#[tokio::test]
async fn keys_of_any_name_and_number() {
    let trail = Trail::start(
        "CREATE TABLE natural_key (\"the key\" text PRIMARY KEY); \
         CREATE TABLE composite (a int, b text, c int, PRIMARY KEY (c, b)); \
         CREATE TABLE none (a int); CREATE TABLE \"Quoted.Table\" (\"Id\" uuid PRIMARY KEY)",
    )
    .await;
    trail.sql("INSERT INTO natural_key VALUES ('k\"1')").await;
    trail
        .sql("INSERT INTO composite VALUES (1, 'x\"y', 3)")
        .await;
    trail
        .sql("INSERT INTO none VALUES (1); UPDATE none SET a = 2; DELETE FROM none")
        .await;
    trail
        .sql("INSERT INTO \"Quoted.Table\" VALUES ('00000000-0000-0000-0000-00000000000a')")
        .await;
    let keys: Vec<Value> = trail
        .changes()
        .await
        .into_iter()
        .map(|change| json!([change[1], change[2]]))
        .collect();
    assert_eq!(
        keys,
        [
            json!(["natural_key", "k\"1"]),
            json!(["composite", r#"["3","x\"y"]"#]),
            json!(["none", null]),
            json!(["none", null]),
            json!(["none", null]),
            json!(["Quoted.Table", "00000000-0000-0000-0000-00000000000a"]),
        ]
    );
}

#[tokio::test]
async fn values_are_what_to_jsonb_gives() {
    let trail = Trail::start(
        "CREATE TYPE mood AS ENUM ('ok', 'so so'); CREATE DOMAIN cents AS numeric(12, 2)[]; \
         CREATE TYPE pair AS (left_half int, right_half text[]); \
         CREATE TABLE wide (id int PRIMARY KEY, n numeric, f float8, b bool, t text, d date, ts timestamp, tz timestamptz, \
           i interval, j json, jb jsonb, by bytea, arr int[], grid text[][], m mood, ms mood[], c cents, p pair, ps pair[], \
           r int4range, u uuid, net inet, big text)",
    )
    .await;
    trail
        .sql(
            "SET timezone = 'Asia/Tokyo'; SET datestyle = 'German'; SET intervalstyle = 'iso_8601'; \
             INSERT INTO wide VALUES \
             (1, 123456789012345678901234567890.12345678901234567890, 0.1, true, E'q\"\\\\\\u00e9\\n', '2024-02-29', \
              '2024-02-29 12:34:56.789012', '2024-02-29 12:34:56+09', '1 year 2 days 03:04:05.6', \
              '{\"b\": 1, \"a\": 12345678901234567890123}', '{\"x\": [1, null]}', '\\xdeadbeef', '{1,NULL,3}', \
              '{{a,\"b c\"},{\"\\\"\",NULL}}', 'so so', '{ok,\"so so\"}', '{1.10,2.00}', '(1,\"{a,\"\"b c\"\"}\")', \
              array['(2,{z})', '(,)']::pair[], '[1,5)', '00000000-0000-0000-0000-00000000000a', '10.0.0.1/8', repeat('toast', 40000)), \
             (2, 'NaN', '-Infinity', NULL, '', 'infinity', '-infinity', '0044-03-15 12:00:00+00 BC', NULL, 'null', '5', '', '{}', \
              NULL, NULL, NULL, NULL, NULL, NULL, 'empty', NULL, NULL, NULL); \
             UPDATE wide SET t = 'the large value is not touched' WHERE id = 1; \
             RESET ALL",
        )
        .await;
    trail.caught_up().await;
    let sql = "SELECT count(*), bool_and(after = to_jsonb(wide)), \
                      bool_and(to_jsonb(jsonb_populate_record(NULL::wide, after)) = to_jsonb(wide)) \
               FROM (SELECT DISTINCT ON (primary_key) after, primary_key FROM changes \
                     ORDER BY primary_key, commit_lsn DESC, ordinal DESC) latest \
               JOIN wide ON wide.id::text = primary_key";
    trail.sql("SET timezone = 'UTC'").await;
    let row = trail.client.query_one(sql, &[]).await.unwrap();
    assert_eq!(
        (row.get::<_, i64>(0), row.get(1), row.get(2)),
        (2, Some(true), Some(true))
    );
}

#[tokio::test]
async fn a_type_of_which_nothing_is_known_keeps_its_text() {
    let trail = Trail::start(
        "CREATE TYPE odd; \
         CREATE FUNCTION odd_in(cstring) RETURNS odd LANGUAGE internal IMMUTABLE STRICT AS 'textin'; \
         CREATE FUNCTION odd_out(odd) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'textout'; \
         CREATE FUNCTION odd_receive(internal) RETURNS odd LANGUAGE internal IMMUTABLE STRICT AS 'textrecv'; \
         CREATE TYPE odd (INPUT = odd_in, OUTPUT = odd_out, RECEIVE = odd_receive, LIKE = text); \
         CREATE DOMAIN odder AS odd; CREATE TYPE pair AS (one odd, two odder[]); \
         CREATE TABLE t (id int PRIMARY KEY, o odd, ds odder, os odd[], p pair)",
    )
    .await;
    trail
        .sql("INSERT INTO t VALUES (1, '{\"a\": 1.10}', '007', '{NULL,\"a,b\",true}', ROW('null', '{\"\"}')), (2, NULL, NULL, NULL, NULL)")
        .await;
    trail.caught_up().await;
    let sql = "SELECT bool_and(after = to_jsonb(t) AND to_jsonb(jsonb_populate_record(NULL::t, after)) = to_jsonb(t)), \
                      min(after::text) FILTER (WHERE t.id = 1) FROM changes JOIN t ON t.id::text = primary_key";
    let row = trail.client.query_one(sql, &[]).await.unwrap();
    let text = r#"{"o": "{\"a\": 1.10}", "p": {"one": "null", "two": [""]}, "ds": "007", "id": 1, "os": [null, "a,b", "true"]}"#;
    assert_eq!((row.get(0), row.get::<_, &str>(1)), (Some(true), text));
}

#[tokio::test]
async fn bemis_own_tables_are_never_captured() {
    let trail = Trail::start(TODOS).await;
    let publication =
        "SELECT string_agg(tablename, ',') FROM pg_publication_tables WHERE pubname = 'bemi'";
    assert_eq!(
        trail
            .client
            .query_one(publication, &[])
            .await
            .unwrap()
            .get::<_, &str>(0),
        "todos"
    );
    // Even when somebody publishes them.
    trail
        .sql("ALTER TABLE changes REPLICA IDENTITY FULL; ALTER TABLE _bemi_progress REPLICA IDENTITY FULL; \
              ALTER PUBLICATION bemi ADD TABLE changes, _bemi_progress")
        .await;
    trail
        .sql("INSERT INTO todos (title) VALUES ('Sleep')")
        .await;
    trail.caught_up().await;
    trail.sql("INSERT INTO todos (title) VALUES ('Eat')").await;
    let tables: Vec<Value> = trail
        .changes()
        .await
        .into_iter()
        .map(|change| change[1].clone())
        .collect();
    assert_eq!(tables, ["todos", "todos"]);
}
