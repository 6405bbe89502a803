//! Changes that the trail refuses for what they hold.

use std::io::Read;
use std::process::Stdio;

use postgres::{Client, NoTls};
use serde_json::{Value, json};

use crate::support::{Capture, Shop, wait_until};

/// The trail takes no title that is not a number.
const REFUSE: &str = "CREATE INDEX numbers ON changes (((after ->> 'title')::int))";
const ALLOW: &str = "DROP INDEX numbers";

/// A shop that refuses titles that are no numbers.
fn refusing() -> Shop {
    let shop = Shop::set_up();
    shop.sql(REFUSE);
    shop
}

fn wait_for_progress(shop: &Shop, changes: i64) {
    wait_until("the progress counts all of them", || {
        shop.stored::<i64>("SELECT changes FROM _bemi_progress") >= changes
    });
}

/// The titles in the trail, in its order.
fn titles(shop: &Shop) -> String {
    shop.stored("SELECT string_agg(coalesce(after, before) ->> 'title', ' ' ORDER BY commit_lsn, ordinal) FROM changes")
}

fn put_aside(shop: &Shop) -> i64 {
    shop.stored("SELECT count(*) FROM _bemi_poison")
}

#[test]
fn a_change_that_is_refused_is_put_aside_and_the_stream_goes_on() {
    let shop = refusing();
    let capture = shop.capture();
    shop.sql("INSERT INTO todos (title) VALUES ('1'), ('the password is hunter2'), ('3')");
    shop.sql("INSERT INTO todos (title) VALUES ('4')");
    shop.wait_until_stored(3);
    assert_eq!(titles(&shop), "1 3 4");
    let said = capture.says("put aside").join("\n");
    assert!(
        said.contains("SQLSTATE 22P02") && said.contains("table=\"todos\""),
        "{said}"
    );
    assert!(!said.contains("hunter2"), "{said}");

    let status = shop.bemi(&["status", "--json"]).json();
    assert_eq!(
        (&status["put_aside"], &status["changes"]),
        (&json!(1), &json!(4))
    );
    let status = shop.bemi(&["status"]).stdout;
    let told = "1 that could not be stored: `bemi replay-poison --dry-run` tells why";
    assert!(status.contains(told), "{status}");

    let listed = shop.bemi(&["changes", "--json"]);
    assert_eq!(listed.json().as_array().map(Vec::len), Some(3));
    let told =
        "1 change is put aside, and not among these: `bemi replay-poison --dry-run` tells why\n";
    assert_eq!(listed.stderr, told);

    let place: String = shop.value(
        "SELECT concat('0/0'::pg_lsn + commit_lsn, ' #', ordinal) FROM _bemi_poison WHERE ordinal = 1",
    );
    let listed = format!("{place} CREATE public.todos: SQLSTATE 22P02\n");
    let xid: i64 = shop.value("SELECT max(transaction_id) FROM changes WHERE ordinal = 2");
    let half = shop.bemi(&["revert", "--transaction", &xid.to_string(), "--yes"]);
    assert_eq!(half.code, 1);
    let told = "changes to revert could not be stored and are put aside";
    assert!(half.stderr.contains(told), "{}", half.stderr);
    let shown = shop.bemi(&["replay-poison", "--dry-run"]);
    assert_eq!(
        (shown.code, shown.stdout, &*shown.stderr),
        (0, listed.clone(), "0 changes stored, 1 change put aside\n")
    );
    let refused = shop.bemi(&["replay-poison"]);
    assert_eq!(
        (refused.code, refused.stdout, &*refused.stderr),
        (
            1,
            listed,
            "0 changes stored, 1 change put aside\nerror: 1 change is still put aside\n\
             help: remove the cause of each reason, or upgrade bemi, and run `bemi replay-poison` again\n"
        )
    );
    assert_eq!((put_aside(&shop), titles(&shop)), (1, "1 3 4".to_owned()));

    shop.sql(ALLOW);
    let stored = json!({"stored": 1, "put_aside": []});
    assert_eq!(shop.bemi(&["replay-poison", "--json"]).json(), stored);
    assert_eq!(titles(&shop), "1 the password is hunter2 3 4");
    let whole = "SELECT bool_and(c.after = to_jsonb(t) AND c.primary_key = t.id::text AND c.ordinal < 3 \
                     AND c.queued_at < c.created_at AND c.transaction_id > 0 AND c.operation = 'CREATE') \
                 FROM changes c JOIN todos t ON c.after ->> 'id' = t.id::text";
    assert!(shop.value::<bool>(whole));
    let ids = "SELECT string_agg(id::text, ' ' ORDER BY commit_lsn, ordinal) = string_agg(id::text, ' ' ORDER BY id) FROM changes";
    assert!(shop.value::<bool>(ids));
    let none = json!({"stored": 0, "put_aside": []});
    assert_eq!(shop.bemi(&["replay-poison", "--json"]).json(), none);
    assert_eq!(shop.bemi(&["status", "--json"]).json()["put_aside"], 0);
    assert_eq!(shop.bemi(&["changes", "--json"]).stderr, "");
}

