//! Rows that cannot be decoded.

use bemi_tests::Cluster;
use postgres::{Client, NoTls};
use serde_json::{Value, json};

use crate::support::{Capture, Outcome, Shop, outcome, wait_until};

/// A capture for which what has `text` in it cannot be decoded.
fn capture_without(shop: &Shop, text: &str) -> Capture {
    let mut command = shop.command(&["run"]);
    let command = command.env("FAILPOINTS", format!("undecodable=return({text})"));
    let capture = Capture::start(command);
    capture.says("capture reads the log");
    capture
}

/// The command for which what has `text` in it cannot be decoded.
fn bemi_without(shop: &Shop, text: &str, arguments: &[&str]) -> Outcome {
    let mut command = shop.command(arguments);
    outcome(command.env("FAILPOINTS", format!("undecodable=return({text})")))
}

/// Everything in the trail: ordinals, tables, operations, rows and contexts.
fn trail(shop: &Shop) -> Vec<Value> {
    let sql = "SELECT coalesce(jsonb_agg(jsonb_build_array(ordinal, \"table\", operation, primary_key, before, after, context) \
               ORDER BY commit_lsn, ordinal), '[]') FROM changes";
    match shop.stored(sql) {
        Value::Array(changes) => changes,
        other => panic!("{other}"),
    }
}

fn put_aside(shop: &Shop) -> i64 {
    shop.stored("SELECT count(*) FROM _bemi_poison WHERE message IS NOT NULL")
}

fn wait_for_progress(shop: &Shop, changes: i64) {
    wait_until("the progress counts all of them", || {
        shop.stored::<i64>("SELECT changes FROM _bemi_progress") >= changes
    });
}

const WRITES: &str = "\
    BEGIN; INSERT INTO todos (title) VALUES ('first'); INSERT INTO todos (title) VALUES ('2'), ('bad'), ('4'); \
        SELECT pg_logical_emit_message(true, '_bemi', '{\"user\": 1}'); \
        UPDATE todos SET title = 'worse bad' WHERE title = 'bad'; \
        SELECT pg_logical_emit_message(true, '_bemi', '{\"user\": 2}'); \
        DELETE FROM todos WHERE title = 'worse bad'; UPDATE todos SET title = '5' WHERE title = '4'; COMMIT; \
    INSERT INTO todos (title) VALUES ('last')";

#[test]
fn a_row_that_cannot_be_decoded_is_put_aside_and_the_stream_goes_on() {
    let [whole, shop] = [(); 2].map(|()| Shop::set_up());
    {
        let _capture = whole.capture();
        whole.sql(WRITES);
        wait_for_progress(&whole, 8);
    }
    let capture = capture_without(&shop, "bad");
    shop.sql(WRITES);
    wait_for_progress(&shop, 8);
    let said = capture.says("put aside").join("\n");
    let told = "bytes are left over after the pgoutput message";
    assert!(
        said.contains(told) && said.contains("table=\"todos\""),
        "{said}"
    );
    assert!(!said.contains("bad"), "{said}");

    let all = trail(&whole);
    let is_bad = |change: &Value| change.to_string().contains("bad");
    let good: Vec<Value> = all
        .iter()
        .filter(|change| !is_bad(change))
        .cloned()
        .collect();
    assert_eq!(trail(&shop), good);
    let aside = "SELECT jsonb_agg(jsonb_build_array(ordinal, \"table\", operation, reason, \
                     convert_from(change, 'UTF8')::jsonb -> 'context') ORDER BY commit_lsn, ordinal) FROM _bemi_poison \
                 WHERE message IS NOT NULL AND relation IS NOT NULL AND description IS NOT NULL";
    assert_eq!(
        shop.stored::<Value>(aside),
        json!([
            [2, "todos", "CREATE", told, {"user": 1}],
            [4, "todos", "UPDATE", told, {"user": 1}],
            [5, "todos", "DELETE", told, {"user": 2}],
        ])
    );
    let status = shop.bemi(&["status", "--json"]).json();
    assert_eq!(
        (&status["put_aside"], &status["changes"]),
        (&json!(3), &json!(8))
    );

    // For as long as it cannot be decoded it stays.
    let refused = bemi_without(&shop, "bad", &["replay-poison"]);
    assert_eq!(refused.code, 1);
    let told = "error: 3 changes are still put aside\n";
    assert!(refused.stderr.contains(told), "{}", refused.stderr);
    assert_eq!((put_aside(&shop), trail(&shop)), (3, good));

    let stored = json!({"stored": 3, "put_aside": []});
    assert_eq!(shop.bemi(&["replay-poison", "--json"]).json(), stored);
    assert_eq!((put_aside(&shop), trail(&shop)), (0, all));
    let ids = "SELECT array_agg(id ORDER BY commit_lsn, ordinal) = array_agg(id ORDER BY id) \
                   AND bool_and(transaction_id > 0 AND position < commit_lsn AND queued_at <= created_at) FROM changes";
    assert!(shop.stored::<bool>(ids));
    let none = json!({"stored": 0, "put_aside": []});
    assert_eq!(shop.bemi(&["replay-poison", "--json"]).json(), none);
}

