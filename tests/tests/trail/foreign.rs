//! A schema that was not made for bemi, captured whole: the changes folded are the live tables.

use std::collections::{BTreeMap, HashMap};

use crate::support::Trail;

const SCHEMA: &str = include_str!("foreign/schema.sql");
const WORKLOAD: &str = include_str!("foreign/workload.sql");

/// The rows of a table, each as the text of its JSON with how often it is there.
type Rows = BTreeMap<String, usize>;

/// What `changes` says is in each table.
async fn folded(trail: &Trail) -> HashMap<String, Rows> {
    let sql = "SELECT \"table\", operation, before::text, after::text FROM changes WHERE schema = 'rental' \
               ORDER BY commit_lsn, ordinal";
    let mut tables: HashMap<String, Rows> = HashMap::new();
    for change in trail.client.query(sql, &[]).await.unwrap() {
        let [table, operation, before, after] = [0, 1, 2, 3].map(|at| change.get::<_, String>(at));
        let rows = tables.entry(table.clone()).or_default();
        if operation == "TRUNCATE" {
            rows.clear();
            continue;
        }
        if operation != "CREATE" {
            let count = rows.get_mut(&before);
            *count.unwrap_or_else(|| {
                panic!("{operation} in {table} of a row that is not there: {before}")
            }) -= 1;
            rows.retain(|_, count| *count > 0);
        }
        if operation != "DELETE" {
            *rows.entry(after).or_default() += 1;
        }
    }
    tables
}

/// The tables that hold rows, each with its generated columns where the log does not tell them.
async fn tables(trail: &Trail) -> Vec<(String, Vec<String>)> {
    let sql = "SELECT relname::text, ARRAY(SELECT attname::text FROM pg_attribute WHERE attrelid = c.oid \
                      AND attgenerated <> '' AND current_setting('server_version_num')::int < 180000) \
               FROM pg_class c WHERE relnamespace = 'rental'::regnamespace AND relkind = 'r' ORDER BY relname";
    let rows = trail.client.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

async fn texts(trail: &Trail, sql: &str) -> Vec<String> {
    let rows = trail.client.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// The statements of the workload. A block that commits must be alone.
fn statements() -> impl Iterator<Item = &'static str> {
    WORKLOAD.split("\n\n").flat_map(|paragraph| {
        let end = if paragraph.contains("$$") {
            "\0"
        } else {
            ";\n"
        };
        paragraph.split(end)
    })
}

#[tokio::test]
async fn a_schema_of_others_is_captured_whole() {
    let trail = Trail::start(SCHEMA).await;
    for statement in statements() {
        trail.sql(statement).await;
    }
    let copied = "COPY rental.journal FROM STDIN";
    let sink = trail.client.copy_in(copied).await.unwrap();
    let mut sink = std::pin::pin!(sink);
    let lines = &b"infinity\tcopied\n2022-12-31 23:59:59.999999\t\\N\n"[..];
    futures_util::SinkExt::send(&mut sink, lines).await.unwrap();
    sink.finish().await.unwrap();
    trail.caught_up().await;

    trail.sql("SET timezone = 'UTC'").await;
    let mut folded = folded(&trail).await;
    let mut rows = 0;
    for (table, untold) in tables(&trail).await {
        let minus: String = untold
            .iter()
            .map(|column| format!(" - '{column}'"))
            .collect();
        let sql = format!("SELECT (to_jsonb(t){minus})::text FROM rental.{table} t");
        let mut live = Rows::new();
        for row in texts(&trail, &sql).await {
            *live.entry(row).or_default() += 1;
        }
        let folded = folded.remove(&table).unwrap_or_default();
        assert_eq!(folded, live, "{table}");

        // And the rows come back out of their images.
        let images: Vec<&str> = folded.keys().map(String::as_str).collect();
        let sql = format!(
            "SELECT count(*)::text FROM unnest($1::text[]) image \
             WHERE to_jsonb(jsonb_populate_record(NULL::rental.{table}, image::jsonb)){minus} = image::jsonb"
        );
        let row = trail.client.query_one(&sql, &[&images]).await.unwrap();
        assert_eq!(row.get::<_, String>(0), images.len().to_string(), "{table}");
        rows += live.values().sum::<usize>();
    }
    // What was dropped since.
    let gone: Vec<&String> = folded.keys().collect();
    assert_eq!(gone, ["import"]);
    assert!(rows > 2_000, "{rows}");

    // Each day of business was a transaction with a context of its own, which covers its triggers too.
    let days = "SELECT count(*), bool_and(contexts = 1 AND said) FROM (\
                SELECT count(DISTINCT context) AS contexts, bool_and(context <> '{}') AS said FROM changes \
                GROUP BY transaction_id HAVING bool_or(\"table\" = 'rental' AND operation = 'CREATE')) d";
    let row = trail.client.query_one(days, &[]).await.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get(1)), (40, Some(true)));
}
