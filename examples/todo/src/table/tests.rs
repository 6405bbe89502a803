use bemi_diesel::{Change, JsonObject, Lsn, Operation, Xid};
use serde_json::Value;

use super::{HEADER, fitting};

fn change(operation: Operation, before: &str, after: &str, context: &str) -> Change {
    let object = |text: &str| text.parse::<JsonObject>().expect("an object");
    Change {
        id: Change::identifier(1, Lsn::ZERO, 0, Default::default()),
        source: 1,
        database: "todo".into(),
        schema: "public".into(),
        table: "todos".into(),
        primary_key: Some("1".to_owned()),
        previous_key: None,
        operation,
        before: object(before),
        after: object(after),
        context: object(context),
        committed_at: Default::default(),
        queued_at: Default::default(),
        created_at: None,
        transaction_id: Xid::new(1),
        position: Lsn::ZERO,
        commit_lsn: Lsn::ZERO,
        ordinal: 0,
    }
}

/// The two changes whose cells have the most to break: long words, escapes, and keys that need some.
fn changes() -> [Change; 2] {
    [
        change(
            Operation::Update,
            r#"{"id": 1, "title": "Sleep", "completed": false}"#,
            r#"{"id": 1, "title": "Sleep", "completed": true}"#,
            r#"{"SQL": "UPDATE \"todos\" SET \"completed\" = $1 WHERE (\"todos\".\"id\" = $2)", "params": {"id": 1}, "endpoint": "/todos/1/complete"}"#,
        ),
        change(
            Operation::Create,
            "{}",
            r#"{"id": 2, "title": "\\\\\\\\\\\\\\\\\"\u001b\u001b\u001b\u001b\u001b\u001bä🦀ä🦀ä🦀ä🦀ä🦀"}"#,
            r#"{"a \" \u001b key": [1.5, null]}"#,
        ),
    ]
}

/// The lines of the cells of each row, the header's first.
fn parse(table: &str) -> Vec<Vec<Vec<&str>>> {
    let is_separator = |line: &&str| line.starts_with(['═', '─']);
    let lines: Vec<&str> = table.lines().collect();
    lines
        .split(is_separator)
        .map(|row| {
            let mut cells = vec![Vec::new(); HEADER.len()];
            for line in row {
                for (cell, text) in cells.iter_mut().zip(line.split('│')) {
                    cell.push(text.trim());
                }
            }
            cells
        })
        .collect()
}

/// What is left of JSON when it does not matter where it was broken.
fn without_blanks(text: &str) -> String {
    text.replace(' ', "")
}

#[test]
fn cells_are_json_whatever_the_width() {
    let changes = changes();
    for room in [None, Some(200), Some(120), Some(80), Some(20)] {
        let text = fitting(&changes, room).to_string();
        let rows = parse(&text);
        assert_eq!(rows.len(), 3);
        let header: Vec<String> = rows[0].iter().map(|lines| lines.concat()).collect();
        assert_eq!(header, HEADER);
        for (change, cells) in changes.iter().zip(&rows[1..]) {
            assert_eq!(cells[0].concat(), "1");
            assert_eq!(cells[1].concat(), "todos");
            assert_eq!(cells[2].concat(), change.operation.as_str());
            assert_eq!(
                without_blanks(&cells[6].concat()),
                "1970-01-0100:00:00.000000"
            );
            for (object, lines) in [&change.before, &change.after, &change.context]
                .into_iter()
                .zip(&cells[3..6])
            {
                let expected = object.as_str();
                assert_eq!(without_blanks(&lines.concat()), without_blanks(expected));
                for joined in [lines.concat(), lines.join(" ")] {
                    serde_json::from_str::<Value>(&joined)
                        .unwrap_or_else(|error| panic!("{error}: {joined}"));
                }
            }
        }
    }
}

#[test]
fn keys_need_not_be_json() {
    for key in [
        r"\u\é\\\é\é\é\é\é\u",
        r"\\\\\\\\\\\\\\\\\\\",
        "ääääääääääääääää",
    ] {
        let [mut change, _] = changes();
        change.primary_key = Some(key.to_owned());
        let text = fitting(&[change], Some(20)).to_string();
        assert_eq!(parse(&text)[1][0].concat(), key);
    }
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    // A crab is two columns wide; the width is counted in characters.
    let [change, _] = changes();
    for room in [200, 120, 80] {
        let text = fitting(std::slice::from_ref(&change), Some(room)).to_string();
        let widest = text.lines().map(|line| line.chars().count()).max();
        assert!(widest.is_some_and(|widest| widest <= room), "{text}");
    }
}

#[test]
fn a_narrow_terminal() {
    let [change, _] = changes();
    let table = fitting(&[change], Some(80)).to_string();
    let lines: Vec<&str> = table.lines().map(str::trim_end).collect();
    let expected = r#"
primary │table │operation │before       │after        │context     │committed_
_key    │      │          │             │             │            │at
════════╪══════╪══════════╪═════════════╪═════════════╪════════════╪═══════════
1       │todos │UPDATE    │{"id": 1,    │{"id": 1,    │{"SQL":     │1970-01-01
        │      │          │"title":     │"title":     │"UPDATE     │00:00:00.
        │      │          │"Sleep",     │"Sleep",     │\"todos\"   │000000
        │      │          │"completed": │"completed": │SET         │
        │      │          │false}       │true}        │\"completed │
        │      │          │             │             │\" = $1     │
        │      │          │             │             │WHERE       │
        │      │          │             │             │(\"todos\". │
        │      │          │             │             │\"id\" =    │
        │      │          │             │             │$2)",       │
        │      │          │             │             │"params":   │
        │      │          │             │             │{"id": 1},  │
        │      │          │             │             │"endpoint": │
        │      │          │             │             │"/todos/1/  │
        │      │          │             │             │complete"}  │
"#;
    assert_eq!(lines.join("\n"), expected.trim_matches('\n'), "\n{table}");
}
