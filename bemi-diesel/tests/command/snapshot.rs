//! The rows that were there before they were tracked.

use std::time::Instant;

use postgres::{Client, NoTls};
use serde_json::{Value, json};

use crate::support::{Capture, PATIENCE, Shop, wait_until};

/// Folds the trail of `todos` as of its end, and counts the rows in which it differs from the table.
const DIFFERENCES: &str = "SELECT count(*) FROM ( \
         SELECT DISTINCT ON (primary_key) primary_key, operation, after FROM changes WHERE \"table\" = 'todos' \
         ORDER BY primary_key, commit_lsn DESC, ordinal DESC) last \
     FULL JOIN todos t ON t.id::text = last.primary_key \
     WHERE CASE WHEN last.operation = 'DELETE' THEN t.id IS NOT NULL ELSE last.after IS DISTINCT FROM to_jsonb(t) END";

/// Rows whose baseline is not what the changes before it had made of them.
const INCONSISTENT: &str = "SELECT count(*) FROM changes s, LATERAL (SELECT operation, after FROM changes c \
         WHERE c.\"table\" = s.\"table\" AND c.primary_key = s.primary_key AND c.commit_lsn < s.commit_lsn \
         AND c.operation <> 'SNAPSHOT' ORDER BY commit_lsn DESC, ordinal DESC LIMIT 1) earlier \
     WHERE s.operation = 'SNAPSHOT' AND (earlier.operation = 'DELETE' OR earlier.after <> s.after)";

/// Whether the snapshot waits for whoever writes to `todos`.
const WAITING: &str = "SELECT EXISTS (SELECT FROM pg_locks JOIN pg_database d ON d.oid = database \
     WHERE datname = current_database() AND relation = 'todos'::regclass AND mode = 'ShareLock' AND NOT granted)";

/// A shop whose table has these rows before it is set up.
fn filled(titles: &str) -> Shop {
    let shop = Shop::open();
    shop.sql(&format!(
        "CREATE TABLE todos (id serial PRIMARY KEY, title text); INSERT INTO todos (title) {titles}"
    ));
    assert_eq!(shop.bemi(&["setup"]).code, 0);
    shop
}

fn rows(shop: &Shop, arguments: &[&str]) -> Value {
    shop.bemi(&[&["snapshot", "--json"], arguments].concat())
        .json()
}

#[test]
fn rows_that_were_there_are_stored_as_to_jsonb_has_them() {
    let shop = Shop::open();
    shop.sql(
        "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TYPE pair AS (a int, b text[]); \
         CREATE TABLE \"every. thing\" (id int, \"at\" timestamptz, PRIMARY KEY (\"at\", id), n numeric, f float8, j json, jb jsonb, \
             m mood, p pair, a int[], r int4range, b bytea, i interval, t text, g int GENERATED ALWAYS AS (id) STORED); \
         INSERT INTO \"every. thing\" (id, \"at\", n, f, j, jb, m, p, a, r, b, i, t) VALUES \
             (1, '2024-02-29 12:00:00.123456+02', 12345678901234567890.12345678901234567890, 0.1, '{\"a\": 1.10, \"b\": [2]}', '{\"z\": null}', \
              'ok', '(1,\"{x,NULL}\")', '[2:3]={7,NULL}', '[1,5)', '\\x00ff', '1 year 2 mons -3 days 04:05:06.7', E'it''s \"\\\\\" \\n ü'), \
             (2, 'infinity', 'NaN', '-Infinity', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL); \
         CREATE TABLE empty (id int); CREATE TABLE keyless (n int); INSERT INTO keyless VALUES (1), (1)",
    );
    assert_eq!(shop.bemi(&["setup"]).code, 0);
    let stored = json!([
        {"table": "public.empty", "rows": 0}, {"table": "public.every. thing", "rows": 2}, {"table": "public.keyless", "rows": 2}
    ]);
    assert_eq!(rows(&shop, &[]), stored);
    // Before PostgreSQL 18 the log has no generated columns, and so neither has the baseline.
    let whole = "SELECT count(*) FROM changes c JOIN \"every. thing\" e ON c.after->>'id' = e.id::text \
                 WHERE c.after || jsonb_build_object('g', e.id) = to_jsonb(e) AND c.before = '{}' AND c.context = '{}' \
                   AND c.operation = 'SNAPSHOT' AND c.transaction_id = 0 AND c.schema = 'public'";
    let mut client = shop.client();
    client.batch_execute("SET timezone = 'UTC'").unwrap();
    assert_eq!(client.query_one(whole, &[]).unwrap().get::<_, i64>(0), 2);
    let keys = "SELECT string_agg(primary_key, ' ' ORDER BY ordinal) FROM changes WHERE \"table\" = 'every. thing'";
    assert_eq!(
        shop.value::<String>(keys),
        r#"["2024-02-29 10:00:00.123456+00","1"] ["infinity","2"]"#
    );
    // As a change that the log brings, to the last character.
    let _capture = shop.capture();
    shop.sql("UPDATE \"every. thing\" SET t = t || '!' WHERE id = 1");
    shop.wait_until_stored(5);
    let same = "SELECT (SELECT after FROM changes WHERE operation = 'SNAPSHOT' AND after->>'id' = '1') = before \
                FROM changes WHERE operation = 'UPDATE'";
    assert!(shop.value::<bool>(same));
}

