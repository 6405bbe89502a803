use serde_json::{Value, json};

use crate::support::{Capture, Shop};

/// A shop in which user 7 has made three changes, and somebody else one.
fn shop() -> (Shop, Capture) {
    let shop = Shop::set_up();
    let capture = shop.capture();
    shop.sql("INSERT INTO todos (title) VALUES ('Sleep'), ('Eat')");
    shop.sql(
        "BEGIN; SELECT pg_logical_emit_message(true, '_bemi', '{\"user_id\": 7}'); \
         UPDATE todos SET title = 'Dream' WHERE id = 1; DELETE FROM todos WHERE id = 2; \
         INSERT INTO todos (title) VALUES ('Wake'); COMMIT",
    );
    (shop, capture)
}

fn titles(shop: &Shop) -> String {
    shop.value("SELECT coalesce(string_agg(title, ' ' ORDER BY id), '') FROM todos")
}

#[test]
fn back_and_forth() {
    let (shop, _capture) = shop();
    let user = ["revert", "--json", "--context", "user_id=7"];
    let document = shop.bemi(&[&user[..], &["--dry-run"]].concat()).json();
    assert_eq!(titles(&shop), "Dream Wake");
    let rows = json!([
        {"action": "DELETE", "table": "todos", "schema": "public", "primary_key": "3", "before": {"id": 3, "title": "Wake"}, "after": {}},
        {"action": "UPDATE", "table": "todos", "schema": "public", "primary_key": "1",
         "before": {"id": 1, "title": "Dream"}, "after": {"id": 1, "title": "Sleep"}},
        {"action": "INSERT", "table": "todos", "schema": "public", "primary_key": "2", "before": {}, "after": {"id": 2, "title": "Eat"}},
    ]);
    let expected = json!({"applied": false, "transaction": null, "changes": 3, "rows": rows, "conflicts": [], "unchanged": 0});
    assert_eq!(document, expected);

    let document = shop.bemi(&user).json();
    assert_eq!(
        (&document["applied"], &document["rows"]),
        (&json!(true), &rows)
    );
    assert_eq!(titles(&shop), "Sleep Eat");
    // It waits until the trail has the revert.
    let transaction = document["transaction"].to_string();
    let outcome = shop.bemi(&["revert", "--transaction", &transaction, "--yes"]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert_eq!(titles(&shop), "Dream Wake");
    let contexts: i64 = shop.value(&format!(
        "SELECT count(*) FROM changes WHERE transaction_id = {transaction} AND context = '{{\"revert\": {{\"context\": {{\"user_id\": 7}}}}}}'"
    ));
    assert_eq!(contexts, 3);
}

#[test]
fn conflicts_are_named() {
    let (shop, _capture) = shop();
    shop.sql("UPDATE todos SET title = 'Nap' WHERE id = 1");
    let user = ["revert", "--context", "user_id=7"];
    let outcome = shop.bemi(&user);
    assert_eq!(outcome.code, 1);
    assert!(
        outcome.stderr.contains(
            "error: nothing was reverted: todos: changed since: title. --on-conflict skip"
        ),
        "{}",
        outcome.stderr
    );
    assert_eq!(titles(&shop), "Nap Wake");
    let outcome = shop.bemi(&[&user[..], &["--json"]].concat());
    assert_eq!(outcome.code, 1);
    let document: Value = serde_json::from_str(&outcome.stdout).unwrap();
    let conflict = json!({"schema": "public", "table": "todos", "primary_key": "1", "kind": "changed_since", "columns": ["title"], "resolution": "abort"});
    assert_eq!(
        (&document["applied"], &document["conflicts"]),
        (&json!(false), &json!([conflict]))
    );
    let outcome = shop.bemi(&[&user[..], &["--on-conflict", "skip"]].concat());
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert_eq!(titles(&shop), "Nap Eat");
    let outcome = shop.bemi(&[&user[..], &["--on-conflict", "force"]].concat());
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert_eq!(titles(&shop), "Sleep Eat");
}

#[test]
fn people_see_what_becomes_of_each_row() {
    let (shop, _capture) = shop();
    let outcome = shop.bemi(&[
        "revert",
        "--table",
        "todos",
        "--primary-key",
        "1",
        "--since",
        "yesterday",
        "--dry-run",
    ]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    for words in ["DELETE", "todos", "- title: \"Dream\""] {
        assert!(
            outcome.stdout.contains(words),
            "{words}: {}",
            outcome.stdout
        );
    }
    assert!(
        outcome
            .stderr
            .ends_with("2 changes: 1 row to write\nnothing was changed: this was a dry run\n"),
        "{}",
        outcome.stderr
    );
    let outcome = shop.bemi(&["revert", "--transaction", "3"]);
    assert_eq!((outcome.code, &*outcome.stderr), (0, "no change matches\n"));
}

#[test]
fn a_trail_that_is_behind() {
    let (shop, capture) = shop();
    capture.kill();
    shop.sql("DELETE FROM todos");
    let outcome = shop.bemi(&["revert", "--table", "todos", "--yes"]);
    assert_eq!(outcome.code, 1);
    assert!(
        outcome
            .stderr
            .contains("bytes of log behind, and nothing captures: start `bemi run`"),
        "{}",
        outcome.stderr
    );
    let outcome = shop.bemi(&["revert", "--until", "2000-01-01"]);
    assert_eq!(outcome.code, 2);
}
