//! Invariants of ARCHITECTURE.md that the text of the sources shows.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test that cannot go on ends"
)]

use std::fs;
use std::path::{Path, PathBuf};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// Every Rust file at or below `path`, tests excepted.
fn sources(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let entries = fs::read_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| !path.ends_with("tests.rs") && !path.ends_with("tests"))
        .flat_map(|path| sources(&path))
        .collect();
    found.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    found
}

/// The lines of code (not of documentation) at or below `paths` that hold one of `words`.
fn lines_with(paths: &[&str], words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for path in paths {
        let files = sources(&workspace().join(path));
        assert!(!files.is_empty(), "{path} is gone");
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            let code = text
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"));
            found.extend(
                code.filter(|line| words.iter().any(|word| line.contains(word)))
                    .map(|line| format!("{}: {}", file.display(), line.trim())),
            );
        }
    }
    found
}

#[test]
fn pure_modules_do_nothing_but_compute() {
    let pure = [
        "bemi-diesel/src/lsn.rs",
        "bemi-diesel/src/json.rs",
        "bemi-diesel/src/change.rs",
        "bemi-diesel/src/context.rs",
        "bemi-diesel/src/context",
        "bemi-diesel/src/pgoutput",
        "bemi-diesel/src/value",
        "bemi-diesel/src/stitch",
        "bemi-diesel/src/replication/session.rs",
        "bemi-diesel/src/replication/transport/pace.rs",
        "bemi-diesel/src/setup/pattern.rs",
        "bemi-diesel/src/setup/selection.rs",
        "bemi-diesel/src/connection/plan.rs",
        "bemi-diesel/src/connection/statement.rs",
        "bemi-diesel/src/connection/transaction.rs",
        "bemi-diesel/src/job.rs",
        "bemi-diesel/src/sql.rs",
        "bemi-diesel/src/history/ask.rs",
        "bemi-diesel/src/history/facts.rs",
        "bemi-diesel/src/history/fold.rs",
        "bemi-diesel/src/history/references.rs",
        "bemi-diesel/src/history/travel.rs",
        "bemi-diesel/src/tracked/misfit.rs",
        "bemi-diesel/src/tracked/reading.rs",
        "bemi-diesel/src/revert/catalog.rs",
        "bemi-diesel/src/revert/facts.rs",
        "bemi-diesel/src/revert/fold.rs",
        "bemi-diesel/src/revert/image.rs",
        "bemi-diesel/src/revert/judge.rs",
        "bemi-diesel/src/revert/order.rs",
        "bemi-diesel/src/revert/park.rs",
        "bemi-diesel/src/revert/plan.rs",
        "bemi-diesel/src/revert/relations.rs",
        "bemi-diesel/src/revert/selection.rs",
        "bemi-diesel/src/revert/statement.rs",
        "bemi-diesel/src/revert/trail.rs",
        "bemi-actix/src/pairs.rs",
        "bemi-actix/src/prefix.rs",
        "bemi-macros/src",
    ];
    let impure = [
        "tokio::",
        "async fn",
        "::now()",
        "spawn(",
        "tracing::",
        "println!",
        "std::fs",
        "std::net",
        "std::env",
    ];
    assert_eq!(lines_with(&pure, &impure), Vec::<String>::new());
}

/// A clock that jumps changes at most the time that a change says it was read at.
#[test]
fn no_decision_of_the_capture_goes_by_the_wall_clock() {
    let places = ["bemi-diesel/src/replication", "bemi-diesel/src/sink"];
    let mut found = lines_with(&places, &["SystemTime", "Utc::now", "Local::now"]);
    for noted in [
        "let queued_at = Utc::now();",
        "self.stitcher.push(message, position, Utc::now())",
        ".put_aside(frame, &reason, position, Utc::now())",
    ] {
        found.retain(|line| !line.contains(noted));
    }
    // What it only tells is no decision.
    found.retain(|line| !line.contains("replication/measure.rs"));
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn one_module_knows_the_replication_crate() {
    let mut found = lines_with(&["bemi-diesel/src"], &["pgwire_replication"]);
    found.retain(|line| !line.contains("replication/transport"));
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn the_middleware_knows_no_sql_and_the_macros_no_crate_of_ours() {
    let sql = ["SELECT", "INSERT", "diesel::", "postgres"];
    let mut found = lines_with(&["bemi-actix/src"], &sql);
    found.retain(|line| !line.contains("bemi_diesel::"));
    assert_eq!(found, Vec::<String>::new());
    let manifest = fs::read_to_string(workspace().join("bemi-macros/Cargo.toml")).unwrap();
    let dependencies = manifest
        .split("[dependencies]")
        .nth(1)
        .unwrap()
        .split("\n[")
        .next()
        .unwrap();
    assert!(!dependencies.contains("bemi"), "{dependencies}");
}