/// Inserts 25,000 rows in one transaction, of which three cannot be decoded, with a context that comes at the
/// end.
const MANY: &str = "BEGIN; INSERT INTO todos (title) SELECT CASE WHEN n IN (1, 12000, 25000) THEN 'bad' ELSE n::text END \
                        FROM generate_series(1, 25000) n; \
                    SELECT pg_logical_emit_message(true, '_bemi', '{\"late\": true}'); COMMIT";

/// How many of them are stored, if each is once, in its place and with its context.
fn many(shop: &Shop) -> Option<i64> {
    shop.stored(
        "SELECT CASE WHEN count(DISTINCT ordinal) = count(*) AND bool_and(ordinal = (after ->> 'id')::int - 1 \
             AND context = '{\"late\": true}' AND primary_key = after ->> 'id') THEN count(*) END FROM changes",
    )
}

#[test]
fn three_of_a_transaction_that_is_stored_in_parts() {
    let shop = Shop::set_up();
    let mut command = shop.command(&["run"]);
    let killed = command.env("FAILPOINTS", "undecodable=return(bad);parts-covered=return");
    let mut doomed = Capture::start(killed);
    doomed.says("capture reads the log");
    shop.sql(MANY);
    assert_eq!(doomed.last_words().0, -1);
    assert_eq!((put_aside(&shop), many(&shop)), (0, None));
    let _capture = capture_without(&shop, "bad");
    wait_for_progress(&shop, 25_000);
    assert_eq!((put_aside(&shop), many(&shop)), (3, Some(24_997)));
    let ordinals = "SELECT string_agg(ordinal::text, ' ' ORDER BY ordinal) FROM _bemi_poison";
    assert_eq!(shop.stored::<String>(ordinals), "0 11999 24999");
    assert_eq!(shop.bemi(&["replay-poison"]).code, 0);
    assert_eq!((put_aside(&shop), many(&shop)), (0, Some(25_000)));
}

