//! Other programs that write contexts, as the pages for them say.

use bemi_diesel::{BemiConnection, Context, sync_scope};
use diesel::prelude::*;
use serde_json::{Value, json};

use crate::support::Trail;

const PROTOCOL: &str = include_str!("../../../bemi-diesel/docs/protocol.md");
const DIRECT_SQL: &str = include_str!("../../../bemi-diesel/docs/direct_sql.md");

const PRODUCTS: &str = "CREATE TABLE products (id int PRIMARY KEY, price float8); \
                        INSERT INTO products VALUES (1, 10), (2, 20)";

diesel::table! {
    products { id -> Integer, price -> Nullable<Double> }
}

/// The examples of `page` that are in `language`.
fn examples<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    let examples: Vec<&str> = page
        .split(fence.as_str())
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert!(!examples.is_empty(), "the page has examples in {language}");
    examples
}

/// Runs `work` with a wrapped connection of `user`.
async fn wrapped(
    trail: &Trail,
    user: &str,
    work: impl FnOnce(&mut BemiConnection) -> QueryResult<()> + Send + 'static,
) {
    let url = trail
        .database
        .url()
        .replacen("postgres@", &format!("{user}@"), 1);
    let work = move || work(&mut BemiConnection::establish(&url).unwrap()).unwrap();
    tokio::task::spawn_blocking(work).await.unwrap();
}

#[tokio::test]
async fn the_pages_sql_does_what_it_says() {
    let trail = Trail::start(PRODUCTS).await;
    for sql in examples(PROTOCOL, "sql") {
        trail.sql(sql).await;
    }
    let transaction = json!({"user_id": 7, "reason": "ticket 4711"});
    assert_eq!(
        trail.contexts().await,
        [
            json!(["1", transaction]),
            json!(["2", transaction]),
            json!(["1", {"user_id": 7}]),
        ]
    );
}

/// What the example in Python sends: its two statements, with the JSON as a parameter of the first.
#[tokio::test]
async fn the_pages_python_sends_what_it_says() {
    let mut trail = Trail::start(PRODUCTS).await;
    let statements: Vec<String> = examples(PROTOCOL, "python")
        .into_iter()
        .flat_map(str::lines)
        .filter_map(|line| line.trim().strip_prefix("connection.execute(\""))
        .filter_map(|rest| rest.split('"').next())
        .map(|sql| sql.replace("%s", "$1"))
        .collect();
    let [message, update] = statements.as_slice() else {
        panic!("{statements:?}");
    };
    let transaction = trail.client.transaction().await.unwrap();
    let context = json!({"user_id": 7, "script": "price-import"});
    transaction
        .execute(message, &[&context.to_string()])
        .await
        .unwrap();
    transaction.execute(update, &[]).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(
        trail.contexts().await,
        [json!(["1", context]), json!(["2", context])]
    );
}

/// The trigger of Bemi's packages for other languages: the comment of the statement, for every row.
const ROW_TRIGGER: &str = "
    CREATE FUNCTION _bemi_row_trigger_func() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
      _bemi_metadata text := split_part(split_part(current_query(), '/*Bemi ', 2), ' Bemi*/', 1);
    BEGIN
      IF _bemi_metadata <> '' THEN
        PERFORM pg_logical_emit_message(true, '_bemi', _bemi_metadata);
      END IF;
      IF TG_OP = 'DELETE' THEN RETURN OLD; ELSE RETURN NEW; END IF;
    END $$;
    CREATE TRIGGER _bemi_row_trigger_products BEFORE INSERT OR UPDATE OR DELETE ON products
      FOR EACH ROW EXECUTE FUNCTION _bemi_row_trigger_func()";

#[tokio::test]
async fn the_row_trigger_scheme_works_beside_ours_on_one_table() {
    let trail = Trail::start(&format!("{PRODUCTS}; {ROW_TRIGGER}")).await;
    let theirs = "UPDATE products SET price = 11 /*Bemi {\"user_id\": 1} Bemi*/";
    trail.sql(theirs).await;
    wrapped(&trail, "postgres", |connection| {
        sync_scope(Context::new().with("user_id", 2), || {
            diesel::update(products::table)
                .set(products::price.eq(None::<f64>))
                .execute(connection)?;
            connection.transaction(|connection| {
                diesel::delete(products::table.find(1)).execute(connection)?;
                diesel::delete(products::table.find(2)).execute(connection)
            })?;
            Ok(())
        })
    })
    .await;
    // Both in one transaction, one after the other.
    for sql in [
        "BEGIN",
        "SELECT pg_logical_emit_message(true, '_bemi', '{\"user_id\": 3}')",
        "INSERT INTO products VALUES (3, 3)",
        "INSERT INTO products VALUES (4, 4), (5, 5) /*Bemi {\"user_id\": 4} Bemi*/",
        "SELECT pg_logical_emit_message(true, '_bemi', '{\"user_id\": 5}')",
        "INSERT INTO products VALUES (6, 6)",
        "COMMIT",
    ] {
        trail.sql(sql).await;
    }
    let user = |key: &str, user: i32| (key.to_owned(), json!(user));
    let users: Vec<(String, Value)> = trail
        .contexts()
        .await
        .into_iter()
        .map(|change| {
            (
                change[0].as_str().unwrap().to_owned(),
                change[1]["user_id"].clone(),
            )
        })
        .collect();
    assert_eq!(
        users,
        [
            user("1", 1),
            user("2", 1),
            user("1", 2),
            user("2", 2),
            user("1", 2),
            user("2", 2),
            user("3", 3),
            user("4", 4),
            user("5", 4),
            user("6", 5),
        ]
    );
}

#[tokio::test]
async fn direct_sql_has_an_author_too() {
    let trail = Trail::start(&format!(
        "{PRODUCTS}; DO $$BEGIN CREATE ROLE shop LOGIN; EXCEPTION WHEN duplicate_object THEN END$$; \
         GRANT ALL ON products TO shop"
    ))
    .await;
    for sql in examples(DIRECT_SQL, "sql") {
        trail.sql(sql).await;
    }
    let own = json!({
        "db_user": "postgres",
        "application_name": "psql",
        "client_addr": "127.0.0.1",
        "SQL": "UPDATE products SET price = 5 -- é",
    });
    trail.sql("SET application_name = 'psql'").await;
    trail.sql("UPDATE products SET price = 5 -- é").await;
    wrapped(&trail, "shop", |connection| {
        sync_scope(Context::new().with("user_id", 2), || {
            connection.transaction(|connection| {
                diesel::delete(products::table.find(1)).execute(connection)
            })?;
            Ok(())
        })
    })
    .await;
    let more = "DELETE FROM products RETURNING (SELECT pg_logical_emit_message(true, '_bemi', \
                '{\"ticket\": 1, \"_bemi\": {\"lead\": true}}'))";
    trail.sql(more).await;
    trail.sql("TRUNCATE products").await;
    let mut truncated = own.clone();
    truncated["SQL"] = json!("TRUNCATE products");
    assert_eq!(
        trail.contexts().await,
        [
            json!(["1", own]),
            json!(["2", own]),
            json!(["1", {"user_id": 2, "SQL": "DELETE FROM \"products\" WHERE (\"products\".\"id\" = $1)"}]),
            json!(["2", {"ticket": 1}]),
            json!([null, truncated]),
        ]
    );
}
