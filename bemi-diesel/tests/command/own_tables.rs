//! What is bemi's and what is the user's, when names and comments do not tell.

use crate::support::{PATIENCE, Shop};

#[test]
fn teardown_leaves_a_table_that_only_has_our_name() {
    let shop = Shop::open();
    shop.sql("CREATE TABLE changes (id int PRIMARY KEY); INSERT INTO changes VALUES (1)");
    assert_eq!(shop.bemi(&["setup"]).code, 1);
    let outcome = shop.bemi(&["teardown"]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert_eq!(shop.value::<i64>("SELECT count(*) FROM changes"), 1);
}

#[test]
fn a_trail_whose_comments_are_lost_is_not_captured_into_itself() {
    let shop = Shop::open();
    shop.sql("CREATE TABLE todos (id serial PRIMARY KEY, title text); CREATE PUBLICATION bemi FOR ALL TABLES");
    assert_eq!(shop.bemi(&["setup"]).code, 0);
    shop.sql(
        "COMMENT ON TABLE changes IS 'the audit trail'; COMMENT ON TABLE _bemi_progress IS NULL; \
         COMMENT ON TABLE _bemi_coverage IS NULL; COMMENT ON TABLE _bemi_poison IS NULL; \
         ALTER TABLE changes ADD CHECK (after ->> 'title' <> 'Snore')",
    );
    let _capture = shop.capture();
    for _ in 0..3 {
        shop.sql("INSERT INTO todos (title) VALUES ('Sleep')");
    }
    shop.wait_until_stored(3);
    // It is put aside, and what puts it there is not captured either.
    shop.sql("INSERT INTO todos (title) VALUES ('Snore'); DELETE FROM todos WHERE title = 'Snore'");
    shop.sql("UPDATE todos SET title = 'Dream'");
    shop.wait_until_stored(7);
    assert_eq!(shop.value::<i64>("SELECT count(*) FROM _bemi_poison"), 1);
    assert_eq!(
        shop.value::<String>("SELECT string_agg(DISTINCT \"table\", ' ') FROM changes"),
        "todos"
    );
    // Nor does a setup take it for a table of the user's.
    let again = shop.bemi(&["setup", "--json"]).json();
    assert_eq!(again["changed"], serde_json::json!([]));
    for ours in ["_bemi_progress", "_bemi_coverage", "_bemi_poison"] {
        let published = format!("{ours} published");
        assert!(!again.to_string().contains(&published), "{again}");
    }
}

#[test]
fn a_trail_that_is_partitioned_is_not_captured_into_itself() {
    let shop = Shop::set_up();
    shop.sql(
        "ALTER TABLE changes RENAME TO old; \
         CREATE TABLE changes (LIKE old INCLUDING DEFAULTS, UNIQUE (source, commit_lsn, ordinal, committed_at)) \
             PARTITION BY RANGE (committed_at); \
         CREATE TABLE changes_now PARTITION OF changes DEFAULT; DROP TABLE old",
    );
    let again = shop.bemi(&["setup", "--json"]).json();
    assert_eq!(again["changed"], serde_json::json!([]));
    let _capture = shop.capture();
    shop.sql("INSERT INTO todos (title) VALUES ('Sleep')");
    shop.wait_until_stored(1);
    shop.sql(
        "ALTER PUBLICATION bemi ADD TABLE changes_now; INSERT INTO todos (title) VALUES ('Dream')",
    );
    shop.wait_until_stored(2);
    shop.sql("INSERT INTO todos (title) VALUES ('Wake')");
    shop.wait_until_stored(3);
    assert_eq!(
        shop.value::<String>("SELECT string_agg(DISTINCT \"table\", ' ') FROM changes"),
        "todos"
    );
}

#[test]
fn a_trail_that_was_dropped_is_made_again() {
    let shop = Shop::set_up();
    let mut capture = shop.capture();
    shop.sql("INSERT INTO todos (title) VALUES ('Sleep')");
    shop.wait_until_stored(1);
    shop.sql("DROP TABLE changes; INSERT INTO todos (title) VALUES ('Dream')");
    let (code, said) = capture.last_words();
    assert_eq!(code, 1);
    let end = "error: storing changes: relation \"public.changes\" does not exist (SQLSTATE 42P01)\n\
               help: somebody has dropped or altered a table of bemi's: `bemi setup` makes what is missing";
    assert!(said.ends_with(end), "{said}");
    let mended = shop.bemi(&["setup", "--json"]).json();
    assert_eq!(
        mended["changed"],
        serde_json::json!(["table public.changes"])
    );
    let _capture = shop.capture();
    shop.wait_until_stored(1);
    assert_eq!(
        shop.value::<String>("SELECT after ->> 'title' FROM changes"),
        "Dream"
    );
}

#[test]
fn a_progress_that_was_set_back_doubles_nothing() {
    let shop = Shop::set_up();
    let early = format!("{}_early", shop.slot());
    shop.sql(&format!(
        "SELECT pg_copy_logical_replication_slot('{}', '{early}')",
        shop.slot()
    ));
    let capture = shop.capture();
    shop.sql("INSERT INTO todos (title) VALUES ('Sleep'), ('Eat')");
    shop.sql("UPDATE todos SET title = 'Dream' WHERE id = 1");
    shop.wait_until_stored(3);
    capture.kill();
    // One of them is gone, as a restore of the table or somebody's clean-up has it.
    shop.sql(&format!(
        "DELETE FROM changes WHERE primary_key = '2'; \
         UPDATE _bemi_progress SET slot = '{early}', flush_lsn = \
             (SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = '{early}')"
    ));
    let capture = shop.capture_with(&["--slot", &early]);
    shop.sql("INSERT INTO todos (title) VALUES ('Wake')");
    shop.wait_until_stored(4);
    capture.kill();
    let keys = "SELECT string_agg(concat(operation, primary_key), ' ' ORDER BY commit_lsn, ordinal) FROM changes";
    assert_eq!(
        shop.value::<String>(keys),
        "CREATE1 CREATE2 UPDATE1 CREATE3"
    );
}

#[test]
fn what_the_trail_refuses_is_told_without_values() {
    for (refusal, told) in [
        (
            "ALTER TABLE changes ADD COLUMN reviewer text NOT NULL",
            "error: storing changes: refused by the column \"reviewer\" of \"changes\" (SQLSTATE 23502)",
        ),
        (
            "CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no %', NEW.after; END $$; \
             CREATE TRIGGER tell BEFORE INSERT ON changes FOR EACH ROW EXECUTE FUNCTION tell()",
            "error: storing changes: SQLSTATE P0001",
        ),
    ] {
        let shop = Shop::set_up();
        shop.sql(refusal);
        let mut capture = shop.capture();
        shop.sql("INSERT INTO todos (title) VALUES ('the password is hunter2')");
        let told_after = std::time::Instant::now();
        if told.ends_with("P0001") {
            // Somebody may be at work on the trigger: it is tried again.
            let said = capture.says("capture reconnects").join("\n");
            // It streams, stores nothing, and fails again: each time it waits longer.
            for _ in 0..3 {
                capture.says("capture reconnects");
            }
            assert!(
                told_after.elapsed().as_millis() >= 700,
                "{:?}",
                told_after.elapsed()
            );
            assert!(said.contains(told.trim_start_matches("error: ")), "{said}");
            assert!(!said.contains("hunter2"), "{said}");
            capture.kill();
            continue;
        }
        let (code, said) = capture.last_words();
        assert_eq!(code, 1);
        assert!(said.ends_with(told), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
        assert!(told_after.elapsed() < PATIENCE);
    }
}

#[test]
fn indexes_of_an_earlier_version_are_made_anew_and_those_that_were_dropped_stay_so() {
    let shop = Shop::set_up();
    let indexes = "SELECT string_agg(indexdef, '; ' ORDER BY indexname) FROM pg_indexes WHERE tablename = 'changes'";
    let made: String = shop.value(indexes);
    shop.sql(
        "DROP INDEX changes_record, changes_context, changes_ranges; \
         CREATE INDEX changes_record ON changes (\"table\", primary_key, commit_lsn, ordinal); \
         CREATE INDEX changes_transaction ON changes USING brin (transaction_id)",
    );
    assert_eq!(shop.bemi(&["setup"]).code, 0);
    assert_eq!(shop.value::<String>(indexes), made);
    shop.sql("DROP INDEX changes_context");
    assert_eq!(shop.bemi(&["setup"]).code, 0);
    let context = "SELECT to_regclass('changes_context') IS NULL";
    assert!(shop.value::<bool>(context));
}
