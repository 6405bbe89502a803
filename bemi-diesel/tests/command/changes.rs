use serde_json::{Value, json};

use crate::support::Shop;

/// A shop whose five changes have been captured.
fn shop() -> Shop {
    let shop = Shop::set_up();
    let capture = shop.capture();
    shop.sql("INSERT INTO todos (title) VALUES ('Sleep')");
    shop.sql(
        "BEGIN; SELECT pg_logical_emit_message(true, '_bemi', '{\"user\": {\"id\": 7}, \"why\": \"test\"}'); \
         INSERT INTO todos (title) VALUES ('Eat'); UPDATE todos SET title = 'Dream' WHERE id = 1; COMMIT",
    );
    shop.sql("DELETE FROM todos WHERE id = 2");
    shop.sql("TRUNCATE todos");
    shop.wait_until_stored(5);
    capture.kill();
    shop
}

/// Operation and key of each change that the filter leaves.
fn listed(shop: &Shop, filter: &[&str]) -> Vec<(String, Value)> {
    let changes = shop.bemi(&[&["changes", "--json"], filter].concat()).json();
    let changes = changes.as_array().unwrap();
    changes
        .iter()
        .map(|change| {
            (
                change["operation"].as_str().unwrap().to_owned(),
                change["primary_key"].clone(),
            )
        })
        .collect()
}

#[test]
fn filters_narrow_the_list() {
    let shop = shop();
    let all = [
        ("CREATE", json!("1")),
        ("CREATE", json!("2")),
        ("UPDATE", json!("1")),
        ("DELETE", json!("2")),
        ("TRUNCATE", json!(null)),
    ]
    .map(|(operation, key)| (operation.to_owned(), key));
    assert_eq!(listed(&shop, &[]), all);
    assert_eq!(
        listed(&shop, &["--primary-key", "1"]),
        [all[0].clone(), all[2].clone()]
    );
    assert_eq!(
        listed(&shop, &["--operation", "delete", "--operation", "TRUNCATE"]),
        all[3..]
    );
    assert_eq!(listed(&shop, &["--context", "why=test"]), all[1..3]);
    assert_eq!(
        listed(
            &shop,
            &["--context", r#"user={"id": 7}"#, "--primary-key", "2"]
        ),
        all[1..2]
    );
    assert_eq!(listed(&shop, &["--context", "user=7"]), []);
    assert_eq!(listed(&shop, &["--table", "public.todos"]).len(), 5);
    assert_eq!(
        listed(&shop, &["--table", "todos", "--limit", "2"]),
        all[3..]
    );
    assert_eq!(listed(&shop, &["--table", "t' OR true --"]), []);
    assert_eq!(
        listed(&shop, &["--since", "2000-01-01", "--until", "2001-01-01"]),
        []
    );
    assert_eq!(listed(&shop, &["--since", "yesterday"]).len(), 5);
    let xid: i64 = shop.value("SELECT transaction_id FROM changes WHERE operation = 'DELETE'");
    assert_eq!(
        listed(&shop, &["--transaction", &xid.to_string()]),
        all[3..4]
    );
}

#[test]
fn a_document_holds_whole_changes() {
    let shop = shop();
    let update = &shop
        .bemi(&["changes", "--json", "--operation", "UPDATE"])
        .json()[0];
    assert_eq!(update["before"], json!({"id": 1, "title": "Sleep"}));
    assert_eq!(update["after"], json!({"id": 1, "title": "Dream"}));
    assert_eq!(update["context"], json!({"user": {"id": 7}, "why": "test"}));
    assert_eq!(
        (&update["schema"], &update["table"]),
        (&json!("public"), &json!("todos"))
    );
    assert_eq!(update["database"], shop.database.name());
    let stored: Value = serde_json::from_str(&shop.value::<String>(
        "SELECT jsonb_build_object('id', id, 'source', source, 'position', position, 'commit_lsn', commit_lsn, \
         'ordinal', ordinal, 'transaction_id', transaction_id)::text FROM changes WHERE operation = 'UPDATE'",
    ))
    .unwrap();
    for (name, value) in stored.as_object().unwrap() {
        assert_eq!(&update[name], value, "{name}");
    }
}

#[test]
fn people_see_a_table() {
    let shop = shop();
    let outcome = shop.bemi(&["changes", "--limit", "1", "--operation", "UPDATE"]);
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('│')
            .split(['┆', '│'])
            .map(|cell| cell.trim().to_owned())
            .collect()
    };
    assert_eq!(
        cells(lines[1]),
        [
            "primary_key",
            "table",
            "operation",
            "before",
            "after",
            "context",
            "committed_at"
        ]
    );
    assert_eq!(
        cells(lines[3])[..6],
        [
            "1",
            "todos",
            "UPDATE",
            r#"{"id": 1, "title": "Sleep"}"#,
            r#"{"id": 1, "title": "Dream"}"#,
            r#"{"why": "test", "user": {"id": 7}}"#
        ]
    );
    assert_eq!(outcome.stderr, "");

    let outcome = shop.bemi(&["changes", "--limit", "2"]);
    assert_eq!(outcome.stderr, "the last 2 of more; --limit shows others\n");
    let outcome = shop.bemi(&["changes", "--table", "nothing"]);
    assert_eq!(
        (&*outcome.stdout, &*outcome.stderr),
        ("", "no change matches\n")
    );
}