#[test]
fn killed_at_any_step_it_stores_and_puts_aside_once() {
    for step in ["put-aside", "parts-advanced", "parts-committed", "stored"] {
        let shop = Shop::set_up();
        let mut command = shop.command(&["run"]);
        let points = format!("undecodable=return(bad);{step}=return");
        let mut doomed = Capture::start(command.env("FAILPOINTS", points));
        doomed.says("capture reads the log");
        shop.sql("INSERT INTO todos (title) VALUES ('1'), ('bad'), ('3')");
        assert_eq!(doomed.last_words().0, -1, "{step}");
        let stored = i64::from(matches!(step, "parts-committed" | "stored"));
        assert_eq!(put_aside(&shop), stored, "{step}");
        let _next = capture_without(&shop, "bad");
        shop.sql("INSERT INTO todos (title) VALUES ('4')");
        wait_for_progress(&shop, 4);
        let ordinals = || -> String {
            shop.stored("SELECT string_agg(concat(ordinal, ':', after ->> 'title'), ' ' ORDER BY commit_lsn, ordinal) FROM changes")
        };
        assert_eq!(
            (put_aside(&shop), &*ordinals()),
            (1, "0:1 2:3 0:4"),
            "{step}"
        );
        // A replay that is killed, and two at once.
        let mut command = shop.command(&["replay-poison"]);
        let mut doomed = Capture::start(command.env("FAILPOINTS", "replayed=return"));
        assert_eq!(doomed.last_words().0, -1, "{step}");
        assert_eq!(put_aside(&shop), 1, "{step}");
        let mut both = [(); 2].map(|()| Capture::start(&mut shop.command(&["replay-poison"])));
        for replay in &mut both {
            let (code, said) = replay.last_words();
            assert_eq!(code, 0, "{step}: {said}");
        }
        assert_eq!(
            (put_aside(&shop), &*ordinals()),
            (0, "0:1 1:bad 2:3 0:4"),
            "{step}"
        );
    }
}

#[test]
fn every_row_of_a_table_whose_description_cannot_be_decoded() {
    let shop = Shop::open();
    shop.sql(
        "CREATE TYPE pair AS (x int, y text); CREATE TABLE \"Odd \"\"Ones\"\"\" (a int, b int, at pair, PRIMARY KEY (b, a)); \
         CREATE TABLE other (id int PRIMARY KEY)",
    );
    assert_eq!(shop.bemi(&["setup"]).code, 0);
    let mut capture = capture_without(&shop, "Odd ");
    shop.sql(
        "BEGIN; INSERT INTO other VALUES (1); INSERT INTO \"Odd \"\"Ones\"\"\" VALUES (1, 2, (3, 'x')); INSERT INTO other VALUES (2); \
         TRUNCATE other, \"Odd \"\"Ones\"\"\"; INSERT INTO \"Odd \"\"Ones\"\"\" VALUES (4, 5, (6, 'y')); COMMIT",
    );
    wait_for_progress(&shop, 6);
    let said = capture.says("put aside").join("\n");
    let told = "the description of a table cannot be read: its rows are put aside";
    assert!(said.contains(told), "{said}");
    let other = [
        json!([0, "other", "CREATE", "1", {}, {"id": 1}, {}]),
        json!([2, "other", "CREATE", "2", {}, {"id": 2}, {}]),
        json!([3, "other", "TRUNCATE", null, {}, {}, {}]),
    ];
    let aside: Value = shop.stored("SELECT jsonb_agg(jsonb_build_array(ordinal, \"table\", operation, reason) ORDER BY ordinal) FROM _bemi_poison");
    let reason = "a row of a table whose description cannot be read: bytes are left over after the pgoutput message";
    let odd = "Odd \"Ones\"";
    assert_eq!(
        aside,
        json!([
            [1, odd, "CREATE", reason],
            [4, odd, "TRUNCATE", reason],
            [5, odd, "CREATE", reason]
        ])
    );
    let now: String = shop.stored("SELECT max(committed_at)::text FROM changes");
    let as_of = |table: &str| shop.bemi(&["as-of", &now, table, "--json"]);
    assert_eq!(as_of("other").json(), json!([]));
    let refused = as_of(odd);
    assert!(refused.stderr.contains("put aside"), "{}", refused.stderr);
    // The next description can be decoded.
    capture.signal(rustix::process::Signal::TERM);
    assert_eq!(capture.last_words().0, 0);
    let _capture = shop.capture();
    shop.sql("INSERT INTO \"Odd \"\"Ones\"\"\" VALUES (7, 8, (9, 'z'))");
    wait_for_progress(&shop, 7);
    assert_eq!(trail(&shop).len(), 4);
    assert_eq!(shop.bemi(&["replay-poison"]).code, 0);
    let [first, second, third, last] = [
        json!([1, odd, "CREATE", "[\"2\", \"1\"]", {}, {"a": 1, "b": 2, "at": {"x": 3, "y": "x"}}, {}]),
        json!([4, odd, "TRUNCATE", null, {}, {}, {}]),
        json!([5, odd, "CREATE", "[\"5\", \"4\"]", {}, {"a": 4, "b": 5, "at": {"x": 6, "y": "y"}}, {}]),
        json!([0, odd, "CREATE", "[\"8\", \"7\"]", {}, {"a": 7, "b": 8, "at": {"x": 9, "y": "z"}}, {}]),
    ];
    let [zero, two, truncate] = other;
    let mut all = trail(&shop);
    for change in &mut all {
        change[3] = match change[3].as_str() {
            Some(key) => key.replace(',', ", ").into(),
            None => Value::Null,
        };
    }
    assert_eq!(all, [zero, first, two, truncate, second, third, last]);
    let rows = json!([{"a": 4, "b": 5, "at": {"x": 6, "y": "y"}}]);
    assert_eq!(as_of(odd).json(), rows);
}

