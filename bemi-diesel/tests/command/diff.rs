use serde_json::json;

use crate::support::Shop;

/// A shop with a record whose changes are captured.
fn shop() -> Shop {
    let shop = Shop::open();
    shop.sql("CREATE TABLE todos (id serial PRIMARY KEY, title text, meta jsonb)");
    assert_eq!(shop.bemi(&["setup"]).code, 0);
    let capture = shop.capture();
    shop.sql(r#"INSERT INTO todos (title, meta) VALUES ('Sleep', '{"a": {"b": 1, "c": [2]}}')"#);
    shop.sql(
        r#"UPDATE todos SET title = E'\x1b[31m"Dream"\n', meta = '{"a": {"b": 1.0, "c": [2]}}'"#,
    );
    shop.sql("UPDATE todos SET title = repeat('é', 300), meta = NULL");
    shop.sql("TRUNCATE todos");
    shop.wait_until_stored(4);
    capture.kill();
    shop
}

/// When each change was committed, as it is shown.
fn times(shop: &Shop) -> Vec<String> {
    shop.value(
        "SELECT array_agg(to_char(committed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') \
         ORDER BY commit_lsn) FROM changes",
    )
}

#[test]
fn people_see_old_and_new() {
    let shop = shop();
    let times = times(&shop);
    let folded = format!("\"{}… (602 bytes)", "é".repeat(199));
    let expected = format!(
        r#"CREATE public.todos 1 {}
  + id: 1
  + meta: {{"a": {{"b": 1, "c": [2]}}}}
  + title: "Sleep"
UPDATE public.todos 1 {}
  - meta.a.b: 1
  + meta.a.b: 1.0
  - title: "Sleep"
  + title: "\u001b[31m\"Dream\"\n"
UPDATE public.todos 1 {}
  - meta: {{"a": {{"b": 1.0, "c": [2]}}}}
  + meta: null
  - title: "\u001b[31m\"Dream\"\n"
  + title: {folded}
TRUNCATE public.todos {}
"#,
        times[0], times[1], times[2], times[3],
    );
    let outcome = shop.bemi(&["diff"]);
    assert_eq!((&*outcome.stderr, outcome.code), ("", 0));
    assert_eq!(outcome.stdout, expected);

    let outcome = shop.bemi(&["diff", "--changed", "title", "--limit", "1"]);
    assert_eq!(outcome.stderr, "the last 1 of more; --limit shows others\n");
    assert!(
        outcome
            .stdout
            .starts_with(&format!("UPDATE public.todos 1 {}\n", times[2]))
    );
    let outcome = shop.bemi(&["diff", "--primary-key", "2"]);
    assert_eq!(
        (&*outcome.stdout, &*outcome.stderr, outcome.code),
        ("", "no change matches\n", 0)
    );
}

#[test]
fn programs_get_paths_with_both_values() {
    let shop = shop();
    let document = shop.bemi(&["diff", "--json", "--changed", "meta"]).json();
    let id: String = shop.value(
        "SELECT id::text FROM changes WHERE operation = 'UPDATE' ORDER BY commit_lsn LIMIT 1",
    );
    let first = json!({
        "id": id, "schema": "public", "table": "todos", "primary_key": "1", "operation": "UPDATE",
        "committed_at": document[0]["committed_at"],
        "diff": [
            {"path": ["meta", "a", "b"], "old": 1, "new": 1.0},
            {"path": ["title"], "old": "Sleep", "new": "\u{1b}[31m\"Dream\"\n"},
        ],
    });
    assert_eq!(document[0], first);
    assert_eq!(
        document[1]["diff"][0],
        json!({"path": ["meta"], "old": {"a": {"b": 1.0, "c": [2]}}, "new": null})
    );
    assert_eq!(document.as_array().map(Vec::len), Some(2));
    let outcome = shop.bemi(&["diff", "--json", "--table", "nothing"]);
    assert_eq!((&*outcome.stdout, &*outcome.stderr), ("[]\n", ""));
}
