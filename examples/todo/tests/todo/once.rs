//! `--once`: five requests, five changes, one table, nothing left.

use std::io::Read;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::{Outcome, Scratch, Trail, five, wait_for};

/// The cells of the table's rows, the header's first, with the lines of each put together.
fn cells(table: &str) -> Vec<Vec<String>> {
    let lines: Vec<&str> = table.lines().collect();
    lines
        .split(|line| line.starts_with(['═', '─']))
        .map(|row| {
            let mut cells = vec![String::new(); 7];
            for line in row {
                let texts: Vec<&str> = line.split('│').collect();
                assert_eq!(texts.len(), cells.len(), "{line}");
                for (cell, text) in cells.iter_mut().zip(texts) {
                    cell.push_str(text.trim());
                }
            }
            cells
        })
        .collect()
}

/// The table shows the five changes of a start whose first to-do has the id `first`, and nothing else.
fn shows_five(stdout: &str, first: i64) {
    let rows = cells(stdout);
    assert_eq!(
        rows[0],
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
    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let shown: Vec<_> = rows[1..]
        .iter()
        .map(|row| {
            assert_eq!(row[1], "todos");
            (
                row[0].clone(),
                &*row[2],
                json(&row[3]),
                json(&row[4]),
                json(&row[5]),
            )
        })
        .collect();
    assert_eq!(shown, five(first));
    let times: Vec<&String> = rows[1..].iter().map(|row| &row[6]).collect();
    assert!(times.is_sorted(), "{times:?}");
    for time in times {
        let digits = time.replace(|c: char| c.is_ascii_digit(), "0");
        assert_eq!(digits, "0000-00-00 00:00:00.000000");
    }
}

#[test]
fn with_a_server_of_its_own() {
    let scratch = Scratch::new();
    let stdout = scratch.todo(&["--once", "--port", "0"]).done();
    shows_five(&stdout, 1);
    assert_eq!(scratch.left(), [""; 0]);
}

#[test]
fn with_a_database() {
    let (scratch, trail) = (Scratch::new(), Trail::new());
    let url = trail.database.url();
    let slot = trail.database.name();
    let arguments = [
        "--once",
        "--port",
        "0",
        "--database-url",
        url,
        "--slot",
        slot,
    ];
    shows_five(&scratch.todo(&arguments).done(), 1);
    // What was made there stays, and the next start shows only its own.
    shows_five(&scratch.todo(&arguments).done(), 4);
    assert_eq!(scratch.left(), [""; 0]);

    let stored = trail.json(
        "SELECT json_agg(json_build_array(database, schema, \"table\", primary_key, operation, before, after, context) \
                         ORDER BY commit_lsn, ordinal) FROM changes",
    );
    let expected: Vec<Value> = five(1)
        .into_iter()
        .chain(five(4))
        .map(|(key, operation, before, after, context)| {
            json!([
                slot, "public", "todos", key, operation, before, after, context
            ])
        })
        .collect();
    assert_eq!(stored, json!(expected));
    let orders = "SELECT json_build_object(
        'positions', array_agg(position ORDER BY commit_lsn) = array_agg(position ORDER BY position),
        'times', array_agg(committed_at ORDER BY commit_lsn) = array_agg(committed_at ORDER BY committed_at),
        'ids', array_agg(id ORDER BY commit_lsn) = array_agg(id ORDER BY id),
        'transactions', count(DISTINCT transaction_id),
        'ordinals', max(ordinal)) FROM changes";
    assert_eq!(
        trail.json(orders),
        json!({ "positions": true, "times": true, "ids": true, "transactions": 10, "ordinals": 0 })
    );
}

#[test]
fn the_variable_names_the_database() {
    let (scratch, trail) = (Scratch::new(), Trail::new());
    let outcome = Outcome::of(&mut trail.command(&scratch, &["--once", "--port", "0"]));
    shows_five(&outcome.done(), 1);
    assert_eq!(trail.value::<i64>("SELECT count(*) FROM changes"), 5);
    assert_eq!(scratch.left(), [""; 0]);
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    let scratch = Scratch::new();
    let mut command = scratch.command(&["--once", "--port", "0"]);
    let outcome = Outcome::of(command.env("DATABASE_URL", ""));
    shows_five(&outcome.done(), 1);
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let (scratch, trail) = (Scratch::new(), Trail::new());
    let mut child = trail
        .command(&scratch, &["--once", "--port", "0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn killed_it_leaves_nothing() {
    let scratch = Scratch::new();
    let mut child = scratch
        .command(&["--port", "0"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // The first line of the table comes when the server runs and the changes are stored.
    let mut byte = [0];
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut byte).unwrap();
    assert_ne!(scratch.left(), [""; 0]);
    child.kill().unwrap();
    child.wait().unwrap();
    wait_for("the server and its folder are gone", || {
        scratch.left().is_empty().then_some(())
    });
}