#[test]
fn a_table_that_is_gone_or_altered_when_its_rows_are_decoded() {
    let shop = Shop::open();
    shop.sql(
        "CREATE TYPE pair AS (x int, y text); CREATE TYPE mood AS ENUM ('bad'); \
         CREATE TABLE gone (id int PRIMARY KEY, at pair, mood mood); CREATE TABLE altered (id int PRIMARY KEY, n int, note text)",
    );
    assert_eq!(shop.bemi(&["setup"]).code, 0);
    let _capture = capture_without(&shop, "bad");
    shop.sql(
        "INSERT INTO gone VALUES (1, (2, 'x'), 'bad'); INSERT INTO altered VALUES (1, 2, 'bad')",
    );
    wait_for_progress(&shop, 2);
    shop.sql(
        "DROP TABLE gone; DROP TYPE pair; ALTER TABLE altered DROP CONSTRAINT altered_pkey; \
         ALTER TABLE altered DROP COLUMN n; ALTER TABLE altered RENAME id TO key; ALTER TABLE altered RENAME TO renamed",
    );
    assert_eq!(shop.bemi(&["replay-poison"]).code, 0);
    assert_eq!(
        trail(&shop),
        [
            json!([0, "gone", "CREATE", "1", {}, {"id": 1, "at": {"x": 2, "y": "x"}, "mood": "bad"}, {}]),
            json!([1, "altered", "CREATE", "1", {}, {"id": 1, "n": 2, "note": "bad"}, {}]),
        ]
    );
}

#[test]
fn a_trail_of_an_earlier_version_is_upgraded_by_setup() {
    let shop = Shop::set_up();
    shop.sql(
        "ALTER TABLE _bemi_poison DROP COLUMN message, DROP COLUMN relation, DROP COLUMN description",
    );
    let refused = shop.bemi(&["run"]);
    assert_eq!(
        (refused.code, &*refused.stderr),
        (
            1,
            "error: preparing to store changes: column \"message\" of relation \"_bemi_poison\" does not exist (SQLSTATE 42703)\n\
             help: somebody has dropped or altered a table of bemi's: `bemi setup` makes what is missing\n"
        )
    );
    assert_eq!(shop.bemi(&["setup"]).code, 0);
    let _capture = capture_without(&shop, "bad");
    shop.sql("INSERT INTO todos (title) VALUES ('bad'), ('good')");
    wait_for_progress(&shop, 2);
    assert_eq!(put_aside(&shop), 1);
    assert_eq!(shop.bemi(&["replay-poison"]).code, 0);
    assert_eq!(trail(&shop).len(), 2);
}