#[test]
fn the_last_word_of_a_run_counts_what_was_put_aside() {
    let shop = refusing();
    let mut command = shop.command(&["run", "--json"]);
    let run = command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut run = run.spawn().unwrap();
    shop.sql("INSERT INTO todos (title) VALUES ('1'), ('refused')");
    wait_for_progress(&shop, 2);
    let pid = rustix::process::Pid::from_child(&run);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let mut said = String::new();
    let mut stdout = run.stdout.take().unwrap();
    stdout.read_to_string(&mut said).unwrap();
    assert!(run.wait().unwrap().success());
    let said: Value = serde_json::from_str(&said).unwrap();
    let expected =
        json!({"changes": 2, "transactions": 1, "put_aside": 1, "flush_lsn": said["flush_lsn"]});
    assert_eq!(said, expected);
}

#[test]
fn a_truncate_is_not_reverted_while_earlier_changes_of_its_table_are_put_aside() {
    let shop = refusing();
    let _capture = shop.capture();
    // From here on the trail knows all rows.
    shop.sql("TRUNCATE todos");
    shop.sql("INSERT INTO todos (title) VALUES ('refused')");
    shop.sql("INSERT INTO todos (title) VALUES ('2')");
    shop.sql("TRUNCATE todos");
    shop.wait_until_stored(3);
    let xid: i64 =
        shop.value("SELECT max(transaction_id) FROM changes WHERE operation = 'TRUNCATE'");
    let revert = || shop.bemi(&["revert", "--transaction", &xid.to_string(), "--yes"]);
    let half = revert();
    let told = "error: changes to revert could not be stored and are put aside: \
                `bemi replay-poison` tells why, and tries them again\n";
    assert_eq!((half.code, &*half.stderr), (1, told));
    shop.sql(ALLOW);
    assert_eq!(shop.bemi(&["replay-poison"]).code, 0);
    let whole = revert();
    assert_eq!(whole.code, 0, "{}", whole.stderr);
    let titles: String = shop.value("SELECT string_agg(title, ' ' ORDER BY id) FROM todos");
    assert_eq!(titles, "refused 2");
}

