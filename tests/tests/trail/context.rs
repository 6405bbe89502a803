//! Which context a change gets: the rules of the protocol, written by hand as any program could.

use serde_json::{Value, json};

use crate::support::Trail;

const TODOS: &str = "CREATE TABLE todos (id int PRIMARY KEY)";

/// The statement that writes `context` into the log.
fn emit(context: &str) -> String {
    format!("SELECT pg_logical_emit_message(true, '_bemi', '{context}')")
}

async fn contexts_of(statements: &[String]) -> Vec<Value> {
    let trail = Trail::start(TODOS).await;
    trail
        .sql(&format!("BEGIN; {}; COMMIT", statements.join("; ")))
        .await;
    trail.contexts().await
}

fn insert(id: i32) -> String {
    format!("INSERT INTO todos VALUES ({id})")
}

#[tokio::test]
async fn a_write_without_a_message_has_none() {
    assert_eq!(contexts_of(&[insert(1)]).await, [json!(["1", {}])]);
}

#[tokio::test]
async fn a_message_covers_what_follows_and_the_first_also_what_precedes() {
    let contexts = contexts_of(&[
        insert(1),
        insert(2),
        emit(r#"{"n": 1}"#),
        insert(3),
        emit(r#"{"n": 2}"#),
        insert(4),
    ])
    .await;
    assert_eq!(
        contexts,
        [
            json!(["1", {"n": 1}]),
            json!(["2", {"n": 1}]),
            json!(["3", {"n": 1}]),
            json!(["4", {"n": 2}])
        ]
    );
}

#[tokio::test]
async fn a_leading_message_also_covers_the_row_before_it() {
    let lead = emit(r#"{"n": 2, "_bemi": {"lead": true}}"#);
    let contexts = contexts_of(&[emit(r#"{"n": 1}"#), insert(1), insert(2), lead, insert(3)]).await;
    assert_eq!(
        contexts,
        [
            json!(["1", {"n": 1}]),
            json!(["2", {"n": 2}]),
            json!(["3", {"n": 2}])
        ]
    );
}

#[tokio::test]
async fn an_empty_message_ends_the_context() {
    let contexts = contexts_of(&[emit(r#"{"n": 1}"#), insert(1), emit("{}"), insert(2)]).await;
    assert_eq!(contexts, [json!(["1", {"n": 1}]), json!(["2", {}])]);
}

#[tokio::test]
async fn a_message_says_nothing_of_other_transactions() {
    let trail = Trail::start(TODOS).await;
    trail
        .sql(&format!(
            "BEGIN; {}; {}; COMMIT",
            emit(r#"{"n": 1}"#),
            insert(1)
        ))
        .await;
    trail.sql(&insert(2)).await;
    trail.sql(&emit(r#"{"n": 3}"#)).await;
    trail.sql(&insert(3)).await;
    assert_eq!(
        trail.contexts().await,
        [json!(["1", {"n": 1}]), json!(["2", {}]), json!(["3", {}])]
    );
}

#[tokio::test]
async fn interleaved_transactions_keep_their_own() {
    let trail = Trail::start(TODOS).await;
    let other = trail.connect().await;
    for (id, client) in [(0, &trail.client), (1, &other)] {
        client
            .batch_execute(&format!(
                "BEGIN; {}",
                emit(&format!(r#"{{"connection": {id}}}"#))
            ))
            .await
            .unwrap();
    }
    for id in 0..20 {
        let client = if id % 2 == 0 { &trail.client } else { &other };
        client.batch_execute(&insert(id)).await.unwrap();
    }
    other.batch_execute("COMMIT").await.unwrap();
    trail.sql("COMMIT").await;
    let expected: Vec<Value> = (1..20)
        .step_by(2)
        .map(|id| json!([id.to_string(), {"connection": 1}]))
        .chain(
            (0..20)
                .step_by(2)
                .map(|id| json!([id.to_string(), {"connection": 0}])),
        )
        .collect();
    assert_eq!(trail.contexts().await, expected);
}

#[tokio::test]
async fn what_is_no_context_is_counted_and_never_attached() {
    let trail = Trail::start(TODOS).await;
    let messages = [
        emit("no JSON"),
        emit("[1]"),
        "SELECT pg_logical_emit_message(true, '_bemi', '{\"big\": \"' || repeat('x', 1048576) || '\"}')".to_owned(),
        "SELECT pg_logical_emit_message(true, '_bemi', '\\xff00'::bytea)".to_owned(),
        // Other people's, and one that no transaction owns: passed over, not counted.
        "SELECT pg_logical_emit_message(true, '_bemi_other', '{\"n\": 1}')".to_owned(),
        "SELECT pg_logical_emit_message(false, '_bemi', '{\"n\": 1}')".to_owned(),
    ];
    trail
        .sql(&format!(
            "BEGIN; {}; {}; COMMIT",
            messages.join("; "),
            insert(1)
        ))
        .await;
    trail
        .sql(&format!(
            "BEGIN; {}; {}; COMMIT",
            emit(r#"{"n": 2}"#),
            insert(2)
        ))
        .await;
    assert_eq!(
        trail.contexts().await,
        [json!(["1", {}]), json!(["2", {"n": 2}])]
    );
    assert_eq!(trail.capture.status().rejected_contexts, 4);
}

#[tokio::test]
async fn hostile_values_arrive_unchanged() {
    let trail = Trail::start(TODOS).await;
    let context = json!({
        "quotes": "'\"` $1 $$ E'\\''",
        "comment": " Bemi*/ /*Bemi {\"user\": 1} Bemi*/ -- %s",
        "unicode": "\u{1F600} \u{202e} \u{ffff}",
        "number": 1e300,
        "nested": {"_bemi": {"lead": true}},
    });
    trail
        .client
        .execute("WITH message AS (SELECT pg_logical_emit_message(true, '_bemi', $1)) INSERT INTO todos SELECT 1 FROM message", &[&context.to_string()])
        .await
        .unwrap();
    assert_eq!(trail.contexts().await, [json!(["1", context])]);
}

#[tokio::test]
async fn a_value_that_jsonb_cannot_hold_is_kept_escaped() {
    let trail = Trail::start(TODOS).await;
    trail
        .sql(&format!(
            "BEGIN; {}; {}; COMMIT",
            emit(r#"{"nul": "a\u0000b"}"#),
            insert(1)
        ))
        .await;
    assert_eq!(trail.contexts().await, [json!(["1", {"nul": "a\\u0000b"}])]);
}

#[tokio::test]
async fn cascades_and_triggers_belong_to_the_statement_that_caused_them() {
    let trail = Trail::start(
        "CREATE TABLE parents (id int PRIMARY KEY); \
         CREATE TABLE children (id int PRIMARY KEY, parent int REFERENCES parents ON DELETE CASCADE); \
         CREATE TABLE log (id serial PRIMARY KEY, line text); \
         CREATE FUNCTION log() RETURNS trigger LANGUAGE plpgsql AS \
           $$BEGIN INSERT INTO log (line) VALUES (TG_OP); RETURN NULL; END$$; \
         CREATE TRIGGER log AFTER DELETE ON children FOR EACH ROW EXECUTE FUNCTION log(); \
         INSERT INTO parents VALUES (1); INSERT INTO children VALUES (10, 1), (11, 1)",
    )
    .await;
    trail
        .client
        .execute(
            "DELETE FROM parents RETURNING (SELECT pg_logical_emit_message(true, '_bemi', '{\"n\": 1, \"_bemi\": {\"lead\": true}}'))",
            &[],
        )
        .await
        .unwrap();
    let changes: Vec<Value> = trail
        .changes()
        .await
        .into_iter()
        .map(|change| json!([change[0], change[1], change[5]]))
        .collect();
    assert_eq!(
        changes,
        [
            json!(["DELETE", "parents", {"n": 1}]),
            json!(["DELETE", "children", {"n": 1}]),
            json!(["DELETE", "children", {"n": 1}]),
            json!(["CREATE", "log", {"n": 1}]),
            json!(["CREATE", "log", {"n": 1}]),
        ]
    );
}
