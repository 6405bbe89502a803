//! Updates that make no entry, as `bemi run` is told.

use serde_json::json;

use crate::support::{Capture, Shop, bemi};

const TOUCH: &str = "UPDATE todos SET title = title; UPDATE todos SET updated_at = now(); \
                     UPDATE todos SET title = 'Eat'";

fn shop() -> Shop {
    let shop = Shop::set_up();
    shop.sql("ALTER TABLE todos ADD updated_at timestamptz");
    shop
}

/// The titles before and after of each update.
fn titles(shop: &Shop) -> Vec<(Option<String>, Option<String>)> {
    let sql = "SELECT before ->> 'title', after ->> 'title' FROM changes WHERE operation = 'UPDATE' \
               ORDER BY commit_lsn, ordinal";
    let rows = shop.client().query(sql, &[]).unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

fn told(before: &str, after: &str) -> (Option<String>, Option<String>) {
    (Some(before.to_owned()), Some(after.to_owned()))
}

#[test]
fn updates_that_change_nothing_are_left_out() {
    let shop = shop();
    let _capture = shop.capture();
    shop.sql("INSERT INTO todos (title) VALUES ('Sleep')");
    shop.sql(TOUCH);
    shop.wait_until_stored(3);
    assert_eq!(
        titles(&shop),
        [told("Sleep", "Sleep"), told("Sleep", "Eat")]
    );
}

#[test]
fn flags_and_environment_say_what_is_left_out() {
    for by_flags in [true, false] {
        let shop = shop();
        let mut command = shop.command(&["run"]);
        if by_flags {
            command.args(["--ignore", "todos.done,*.updated_at", "--keep-unchanged"]);
        } else {
            command
                .env("BEMI_IGNORE", "todos.done,*.updated_at")
                .env("BEMI_KEEP_UNCHANGED", "1");
        }
        let _capture = Capture::start(&mut command);
        shop.sql("INSERT INTO todos (title) VALUES ('Sleep')");
        shop.sql(TOUCH);
        shop.wait_until_stored(3);
        assert_eq!(
            titles(&shop),
            [told("Sleep", "Sleep"), told("Sleep", "Eat")]
        );
        let unchanged: i64 = shop
            .value("SELECT count(*) FROM changes WHERE operation = 'UPDATE' AND before = after");
        assert_eq!(unchanged, 1);
    }
}

#[test]
fn a_pattern_that_names_no_column_is_an_error() {
    let outcome = bemi(&[
        "run",
        "--database-url",
        "postgres://app@localhost/shop",
        "--ignore",
        "todos.",
    ]);
    assert_eq!(outcome.code, 1);
    assert!(
        outcome
            .stderr
            .contains("the pattern \"todos.\" names no column"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn setup_names_the_tables_that_are_not_tracked() {
    let shop = Shop::open();
    shop.sql(
        "CREATE TABLE todos (id int PRIMARY KEY); CREATE UNLOGGED TABLE \"Quiet one\" (id int)",
    );
    let notes = &shop.bemi(&["setup", "--json"]).json()["notes"];
    assert_eq!(
        *notes,
        json!(["not tracked, as the rows of unlogged tables are in no log: public.Quiet one"])
    );
}