#[test]
fn whoever_may_not_put_changes_aside_is_told() {
    let shop = Shop::set_up();
    let role = format!("{}_capture", shop.slot());
    shop.sql(&format!(
        "CREATE ROLE {role} LOGIN REPLICATION; GRANT ALL ON changes, _bemi_progress, _bemi_coverage, _bemi_partitions TO {role}; \
         GRANT SELECT ON todos TO {role}; GRANT EXECUTE ON FUNCTION pg_control_system() TO {role}"
    ));
    let url = shop
        .database
        .url()
        .replace("postgres@", &format!("{role}@"));
    shop.sql(REFUSE);
    let run = || {
        let mut command = shop.command(&["run", "--database-url", &url, "--destination-url", &url]);
        let capture = Capture::start(&mut command);
        capture.says("capture reads the log");
        capture
    };
    let mut capture = run();
    shop.sql("INSERT INTO todos (title) VALUES ('1'), ('refused')");
    let (code, said) = capture.last_words();
    assert_eq!(code, 1, "{said}");
    let told = "putting changes aside: permission denied for table _bemi_poison (SQLSTATE 42501)";
    let help = "grant the role what the message names";
    assert!(said.contains(told) && said.contains(help), "{said}");
    assert_eq!(
        (
            put_aside(&shop),
            shop.value::<i64>("SELECT changes FROM _bemi_progress")
        ),
        (0, 0)
    );
    shop.sql(&format!("GRANT INSERT ON _bemi_poison TO {role}"));
    let mut capture = run();
    wait_for_progress(&shop, 2);
    assert_eq!((put_aside(&shop), titles(&shop)), (1, "1".to_owned()));
    capture.signal(rustix::process::Signal::TERM);
    assert_eq!(capture.last_words().0, 0);
    shop.sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

#[test]
fn a_key_that_is_too_long_for_its_index() {
    let shop = Shop::open();
    // In the trail a control character is six.
    shop.sql(
        "CREATE TABLE todos (id int, name text, PRIMARY KEY (id, name)); CREATE TABLE names AS \
         SELECT string_agg(chr(1 + abs(hashtext(n::text)) % 29), '' ORDER BY n) AS name FROM generate_series(1, 2600) n",
    );
    assert_eq!(shop.bemi(&["setup", "--tables", "todos"]).code, 0);
    let _capture = shop.capture();
    shop.sql("INSERT INTO todos SELECT 1, name FROM names; INSERT INTO todos VALUES (2, 'short')");
    shop.wait_until_stored(1);
    let reason: String = shop.value("SELECT reason FROM _bemi_poison");
    assert!(
        reason.starts_with("index row ") && reason.ends_with("\"changes_record\" (SQLSTATE 54000)"),
        "{reason}"
    );
    shop.sql("DROP INDEX changes_record");
    assert_eq!(shop.bemi(&["replay-poison"]).code, 0);
    let same = "SELECT bool_and(after = to_jsonb(t)) AND count(*) = 2 FROM changes JOIN todos t ON after ->> 'id' = t.id::text";
    assert!(shop.value::<bool>(same));
}

#[test]
fn a_check_that_somebody_added() {
    let shop = Shop::set_up();
    shop.sql("ALTER TABLE changes ADD CONSTRAINT short CHECK (length(after::text) < 40)");
    let capture = shop.capture();
    shop.sql("INSERT INTO todos (title) VALUES ('the password is hunter2, and long'), ('2')");
    shop.wait_until_stored(1);
    let said = capture.says("put aside").join("\n");
    let told = "refused by the constraint \"short\" of \"changes\" (SQLSTATE 23514)";
    assert!(said.contains(told) && !said.contains("hunter2"), "{said}");
    assert_eq!(
        shop.value::<String>("SELECT reason FROM _bemi_poison"),
        told
    );
    shop.sql("ALTER TABLE changes DROP CONSTRAINT short");
    assert_eq!(shop.bemi(&["replay-poison"]).code, 0);
    assert_eq!(titles(&shop), "the password is hunter2, and long 2");
}

#[test]
fn a_partition_that_is_missing_is_waited_for() {
    let shop = Shop::set_up();
    shop.sql(
        "ALTER TABLE changes RENAME TO former; CREATE TABLE changes (LIKE former INCLUDING DEFAULTS) PARTITION BY RANGE (committed_at); \
         COMMENT ON TABLE changes IS 'bemi: in parts'",
    );
    let mut capture = shop.capture();
    shop.sql("INSERT INTO todos (title) VALUES ('1')");
    let (code, said) = capture.last_words();
    assert_eq!(code, 1);
    assert!(said.contains("SQLSTATE 23514"), "{said}");
    assert_eq!(put_aside(&shop), 0);
    shop.sql("CREATE TABLE every PARTITION OF changes DEFAULT");
    let _capture = shop.capture();
    shop.wait_until_stored(1);
}

/// Inserts so many rows in one transaction, of which the one in the middle and the last are refused, with a
/// context that comes at the end.
fn insert_many(shop: &Shop, rows: i32) {
    shop.sql(&format!(
        "BEGIN; INSERT INTO todos (title) SELECT CASE WHEN n IN ({0} / 2, {0}) THEN 'refused' ELSE n::text END \
             FROM generate_series(1, {0}) n; \
         SELECT pg_logical_emit_message(true, '_bemi', '{{\"late\": true}}'); COMMIT",
        rows
    ));
}

/// All of them are stored, once, in their places, but for those that are put aside.
const MANY: &str = "SELECT count(*) = count(DISTINCT ordinal) AND bool_and(ordinal = (after ->> 'id')::int - 1) \
                    AND bool_and(context = '{\"late\": true}') FROM changes";

#[test]
fn two_among_ten_thousand_in_one_batch_and_in_parts() {
    for rows in [9_000, 25_000] {
        let shop = refusing();
        let _capture = shop.capture();
        insert_many(&shop, rows);
        wait_for_progress(&shop, rows.into());
        let count = "SELECT count(*) FROM changes";
        assert_eq!(shop.value::<i64>(count), i64::from(rows) - 2);
        assert!(shop.value::<bool>(MANY), "{rows}");
        let ordinals = "SELECT string_agg(ordinal::text, ' ' ORDER BY ordinal) FROM _bemi_poison";
        let expected = format!("{} {}", rows / 2 - 1, rows - 1);
        assert_eq!(shop.value::<String>(ordinals), expected);
        shop.sql(ALLOW);
        assert_eq!(shop.bemi(&["replay-poison"]).code, 0);
        assert_eq!(shop.value::<i64>(count), i64::from(rows));
        assert!(shop.value::<bool>(MANY), "{rows}");
    }
}

#[test]
fn killed_at_any_step_it_stores_and_puts_aside_once() {
    for step in ["put-aside", "parts-advanced", "parts-committed"] {
        let shop = refusing();
        let mut command = shop.command(&["run"]);
        let mut doomed = Capture::start(command.env("FAILPOINTS", format!("{step}=return")));
        doomed.says("capture reads the log");
        shop.sql("INSERT INTO todos (title) VALUES ('1'), ('refused'), ('3')");
        let (code, said) = doomed.last_words();
        assert_eq!(code, -1, "{step}: {said}");
        let stored = i64::from(step == "parts-committed");
        assert_eq!(put_aside(&shop), stored, "{step}");
        let _next = shop.capture();
        shop.sql("INSERT INTO todos (title) VALUES ('4')");
        shop.wait_until_stored(3);
        assert_eq!(
            (put_aside(&shop), titles(&shop)),
            (1, "1 3 4".to_owned()),
            "{step}"
        );
    }
}

#[test]
fn a_replay_that_is_killed_or_run_twice_at_once_stores_once() {
    let shop = refusing();
    let _capture = shop.capture();
    shop.sql("INSERT INTO todos (title) SELECT 'refused ' || n FROM generate_series(1, 50) n");
    wait_for_progress(&shop, 50);
    assert_eq!(put_aside(&shop), 50);
    shop.sql(ALLOW);
    let mut command = shop.command(&["replay-poison"]);
    let mut doomed = Capture::start(command.env("FAILPOINTS", "replayed=return"));
    assert_eq!(doomed.last_words().0, -1);
    assert_eq!(put_aside(&shop), 50);
    let mut both = [(); 2].map(|()| Capture::start(&mut shop.command(&["replay-poison"])));
    for replay in &mut both {
        let (code, said) = replay.last_words();
        assert_eq!(code, 0, "{said}");
    }
    assert_eq!(put_aside(&shop), 0);
    let once = "SELECT count(*) = 50 AND count(DISTINCT (commit_lsn, ordinal)) = 50 AND bool_and(after = to_jsonb(t)) \
                FROM changes JOIN todos t ON primary_key = t.id::text";
    assert!(shop.value::<bool>(once));
}

#[test]
fn a_change_that_is_stored_already_is_not_stored_twice() {
    let shop = refusing();
    let _capture = shop.capture();
    shop.sql("INSERT INTO todos (title) VALUES ('1'), ('refused'), ('3')");
    shop.wait_until_stored(2);
    shop.sql(ALLOW);
    assert_eq!(shop.bemi(&["replay-poison"]).code, 0);
    assert_eq!(titles(&shop), "1 refused 3");
    let aside = "INSERT INTO _bemi_poison (source, database, commit_lsn, ordinal, schema, \"table\", operation, reason, change) \
                 SELECT source, database, commit_lsn, ordinal, schema, \"table\", operation, '', \
                        convert_to((to_jsonb(c) || jsonb_build_object('operation', 'CREATE'))::text, 'UTF8') \
                 FROM changes c WHERE ordinal = 1";
    shop.sql(aside);
    assert_eq!(shop.bemi(&["replay-poison"]).code, 0);
    assert_eq!(
        (put_aside(&shop), titles(&shop)),
        (0, "1 refused 3".to_owned())
    );
}

#[test]
fn the_past_of_a_table_is_not_told_while_changes_of_it_are_put_aside() {
    let shop = refusing();
    shop.sql("CREATE TABLE other (id int PRIMARY KEY)");
    let _capture = shop.capture();
    let latest = || -> String { shop.value("SELECT max(committed_at)::text FROM changes") };
    shop.sql("INSERT INTO todos (title) VALUES ('1')");
    shop.wait_until_stored(1);
    let before = latest();
    shop.sql("UPDATE todos SET title = 'refused'");
    shop.sql("BEGIN; INSERT INTO other VALUES (1); INSERT INTO todos (title) VALUES ('2'); COMMIT");
    shop.wait_until_stored(3);
    let after = latest();
    let as_of = |instant: &str, table: &str| {
        let outcome = shop.bemi(&["as-of", instant, table, "--json"]);
        serde_json::from_str::<Value>(&outcome.stdout).map_err(|_| outcome.stderr)
    };
    let one = json!([{"id": 1, "title": "1"}]);
    assert_eq!(as_of(&before, "todos"), Ok(one));
    assert_eq!(as_of(&after, "other"), Ok(json!([{"id": 1}])));
    let told = "changes of public.todos up to this instant could not be stored and are put aside: \
                `bemi replay-poison` tells why, and tries them again";
    let refused = as_of(&after, "todos").unwrap_err();
    assert_eq!(refused, format!("error: {told}\n"));
    // What came before a table was emptied does not matter.
    shop.sql("BEGIN; TRUNCATE todos; INSERT INTO todos (title) VALUES ('3'); COMMIT");
    shop.wait_until_stored(5);
    assert_eq!(
        as_of(&latest(), "todos"),
        Ok(json!([{"id": 3, "title": "3"}]))
    );
    shop.sql(ALLOW);
    assert_eq!(shop.bemi(&["replay-poison"]).code, 0);
    let both = json!([{"id": 1, "title": "refused"}, {"id": 2, "title": "2"}]);
    assert_eq!(as_of(&after, "todos"), Ok(both));
}

#[test]
fn a_row_of_a_snapshot_that_is_refused_is_put_aside_too() {
    let shop = Shop::open();
    shop.sql("CREATE TABLE todos (id int PRIMARY KEY, title text); INSERT INTO todos VALUES (1, '1'), (2, 'refused')");
    assert_eq!(shop.bemi(&["setup"]).code, 0);
    shop.sql(REFUSE);
    assert_eq!(shop.bemi(&["snapshot"]).code, 0);
    assert_eq!((put_aside(&shop), titles(&shop)), (1, "1".to_owned()));
    let _capture = shop.capture();
    shop.sql("INSERT INTO todos VALUES (3, '3')");
    shop.wait_until_stored(2);
    let now: String = shop.value("SELECT max(committed_at)::text FROM changes");
    let refused = shop.bemi(&["as-of", &now, "todos"]);
    assert!(refused.stderr.contains("put aside"), "{}", refused.stderr);
    shop.sql(ALLOW);
    assert_eq!(shop.bemi(&["replay-poison"]).code, 0);
    let rows = shop.bemi(&["as-of", &now, "todos", "--json"]).json();
    assert_eq!(rows.as_array().map(Vec::len), Some(3));
}

#[test]
fn one_destination_keeps_the_changes_of_its_sources_apart() {
    let trail = Shop::set_up();
    let url = trail.database.url();
    let [one, two] = [(); 2].map(|()| {
        let shop = Shop::open();
        shop.sql("CREATE TABLE todos (id serial PRIMARY KEY, title text)");
        let outcome = shop.bemi_at(shop.database.url(), url, &["setup"]);
        assert_eq!(outcome.code, 0, "{}", outcome.stderr);
        shop
    });
    trail.sql(REFUSE);
    for shop in [&one, &two] {
        let _capture = shop.capture_with(&["--destination-url", url]);
        shop.sql("INSERT INTO todos (title) VALUES ('refused')");
        let name = shop.slot();
        wait_until("it is put aside", || {
            let mut client = Client::connect(url, NoTls).unwrap();
            let sql = "SELECT count(*) FROM _bemi_poison WHERE database = $1";
            client.query_one(sql, &[&name]).unwrap().get::<_, i64>(0) == 1
        });
    }
    trail.sql(ALLOW);
    let replayed = one.bemi_at(one.database.url(), url, &["replay-poison"]);
    assert_eq!(replayed.code, 0, "{}", replayed.stderr);
    assert_eq!(put_aside(&trail), 1);
    let databases: String = trail.value("SELECT string_agg(database, ' ') FROM changes");
    assert_eq!(databases, one.slot());
}

#[test]
fn a_destination_that_is_not_in_utf8() {
    let (_cluster, shop) = Shop::stored_in_latin1();
    let at_destination = |sql: &str| {
        let mut client = Client::connect(shop.trail().url(), NoTls).unwrap();
        client.batch_execute(sql).unwrap();
    };
    at_destination("ALTER TABLE changes ADD CHECK (after ->> 'note' <> 'refused')");
    shop.sql("CREATE TABLE \"Ω é\" (id int PRIMARY KEY, title text, note text)");
    let _capture = shop.capture();
    // In parts, with a context that comes at the end.
    shop.sql(
        "BEGIN; INSERT INTO \"Ω é\" VALUES (1, 'Ω\u{1F600}', 'refused'), (2, 'é', 'refused'), (3, 'Ωé', ''), (4, 'a', 'refused'); \
         INSERT INTO \"Ω é\" SELECT n, 'é', '' FROM generate_series(5, 21000) n; \
         SELECT pg_logical_emit_message(true, '_bemi', '{\"Ω\": \"é\"}'); COMMIT",
    );
    wait_for_progress(&shop, 21_000);
    let aside: Value = shop.stored("SELECT jsonb_agg(jsonb_build_array(ordinal, \"table\", reason) ORDER BY ordinal) FROM _bemi_poison");
    let reason =
        "refused by the constraint \"changes_after_check\" of \"changes\" (SQLSTATE 23514)";
    let table = r"\u03a9 é";
    assert_eq!(
        aside,
        json!([[0, table, reason], [1, table, reason], [3, table, reason]])
    );
    at_destination("ALTER TABLE changes DROP CONSTRAINT changes_after_check");
    assert_eq!(shop.bemi(&["replay-poison"]).code, 0);
    let stored = "SELECT string_agg(concat_ws(' ', ordinal, \"table\", after ->> 'title', context), ', ' ORDER BY ordinal) \
                  FROM changes WHERE ordinal < 5";
    assert_eq!(
        shop.stored::<String>(stored),
        r#"0 \u03a9 é \u03a9\ud83d\ude00 {"\\u03a9": "é"}, 1 \u03a9 é é {"\\u03a9": "é"}, "#
            .to_owned()
            + r#"2 \u03a9 é \u03a9é {"\\u03a9": "é"}, 3 \u03a9 é a {"\\u03a9": "é"}, 4 \u03a9 é é {"\\u03a9": "é"}"#
    );
    let whole =
        "SELECT count(*) = 21000 AND count(DISTINCT (ordinal, context)) = 21000 FROM changes";
    assert!(shop.stored::<bool>(whole));
    assert_eq!(put_aside(&shop), 0);
}
