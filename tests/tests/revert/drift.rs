//! The tables have changed since.

use bemi_diesel::revert::ConflictKind;
use bemi_diesel::{OnConflict, Revert, RevertError};
use serde_json::json;

use crate::support::Shop;

#[test]
fn columns_come_and_go() {
    let mut shop = Shop::open(
        "CREATE TABLE todos (id int PRIMARY KEY, title text, note text); INSERT INTO todos VALUES (1, 'a', 'n'), (2, 'b', null)",
    );
    let changed = shop
        .transaction("UPDATE todos SET title = 'x' WHERE id = 1; DELETE FROM todos WHERE id = 2");
    let noted = shop.transaction("UPDATE todos SET note = 'm' WHERE id = 1");
    shop.sql("ALTER TABLE todos DROP COLUMN note; ALTER TABLE todos ADD COLUMN rank int NOT NULL DEFAULT 5");
    // What was not changed need not come back.
    shop.revert(&Revert::new().transaction(changed));
    assert_eq!(
        shop.rows("todos"),
        [
            json!({"id": 1, "title": "a", "rank": 5}),
            json!({"id": 2, "title": "b", "rank": 5}),
        ]
    );
    let dropped = ConflictKind::ColumnDropped {
        columns: vec!["note".to_owned()],
    };
    let revert = Revert::new().transaction(noted);
    assert_eq!(
        shop.refused(&revert),
        [("todos".to_owned(), Some("1".to_owned()), dropped)]
    );
    let forced = shop.revert(&revert.on_conflict(OnConflict::Force));
    assert_eq!((forced.plan.rows.len(), forced.plan.unchanged), (0, 1));
}

#[test]
fn a_column_that_wants_a_value() {
    let mut shop = Shop::open(
        "CREATE TABLE todos (id int PRIMARY KEY, title text); INSERT INTO todos VALUES (1, 'a')",
    );
    let deleted = shop.transaction("DELETE FROM todos");
    shop.sql("ALTER TABLE todos ADD COLUMN rank int NOT NULL");
    let required = ConflictKind::ColumnRequired {
        columns: vec!["rank".to_owned()],
    };
    assert_eq!(
        shop.refused(&Revert::new().transaction(deleted)),
        [("todos".to_owned(), Some("1".to_owned()), required)]
    );
}

#[test]
fn a_renamed_column_is_named() {
    let mut shop = Shop::open(
        "CREATE TABLE todos (id int PRIMARY KEY, title text); INSERT INTO todos VALUES (1, 'a')",
    );
    let renamed = shop.transaction("UPDATE todos SET title = 'x'");
    shop.sql("ALTER TABLE todos RENAME COLUMN title TO name");
    let dropped = ConflictKind::ColumnDropped {
        columns: vec!["title".to_owned()],
    };
    assert_eq!(
        shop.refused(&Revert::new().transaction(renamed)),
        [("todos".to_owned(), Some("1".to_owned()), dropped)]
    );
}

#[test]
fn a_table_that_is_gone() {
    let mut shop = Shop::open(
        "CREATE TABLE todos (id int PRIMARY KEY); CREATE TABLE other (id int PRIMARY KEY); INSERT INTO todos VALUES (1)",
    );
    let changed = shop.transaction("DELETE FROM todos; INSERT INTO other VALUES (1)");
    shop.caught_up();
    shop.sql("ALTER TABLE todos RENAME TO tasks");
    let revert = Revert::new().transaction(changed);
    assert_eq!(
        shop.refused(&revert),
        [("todos".to_owned(), None, ConflictKind::TableDropped)]
    );
    shop.revert(&revert.on_conflict(OnConflict::Skip));
    assert_eq!(shop.rows("other"), Vec::<serde_json::Value>::new());
}

#[test]
fn a_type_that_has_changed() {
    let mut shop = Shop::open(
        "CREATE TABLE todos (id int PRIMARY KEY, n int, d timestamp); INSERT INTO todos VALUES (1, 1, '2024-01-01')",
    );
    let changed = shop.transaction("UPDATE todos SET n = 2");
    let deleted = shop.transaction("DELETE FROM todos");
    shop.sql("ALTER TABLE todos ALTER n TYPE bigint, ALTER d TYPE timestamptz USING d AT TIME ZONE 'UTC'");
    // The number reads the same, the time does not.
    let revert = Revert::new().transaction(deleted);
    let Err(RevertError::Conflicts(plan)) = shop.apply(&revert) else {
        panic!("it was reverted");
    };
    let rewritten = ConflictKind::Rewritten {
        columns: vec!["d".to_owned()],
    };
    assert_eq!(
        plan.conflicts.iter().map(|c| &c.kind).collect::<Vec<_>>(),
        [&rewritten]
    );
    shop.revert(&revert.on_conflict(OnConflict::Force));
    shop.revert(
        &Revert::new()
            .transaction(changed)
            .on_conflict(OnConflict::Force),
    );
    assert_eq!(shop.rows("todos")[0]["n"], json!(1));
}