#[test]
fn a_destination_that_lacks_a_character_of_the_tables_name() {
    let (_cluster, shop) = Shop::stored_in_latin1();
    shop.sql("CREATE TABLE \"Ω é\" (id int PRIMARY KEY, title text)");
    let _capture = capture_without(&shop, "bad");
    shop.sql("INSERT INTO \"Ω é\" VALUES (1, 'bad Ω')");
    wait_for_progress(&shop, 1);
    let table = r"\u03a9 é";
    assert_eq!(
        shop.stored::<String>("SELECT \"table\" FROM _bemi_poison"),
        table
    );
    assert_eq!(shop.bemi(&["replay-poison"]).code, 0);
    let after = json!({"id": 1, "title": r"bad \u03a9"});
    assert_eq!(
        trail(&shop),
        [json!([0, table, "CREATE", "1", {}, after, {}])]
    );
}

/// A shop in a database whose texts are whatever bytes a client wrote.
fn without_encoding() -> (Cluster, Shop) {
    let cluster = Cluster::start().unwrap();
    let mut admin = Client::connect(&cluster.url("postgres"), NoTls).unwrap();
    for statement in [
        "ALTER DATABASE template1 RENAME TO unused",
        "CREATE DATABASE template1 ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0",
    ] {
        admin.batch_execute(statement).unwrap();
    }
    let shop = Shop::open_in(&cluster);
    (cluster, shop)
}

/// Runs a statement that is no UTF-8.
fn execute(shop: &Shop, statement: &[u8]) {
    let hex: String = statement.iter().map(|byte| format!("{byte:02x}")).collect();
    shop.sql(&format!(
        "SET client_encoding = 'SQL_ASCII'; \
         DO $do$ BEGIN EXECUTE convert_from('\\x{hex}', 'SQL_ASCII'); END $do$"
    ));
}

#[test]
fn values_and_messages_that_are_no_text() {
    let (_cluster, shop) = without_encoding();
    shop.sql("CREATE TABLE todos (id int PRIMARY KEY, title text)");
    assert_eq!(shop.bemi(&["setup"]).code, 0);
    let _capture = shop.capture();
    execute(
        &shop,
        b"SELECT pg_logical_emit_message(true, '_\xff', '\xff')",
    );
    execute(
        &shop,
        b"INSERT INTO todos VALUES (1, 'caf\xe9'), (2, 'caf\xc3\xa9')",
    );
    wait_for_progress(&shop, 2);
    let rows = [
        json!([0, "todos", "CREATE", "1", {}, {"id": 1, "title": r"caf\xe9"}, {}]),
        json!([1, "todos", "CREATE", "2", {}, {"id": 2, "title": "café"}, {}]),
    ];
    assert_eq!(trail(&shop), rows);
}

#[test]
fn tables_of_our_own_are_passed_over_though_their_descriptions_cannot_be_decoded() {
    let shop = Shop::open();
    shop.sql("CREATE TABLE todos (id serial PRIMARY KEY, title text); CREATE PUBLICATION bemi FOR ALL TABLES");
    assert_eq!(shop.bemi(&["setup"]).code, 0);
    let _capture = capture_without(&shop, "_bemi_p");
    for title in ["first", "second"] {
        shop.sql(&format!("INSERT INTO todos (title) VALUES ('{title}')"));
    }
    wait_for_progress(&shop, 2);
    // What the progress itself writes has been read by then.
    shop.sql("INSERT INTO todos (title) VALUES ('third')");
    wait_for_progress(&shop, 3);
    assert_eq!((put_aside(&shop), trail(&shop).len()), (0, 3));
}

#[test]
fn a_transaction_with_a_row_that_cannot_be_decoded_is_not_reverted_by_half() {
    let shop = Shop::set_up();
    let _capture = capture_without(&shop, "bad");
    shop.sql("INSERT INTO todos (title) VALUES ('good'), ('bad')");
    wait_for_progress(&shop, 2);
    let xid: i64 = shop.stored("SELECT transaction_id FROM changes");
    let half = shop.bemi(&["revert", "--transaction", &xid.to_string(), "--yes"]);
    let told = "error: changes to revert could not be stored and are put aside: \
                `bemi replay-poison` tells why, and tries them again\n";
    assert_eq!((half.code, &*half.stderr), (1, told));
}