#[test]
fn a_second_snapshot_stores_nothing_more() {
    let shop = filled("SELECT n FROM generate_series(1, 2500) n");
    let stored = |rows: u64| json!([{"table": "public.todos", "rows": rows}]);
    assert_eq!(rows(&shop, &[]), stored(2500));
    assert_eq!(rows(&shop, &[]), stored(0));
    let changes = "SELECT count(*) = 2500 AND count(DISTINCT id) = 2500 AND count(DISTINCT ordinal) = 2500 FROM changes";
    assert!(shop.value::<bool>(changes));
    // Another table of that name is another table.
    shop.sql("DROP TABLE todos; CREATE TABLE todos AS SELECT 1 AS id");
    assert_eq!(rows(&shop, &[]), stored(1));
    assert_eq!(rows(&shop, &[]), stored(0));
}

#[test]
fn a_table_that_was_empty_when_it_was_set_up_needs_none() {
    let shop = Shop::set_up();
    shop.sql("INSERT INTO todos (title) VALUES ('in the log')");
    assert_eq!(
        rows(&shop, &[]),
        json!([{"table": "public.todos", "rows": 0}])
    );
    assert_eq!(shop.value::<i64>("SELECT count(*) FROM changes"), 0);
}

/// The rows of `table` as of `instant`, in some order of their own.
fn as_of(shop: &Shop, instant: &str, table: &str) -> Vec<String> {
    let rows = shop.bemi(&["as-of", instant, table, "--json"]).json();
    let rows = rows.as_array().unwrap().iter().map(Value::to_string);
    let mut rows: Vec<String> = rows.collect();
    rows.sort();
    rows
}

