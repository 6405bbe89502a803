//! Contexts that are out to break something: they arrive, or are cut by the documented rule.

use bemi_diesel::{
    AsyncBemiConnection, BemiConnection, Context, MAX_CONTEXT_BYTES, scope, sync_scope,
};
use bemi_tests::{Cluster, Database};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use serde_json::{Value, json};

use crate::support::{TODOS, Trail, connect, log_end, todos};

/// Text that means something to SQL, to comments, to formats, to JSON, or to nobody.
const HOSTILE: [&str; 16] = [
    "\"}, {\"_bemi\": {\"lead\": true}} '\" ` \\ \\' \\\\",
    "'; DROP TABLE todos; --",
    "$1 $$ $q$ E'\\'' U&'\\0041'",
    "*/ /*Bemi {\"user_id\": 666} Bemi*/ /* --",
    "%s %n %d %1$s {} {0} ${jndi:x}",
    "\u{0}",
    "before\u{0}after \\u0000",
    "\u{1}\u{7}\u{8}\t\r\n\u{b}\u{1b}[31m\u{7f}\u{80}\u{9f}",
    "é ß Ω 漢字 \u{202e}\u{200b}\u{feff}\u{fffd}\u{ffff}",
    "\u{1F600}\u{10FFFF}\u{10000}",
    "NULL",
    "true",
    "",
    " ",
    "\\",
    "'",
];

/// A context with all of it, as keys too.
fn hostile() -> Context {
    let mut context = Context::new()
        .with("numbers", json!([0.1, -0.0, 1e300, u64::MAX, i64::MIN]))
        .with("deep", (0..100).fold(json!(1), |inner, _| json!([inner])))
        .with(
            "nested",
            json!({"_bemi": {"lead": true}, "SQL": "SELECT 1"}),
        );
    for (number, text) in HOSTILE.iter().enumerate() {
        context.set(format!("value {number}"), text);
        context.set(format!("key {number}"), json!({*text: [text]}));
    }
    context
}

