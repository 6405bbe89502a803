use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::Value;

use crate::support::Shop;

/// A shop with three changes, with what is hard in CSV among their values.
fn shop() -> Shop {
    let shop = Shop::open();
    shop.sql("CREATE TABLE notes (id text PRIMARY KEY, line text); CREATE TABLE log (line text)");
    assert_eq!(shop.bemi(&["setup"]).code, 0);
    let capture = shop.capture();
    shop.sql("INSERT INTO notes VALUES ('a,\"b\"', E'1\\n2')");
    shop.sql("INSERT INTO notes VALUES ('', NULL)");
    shop.sql("INSERT INTO log VALUES ('x')");
    shop.wait_until_stored(3);
    capture.kill();
    shop
}

/// The fields of each line, without the header; `None` is an empty one that is not quoted.
fn csv(text: &str) -> Vec<Vec<Option<String>>> {
    let (mut rows, mut row, mut field) = (Vec::new(), Vec::new(), None::<String>);
    let mut characters = text.chars().peekable();
    let mut quoted = false;
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.next_if_eq(&'"').is_some() => {
                field.get_or_insert_default().push('"');
            }
            '"' => {
                quoted = !quoted;
                field.get_or_insert_default();
            }
            ',' if !quoted => row.push(field.take()),
            '\n' if !quoted => {
                row.push(field.take());
                rows.push(std::mem::take(&mut row));
            }
            other => field.get_or_insert_default().push(other),
        }
    }
    rows
}

#[test]
fn every_format_holds_the_same_changes() {
    let shop = shop();
    let changes = shop.bemi(&["changes", "--json"]).json();
    let changes = changes.as_array().unwrap();
    let json = shop.bemi(&["export", "--format", "json"]);
    assert_eq!(json.json().as_array(), Some(changes));
    assert_eq!(json.stderr, "");
    assert_eq!(shop.bemi(&["export", "--json"]).stdout, json.stdout);

    let lines = shop.bemi(&["export"]).stdout;
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(&lines, changes);

    let text = shop.bemi(&["export", "--format", "csv"]).stdout;
    let mut rows = csv(&text).into_iter();
    let header: Vec<String> = rows.next().unwrap().into_iter().flatten().collect();
    let stored: Vec<String> = shop.value(
        "SELECT array_agg(attname::text ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'changes'::regclass AND attnum > 0",
    );
    let sorted = |names: &[String]| {
        let mut names = names.to_vec();
        names.sort();
        names
    };
    assert_eq!(sorted(&header), sorted(&stored));
    for (row, change) in rows.zip(changes) {
        for (name, field) in header.iter().zip(row) {
            let expected = match &change[name] {
                Value::Null => None,
                Value::String(text) => Some(text.clone()),
                Value::Object(_) => {
                    assert_eq!(
                        &serde_json::from_str::<Value>(&field.unwrap()).unwrap(),
                        &change[name]
                    );
                    continue;
                }
                other => Some(other.to_string()),
            };
            assert_eq!(field, expected, "{name}");
        }
    }
    let keys: Vec<_> = changes
        .iter()
        .map(|change| change["primary_key"].as_str())
        .collect();
    assert_eq!(keys, [Some("a,\"b\""), Some(""), None]);
}

#[test]
fn filters_and_empty_exports() {
    let shop = shop();
    let filtered = shop.bemi(&["export", "--table", "log"]).stdout;
    assert_eq!(filtered.lines().count(), 1);
    let nothing = |format: &str| {
        shop.bemi(&["export", "--table", "nothing", "--format", format])
            .stdout
    };
    assert_eq!((&*nothing("json"), &*nothing("jsonl")), ("[]\n", ""));
    assert_eq!(nothing("csv").lines().count(), 1);
}

#[test]
fn a_file_is_written_whole_or_left_alone() {
    let shop = shop();
    let folder = std::env::temp_dir().join(shop.slot());
    std::fs::create_dir(&folder).unwrap();
    let path = folder.join("changes.jsonl");
    let file = path.to_str().unwrap();
    let outcome = shop.bemi(&["export", "--output", file]);
    assert_eq!(
        (&*outcome.stdout, &*outcome.stderr, outcome.code),
        ("", "3 changes\n", 0)
    );
    let written = std::fs::read_to_string(&path).unwrap();
    assert_eq!(written, shop.bemi(&["export"]).stdout);

    let outcome = shop.bemi(&["export", "--output", file, "--since", "the day before"]);
    assert_eq!(
        (&*outcome.stderr, outcome.code),
        (
            "error: cannot read the time: write it like 2026-01-31 or 2026-01-31T12:00:00Z\n",
            1
        )
    );
    assert_eq!(std::fs::read_to_string(&path).unwrap(), written);

    let outcome = shop.bemi(&["export", "--output", file, "--table", "log"]);
    assert_eq!(outcome.stderr, "1 change\n");
    let outcome = shop.bemi(&["export", "--output", folder.to_str().unwrap()]);
    assert_eq!(
        (outcome.stderr, outcome.code),
        (
            format!(
                "error: cannot write {}: Is a directory (os error 21)\n",
                folder.display()
            ),
            1
        )
    );
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let shop = shop();
    shop.sql(
        "INSERT INTO changes (id, source, database, schema, \"table\", operation, committed_at, queued_at, transaction_id, position, commit_lsn, ordinal) \
         SELECT gen_random_uuid(), 1, 'd', 's', 't', 'CREATE', now(), now(), 1, 1, 1, n FROM generate_series(1, 20000) n",
    );
    for arguments in [
        &["export"][..],
        &["export", "--format", "csv"],
        &["export", "--format", "json"],
        &["changes", "--json"],
        &["diff", "--json"],
    ] {
        let mut command = shop.command(arguments);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "{arguments:?}");
        drop(stdout);
        let ended = child.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(0), "{arguments:?}");
        assert_eq!(
            String::from_utf8(ended.stderr).unwrap(),
            "",
            "{arguments:?}"
        );
    }
}