#[test]
fn the_past_is_known_from_the_snapshot_on() {
    let shop = Shop::open();
    shop.sql(
        "CREATE TABLE todos (id int PRIMARY KEY, title text); INSERT INTO todos VALUES (1, 'one'), (2, 'two'), (3, 'three'); \
         CREATE TABLE notes (note text); INSERT INTO notes VALUES ('same'), ('same'), ('other'); \
         CREATE TABLE empty (id int)",
    );
    assert_eq!(shop.bemi(&["setup"]).code, 0);
    let _capture = shop.capture();
    shop.sql("BEGIN; UPDATE todos SET title = 'first' WHERE id = 1; DELETE FROM notes WHERE note = 'other'; COMMIT");
    shop.wait_until_stored(2);
    let latest = "SELECT max(committed_at)::text FROM changes WHERE operation <> 'SNAPSHOT'";
    let before: String = shop.value(latest);
    let unknown = shop.bemi(&["as-of", &before, "todos"]);
    assert_eq!(unknown.code, 1);
    assert!(
        unknown
            .stderr
            .contains("does not tell all rows of public.todos"),
        "{}",
        unknown.stderr
    );
    let stored = json!([
        {"table": "public.empty", "rows": 0}, {"table": "public.notes", "rows": 2}, {"table": "public.todos", "rows": 3}
    ]);
    assert_eq!(rows(&shop, &[]), stored);
    shop.sql(
        "BEGIN; UPDATE todos SET title = 'second' WHERE id = 2; DELETE FROM todos WHERE id = 3; UPDATE todos SET id = 9 WHERE id = 1; \
         INSERT INTO notes VALUES ('new'); DELETE FROM notes WHERE ctid = (SELECT min(ctid) FROM notes); COMMIT",
    );
    shop.wait_until_stored(2 + 5 + 5);
    let taken: String =
        shop.value("SELECT max(committed_at)::text FROM changes WHERE operation = 'SNAPSHOT'");
    let after: String = shop.value(latest);
    assert_eq!(
        as_of(&shop, &taken, "todos"),
        [
            r#"{"id":1,"title":"first"}"#,
            r#"{"id":2,"title":"two"}"#,
            r#"{"id":3,"title":"three"}"#
        ]
    );
    assert_eq!(
        as_of(&shop, &after, "todos"),
        [
            r#"{"id":2,"title":"second"}"#,
            r#"{"id":9,"title":"first"}"#
        ]
    );
    let [same, new] = [r#"{"note":"same"}"#, r#"{"note":"new"}"#];
    assert_eq!(as_of(&shop, &taken, "notes"), [same, same]);
    assert_eq!(as_of(&shop, &after, "notes"), [new, same]);
    assert_eq!(as_of(&shop, &after, "empty"), [""; 0]);
    for table in ["todos", "notes"] {
        let early = shop.bemi(&["as-of", &before, table]);
        let expected = format!("the trail of public.{table} covers no instant before");
        assert!(early.stderr.contains(&expected), "{}", early.stderr);
    }
}

#[test]
fn what_was_there_before_comes_back_after_a_truncate() {
    let shop = Shop::open();
    shop.sql(
        "CREATE TABLE todos (id int PRIMARY KEY, title text); INSERT INTO todos VALUES (1, 'one'), (2, 'two'); \
         CREATE TABLE notes (note text); INSERT INTO notes VALUES ('old')",
    );
    assert_eq!(shop.bemi(&["setup"]).code, 0);
    let _capture = shop.capture();
    shop.sql("BEGIN; INSERT INTO notes VALUES ('new'); UPDATE todos SET title = 'first' WHERE id = 1; COMMIT");
    shop.wait_until_stored(2);
    assert_eq!(shop.bemi(&["snapshot"]).code, 0);
    shop.sql("TRUNCATE todos, notes");
    shop.wait_until_stored(2 + 4 + 2);
    let truncate: i64 =
        shop.value("SELECT max(transaction_id) FROM changes WHERE operation = 'TRUNCATE'");
    let reverted = shop.bemi(&["revert", "--transaction", &truncate.to_string(), "--yes"]);
    assert_eq!(reverted.code, 0, "{}", reverted.stderr);
    let todos = "SELECT string_agg(id || ' ' || title, ', ' ORDER BY id) FROM todos";
    assert_eq!(shop.value::<String>(todos), "1 first, 2 two");
    let notes = "SELECT string_agg(note, ', ' ORDER BY note) FROM notes";
    assert_eq!(shop.value::<String>(notes), "new, old");
}

#[test]
fn only_the_chosen_tables_and_the_published_rows_and_partitions_are_stored() {
    let shop = Shop::open();
    shop.sql(
        "CREATE TABLE orders (id int PRIMARY KEY); INSERT INTO orders VALUES (1), (2); \
         CREATE TABLE child () INHERITS (orders); INSERT INTO child VALUES (3); \
         CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY LIST (id); CREATE TABLE one PARTITION OF parts FOR VALUES IN (1); \
         INSERT INTO parts VALUES (1); CREATE TABLE other (id int); INSERT INTO other VALUES (1)",
    );
    assert_eq!(shop.bemi(&["setup", "--exclude", "child"]).code, 0);
    let stored = json!([{"table": "public.one", "rows": 1}, {"table": "public.orders", "rows": 2}]);
    assert_eq!(rows(&shop, &["--tables", "parts,ord*"]), stored);
    let unknown = shop.bemi(&["snapshot", "--tables", "child"]);
    assert_eq!(
        unknown.stderr,
        "error: unknown table: child\nhelp: this database has public.one, public.orders, public.other\n"
    );

    let shop = Shop::open();
    if shop.value::<i32>("SELECT current_setting('server_version_num')::int") < 150_000 {
        return;
    }
    shop.sql(
        "CREATE TABLE orders (id int PRIMARY KEY); INSERT INTO orders VALUES (1), (2); \
         CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY LIST (id); CREATE TABLE one PARTITION OF parts FOR VALUES IN (1); \
         INSERT INTO parts VALUES (1)",
    );
    assert_eq!(
        shop.bemi(&[
            "setup",
            "--where",
            "orders=id > 1",
            "--publish-via-partition-root"
        ])
        .code,
        0
    );
    let stored =
        json!([{"table": "public.orders", "rows": 1}, {"table": "public.parts", "rows": 1}]);
    assert_eq!(rows(&shop, &[]), stored);
}

#[test]
fn the_trail_folds_right_while_the_application_writes() {
    let shop = filled("SELECT 'old' FROM generate_series(1, 3000)");
    let _capture = shop.capture();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for writer in 0..3 {
            let (url, stop) = (shop.database.url(), &stop);
            scope.spawn(move || {
                let mut client = Client::connect(url, NoTls).unwrap();
                // Seldom: the server's log on a busy machine is not what is tested.
                client.batch_execute("SET synchronous_commit = on").unwrap();
                let mut n = writer;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    n = (n + 37) % 3000;
                    client
                        .batch_execute(&format!(
                            "UPDATE todos SET title = title || '{writer}' WHERE id = {n}; \
                             DELETE FROM todos WHERE id = {n} + 1 AND id % 50 = 0; INSERT INTO todos (title) VALUES ('new')"
                        ))
                        .unwrap();
                }
            });
        }
        wait_until("the application writes", || {
            shop.value::<i64>("SELECT count(*) FROM changes") > 50
        });
        let outcome = shop.bemi(&["snapshot", "--rows-per-second", "4000"]);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    });
    shop.sql("INSERT INTO todos (title) VALUES ('the end')");
    wait_until("all is stored", || {
        shop.value::<bool>(
            "SELECT EXISTS (SELECT FROM changes WHERE after ->> 'title' = 'the end')",
        )
    });
    assert_eq!(shop.value::<i64>(DIFFERENCES), 0);
    assert_eq!(shop.value::<i64>(INCONSISTENT), 0);
    // Some rows had changed before, others after.
    let both = "SELECT bool_or(c.commit_lsn < s.commit_lsn) AND bool_or(c.commit_lsn > s.commit_lsn) FROM changes c, \
                (SELECT DISTINCT commit_lsn FROM changes WHERE operation = 'SNAPSHOT') s WHERE c.operation = 'UPDATE'";
    assert!(shop.value::<bool>(both));
}