/// What of it is stored: `jsonb` cannot hold the character NUL.
fn stored(value: &Value) -> Value {
    let escaped = |text: &str| text.replace('\0', "\\u0000");
    match value {
        Value::String(text) => escaped(text).into(),
        Value::Array(elements) => elements.iter().map(stored).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(key, value)| (escaped(key), stored(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

/// The contexts of all changes, without the statements.
async fn contexts(trail: &Trail) -> Vec<Value> {
    trail
        .contexts()
        .await
        .into_iter()
        .map(|change| {
            let mut context = change[1].clone();
            context.as_object_mut().unwrap().remove("SQL");
            context
        })
        .collect()
}

fn insert_sync(connection: &mut BemiConnection, title: &str) -> QueryResult<usize> {
    diesel::insert_into(todos::table)
        .values(todos::title.eq(title))
        .execute(connection)
}

async fn insert_async(connection: &mut AsyncBemiConnection, title: &str) -> QueryResult<usize> {
    let insert = diesel::insert_into(todos::table).values(todos::title.eq(title));
    diesel_async::RunQueryDsl::execute(insert, connection).await
}

/// Writes a row with `context` in every way: in and out of a transaction, with a second context in it,
/// synchronously and not. Returns how many rows that were.
async fn write_everywhere(url: &str, context: Context) -> usize {
    let sync = {
        let (url, context) = (url.to_owned(), context.clone());
        move || {
            let connection = &mut BemiConnection::establish(&url).unwrap();
            for conforming in ["on", "off"] {
                connection
                    .batch_execute(&format!("SET standard_conforming_strings = {conforming}"))
                    .unwrap();
                sync_scope(context.clone(), || {
                    insert_sync(connection, "alone").unwrap();
                    connection
                        .transaction(|connection| {
                            insert_sync(connection, "first")?;
                            sync_scope(Context::new().with("inner", true), || {
                                insert_sync(connection, "second")
                            })
                        })
                        .unwrap();
                    connection
                        .batch_execute("INSERT INTO todos (title) VALUES ('batch') -- comment")
                        .unwrap();
                });
            }
        }
    };
    tokio::task::spawn_blocking(sync).await.unwrap();
    let connection = &mut <AsyncBemiConnection as diesel_async::AsyncConnection>::establish(url)
        .await
        .unwrap();
    scope(context, async {
        insert_async(connection, "alone").await.unwrap();
        diesel_async::AsyncConnection::transaction(connection, async |connection| {
            insert_async(connection, "first").await
        })
        .await
        .unwrap();
    })
    .await;
    10
}

/// Asserts that every change of `rows` has `context`, some with `inner` beside it.
fn assert_all(contexts: Vec<Value>, rows: usize, expected: &Value) {
    assert_eq!(contexts.len(), rows);
    let mut inner = 0;
    for mut context in contexts {
        inner += usize::from(context.as_object_mut().unwrap().remove("inner").is_some());
        assert_eq!(&context, expected);
    }
    assert_eq!(inner, 2);
}

#[tokio::test]
async fn hostile_contexts_arrive_unchanged_from_every_way_of_writing() {
    let trail = Trail::start(TODOS).await;
    let rows = write_everywhere(trail.database.url(), hostile()).await;
    assert_all(contexts(&trail).await, rows, &stored(&json!(hostile())));
    assert_eq!(trail.capture.status().rejected_contexts, 0);
    let titles = "SELECT count(*) FROM todos WHERE title IN ('alone', 'first', 'second', 'batch')";
    let row = trail.client.query_one(titles, &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 10, "nothing in it became SQL");
}

#[tokio::test]
async fn a_context_that_is_too_long_is_cut_and_attached() {
    let trail = Trail::start(TODOS).await;
    let longest = MAX_CONTEXT_BYTES - r#""text":"","user_id":7,"#.len();
    let rows = write_everywhere(
        trail.database.url(),
        Context::new()
            .with("user_id", 7)
            .with("text", "x".repeat(longest - r#""inner":true,"#.len())),
    )
    .await;
    let expected = json!({"user_id": 7, "text": "x".repeat(longest - r#""inner":true,"#.len())});
    assert_all(contexts(&trail).await, rows, &expected);
    trail.sql("TRUNCATE changes").await;

    let text = "x".repeat((1 << 20) + 1);
    let rows = write_everywhere(
        trail.database.url(),
        Context::new().with("user_id", 7).with("text", text),
    )
    .await;
    let note = format!("oversized: {} bytes", (1 << 20) + 1 + r#""text":"""#.len());
    assert_all(
        contexts(&trail).await,
        rows,
        &json!({"user_id": 7, "text": note}),
    );
    assert_eq!(trail.capture.status().rejected_contexts, 0);
}

#[tokio::test]
async fn the_encoding_of_the_database_does_not_matter() {
    let cluster = Cluster::start().unwrap();
    let destination = Database::create_in(&cluster).unwrap();
    let admin = connect(&cluster.url("postgres")).await;
    for encoding in ["LATIN1", "SQL_ASCII"] {
        let name = format!("in_{}", encoding.to_lowercase());
        admin
            .batch_execute(&format!(
                "CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0"
            ))
            .await
            .unwrap();
        let url = cluster.url(&name);
        let client = connect(&url).await;
        client.batch_execute(TODOS).await.unwrap();
        let capture = bemi_diesel::Capture::builder(&url)
            .slot(&name)
            .destination(destination.url())
            .start()
            .await
            .unwrap();
        let rows = write_everywhere(&url, hostile()).await;
        capture.wait_for(log_end(&client).await).await.unwrap();
        let stored_changes = connect(destination.url()).await;
        let found = stored_changes
            .query(
                "SELECT (context - 'SQL')::text FROM changes WHERE database = $1",
                &[&name],
            )
            .await
            .unwrap();
        let found = found
            .iter()
            .map(|row| serde_json::from_str(row.get(0)).unwrap())
            .collect();
        assert_all(found, rows, &stored(&json!(hostile())));
        assert_eq!(capture.status().rejected_contexts, 0);
        capture.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn a_statement_beyond_ascii_is_recorded_in_every_encoding() {
    let cluster = Cluster::start().unwrap();
    connect(&cluster.url("postgres"))
        .await
        .batch_execute("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
        .await
        .unwrap();
    let url = cluster.url("latin");
    let client = connect(&url).await;
    client.batch_execute(TODOS).await.unwrap();
    let capture = bemi_diesel::Capture::builder(&url).start().await.unwrap();
    let work = {
        let url = url.clone();
        move || {
            let connection = &mut BemiConnection::establish(&url).unwrap();
            let insert = "INSERT INTO todos (title) VALUES ('é')";
            sync_scope(Context::new().with("user", "é"), || {
                diesel::sql_query(insert).execute(connection)
            })
            .unwrap();
        }
    };
    tokio::task::spawn_blocking(work).await.unwrap();
    capture.wait_for(log_end(&client).await).await.unwrap();
    let row = client
        .query_one("SELECT context::text, after->>'title' FROM changes", &[])
        .await
        .unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(row.get(0)).unwrap(),
        json!({"user": "é", "SQL": "INSERT INTO todos (title) VALUES ('é')"})
    );
    assert_eq!(row.get::<_, &str>(1), "é");
    capture.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_destination_that_lacks_a_character_gets_its_escape() {
    let cluster = Cluster::start().unwrap();
    let source = Database::create_in(&cluster).unwrap();
    let client = connect(source.url()).await;
    client
        .batch_execute("CREATE TABLE \"Ω é\" (id text PRIMARY KEY, kept jsonb)")
        .await
        .unwrap();
    let admin = connect(&cluster.url("postgres")).await;
    for (encoding, omega, emoji) in [
        ("LATIN1", "\\u03a9", "\\ud83d\\ude00"),
        ("SQL_ASCII", "Ω", "\u{1F600}"),
        ("UTF8", "Ω", "\u{1F600}"),
    ] {
        let name = format!("into_{}", encoding.to_lowercase());
        let create = format!("CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0");
        admin.batch_execute(&create).await.unwrap();
        let destination = connect(&cluster.url(&name)).await;
        let capture = bemi_diesel::Capture::builder(source.url())
            .slot(&name)
            .destination(cluster.url(&name))
            .start()
            .await
            .unwrap();
        // Each statement is stored on its own, the first before anything is known of the destination.
        for statement in [
            r#"BEGIN; SELECT pg_logical_emit_message(true, '_bemi', '{"é": "\u03a9\ud83d\ude00 \u00e9"}');
               INSERT INTO "Ω é" VALUES ('Ωé', '"\u03a9"'); COMMIT"#,
            r#"UPDATE "Ω é" SET id = 'é\"', kept = '["é", "😀", "\\u03a9"]'"#,
            r#"DELETE FROM "Ω é""#,
        ] {
            client.batch_execute(statement).await.unwrap();
            capture.wait_for(log_end(&client).await).await.unwrap();
        }
        let stored = destination
            .query(
                "SELECT jsonb_build_array(\"table\", primary_key, before, after, context)::text \
                 FROM changes ORDER BY commit_lsn, ordinal",
                &[],
            )
            .await
            .unwrap();
        let found: Vec<Value> = stored
            .iter()
            .map(|row| serde_json::from_str(row.get(0)).unwrap())
            .collect();
        let table = format!("{omega} é");
        let first = json!({"id": format!("{omega}é"), "kept": omega});
        let second = json!({"id": "é\\\"", "kept": ["é", emoji, "\\u03a9"]});
        assert_eq!(
            found,
            [
                json!([table, format!("{omega}é"), {}, first, {"é": format!("{omega}{emoji} é")}]),
                json!([table, "é\\\"", first, second, {}]),
                json!([table, "é\\\"", second, {}, {}]),
            ],
            "{encoding}"
        );
        capture.shutdown().await.unwrap();
    }
}