#[test]
fn a_snapshot_that_was_killed_goes_on_where_it_was() {
    let shop = Shop::open();
    shop.sql(
        "CREATE TABLE todos (id int, part text, title text, PRIMARY KEY (part, id)); \
         INSERT INTO todos SELECT n, 'it''s \\ ' || n % 7, 'x' FROM generate_series(1, 1000) n; \
         CREATE TABLE keyless (n int); INSERT INTO keyless SELECT generate_series(1, 1000)",
    );
    assert_eq!(shop.bemi(&["setup"]).code, 0);
    let arguments = ["snapshot", "--rows-per-second", "400"];
    let running = Capture::start(&mut shop.command(&arguments));
    let stored = |table: &str| -> i64 {
        shop.value(&format!(
            "SELECT count(*) FROM changes WHERE \"table\" = '{table}'"
        ))
    };
    wait_until("some of it is stored", || {
        stored("todos") >= 200 && stored("keyless") >= 200
    });
    running.kill();
    let (keyed, begun) = (stored("todos"), Instant::now());
    assert!(keyed < 1000);
    shop.sql("DELETE FROM todos WHERE id = 1000; INSERT INTO todos VALUES (2000, 'zzz', 'new')");
    let again = rows(&shop, &[]);
    let (first, second) = (
        again[0]["rows"].as_i64().unwrap(),
        again[1]["rows"].as_i64().unwrap(),
    );
    // The table without a key began anew; the other did not.
    assert_eq!(first, 1000);
    assert!(second <= 1001 - keyed, "{second} after {keyed}");
    assert!(begun.elapsed() < PATIENCE);
    assert_eq!(stored("keyless"), 1000);
    let once = "SELECT count(*) = count(DISTINCT primary_key) AND bool_and(primary_key IS NOT NULL) \
                FROM changes WHERE \"table\" = 'todos'";
    assert!(shop.value::<bool>(once));
    let missing = "SELECT count(*) FROM todos t WHERE NOT EXISTS (SELECT FROM changes c WHERE c.\"table\" = 'todos' AND c.after = to_jsonb(t))";
    assert_eq!(shop.value::<i64>(missing), 0);
    // What was deleted and made in between is in the log.
    let _capture = shop.capture();
    shop.sql("UPDATE todos SET title = 'last' WHERE id = 2000");
    wait_until("all is stored", || {
        shop.value("SELECT EXISTS (SELECT FROM changes WHERE after ->> 'title' = 'last')")
    });
    let end: String = shop.value("SELECT max(committed_at)::text FROM changes");
    let live: Value = shop.value("SELECT jsonb_agg(t) FROM todos t");
    let mut live: Vec<String> = live
        .as_array()
        .unwrap()
        .iter()
        .map(Value::to_string)
        .collect();
    live.sort();
    assert_eq!(live.len(), 1000);
    assert_eq!(as_of(&shop, &end, "todos"), live);
}

#[test]
fn rows_that_a_policy_hides_are_not_passed_over() {
    let shop = filled("VALUES ('mine'), ('theirs')");
    let role = format!("reader_{}", shop.slot());
    shop.sql(&format!(
        "CREATE ROLE {role} LOGIN REPLICATION; GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}; ALTER TABLE todos ENABLE ROW LEVEL SECURITY; \
         CREATE POLICY mine ON todos USING (title = 'mine')"
    ));
    let url = shop.database.url();
    let url = url.replacen("postgres@", &format!("{role}@"), 1);
    let hidden = shop.bemi_as(&url, &["snapshot"]);
    assert_eq!(hidden.code, 1);
    assert!(hidden.stderr.contains("42501"), "{}", hidden.stderr);
    assert_eq!(shop.value::<i64>("SELECT count(*) FROM changes"), 0);
    shop.sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

#[test]
fn what_was_not_set_up_is_told() {
    let shop = Shop::open();
    let outcome = shop.bemi(&["snapshot"]);
    assert_eq!(outcome.code, 1);
    assert!(outcome.stderr.contains("bemi setup"), "{}", outcome.stderr);
    let shop = filled("VALUES ('old')");
    let outcome = shop.bemi(&["snapshot", "--publication", "other"]);
    assert_eq!(outcome.code, 1);
    assert!(
        outcome.stderr.contains("publication \"other\""),
        "{}",
        outcome.stderr
    );
}

#[test]
fn a_long_writer_delays_the_snapshot_and_not_the_others() {
    let shop = filled("VALUES ('old')");
    let mut long = shop.client();
    long.batch_execute("BEGIN; UPDATE todos SET title = 'long'")
        .unwrap();
    let mut running = Capture::start(&mut shop.command(&["snapshot"]));
    let mut waited = std::time::Duration::ZERO;
    wait_until("the snapshot waits for the writer", || {
        shop.value::<bool>(WAITING)
    });
    for _ in 0..20 {
        let begun = Instant::now();
        shop.sql("INSERT INTO todos (title) VALUES ('short')");
        waited = waited.max(begun.elapsed());
    }
    assert!(waited < std::time::Duration::from_secs(2), "{waited:?}");
    assert!(!running.has_ended());
    long.batch_execute("COMMIT").unwrap();
    assert!(running.wait().success());
    let seen = "SELECT count(*) FROM changes WHERE operation = 'SNAPSHOT' AND after ->> 'title' IN ('long', 'short')";
    assert_eq!(shop.value::<i64>(seen), 21);
}

#[test]
fn a_table_that_is_altered_meanwhile_is_left_to_the_next_snapshot() {
    let shop = filled("VALUES ('old')");
    let altered_to = |what: &str| {
        let mut other = shop.client();
        other
            .batch_execute("BEGIN; UPDATE todos SET title = 'new'")
            .unwrap();
        let mut running = Capture::start(&mut shop.command(&["snapshot"]));
        wait_until("the snapshot waits for the writer", || {
            shop.value::<bool>(WAITING)
        });
        other
            .batch_execute(&format!("ALTER TABLE todos {what}; COMMIT"))
            .unwrap();
        let told =
            "error: the table public.todos has been altered meanwhile: run `bemi snapshot` again";
        assert_eq!(running.last_words(), (1, told.to_owned()));
        assert_eq!(shop.value::<i64>("SELECT count(*) FROM changes"), 0);
    };
    altered_to("ADD COLUMN n int DEFAULT 7");
    altered_to("DROP COLUMN title, ADD COLUMN title text");
    altered_to("RENAME COLUMN n TO m");
    let stored = json!([{"table": "public.todos", "rows": 1}]);
    assert_eq!(rows(&shop, &[]), stored);
    let whole: Value = shop.value("SELECT after FROM changes");
    assert_eq!(whole, json!({"id": 1, "title": "new", "m": 7}));
}
