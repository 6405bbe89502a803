//! What does not fit is named, and the policy decides.

use bemi_diesel::revert::{Action, ConflictKind, Resolution};
use bemi_diesel::{OnConflict, Revert, RevertError, Xid};
use serde_json::json;

use crate::support::Shop;

fn todos() -> Shop {
    Shop::open(
        "CREATE TABLE todos (id int PRIMARY KEY, title text, done bool); \
         INSERT INTO todos VALUES (1, 'a', false), (2, 'b', false)",
    )
}

fn of(transaction: Xid) -> Revert {
    Revert::new().transaction(transaction)
}

fn columns(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

#[test]
fn a_row_that_has_changed_since() {
    let mut shop = todos();
    let renamed =
        shop.transaction("UPDATE todos SET title = 'x'; INSERT INTO todos VALUES (3, 'c', null)");
    shop.sql("UPDATE todos SET done = true WHERE id IN (1, 3)");
    let changed = ConflictKind::ChangedSince {
        columns: columns(&["done"]),
    };
    assert_eq!(
        shop.refused(&of(renamed)),
        [
            ("todos".to_owned(), Some("1".to_owned()), changed.clone()),
            ("todos".to_owned(), Some("3".to_owned()), changed),
        ]
    );
    let Err(error) = shop.apply(&of(renamed)) else {
        panic!("it was reverted");
    };
    assert_eq!(
        error.to_string(),
        "nothing was reverted: todos: changed since: done (2 rows)"
    );
    let skipped = shop.revert(&of(renamed).on_conflict(OnConflict::Skip));
    assert_eq!(skipped.plan.conflicts.len(), 2);
    assert!(
        skipped
            .plan
            .conflicts
            .iter()
            .all(|c| c.resolution == Resolution::Skip)
    );
    assert_eq!(
        shop.rows("todos"),
        [
            json!({"id": 1, "title": "x", "done": true}),
            json!({"id": 2, "title": "b", "done": false}),
            json!({"id": 3, "title": "c", "done": true}),
        ]
    );
    // Only what the changes had changed goes back.
    shop.revert(&of(renamed).on_conflict(OnConflict::Force));
    assert_eq!(
        shop.rows("todos"),
        [
            json!({"id": 1, "title": "a", "done": true}),
            json!({"id": 2, "title": "b", "done": false}),
        ]
    );
}

#[test]
fn somebody_else_in_between() {
    let mut shop = todos();
    let mine = |sql: &str| {
        format!(
            "BEGIN; SELECT pg_logical_emit_message(true, '_bemi', '{{\"user\": 7}}'); {sql}; COMMIT"
        )
    };
    shop.sql(&mine("UPDATE todos SET title = 'x' WHERE id = 1"));
    shop.sql("UPDATE todos SET done = true WHERE id = 1");
    shop.sql(&mine("UPDATE todos SET title = 'y' WHERE id = 1"));
    let revert = Revert::new().context(bemi_diesel::Context::new().with("user", 7));
    let changed = ConflictKind::ChangedSince {
        columns: columns(&["done"]),
    };
    assert_eq!(
        shop.refused(&revert),
        [("todos".to_owned(), Some("1".to_owned()), changed)]
    );
    shop.revert(&revert.on_conflict(OnConflict::Force));
    assert_eq!(
        shop.rows("todos")[0],
        json!({"id": 1, "title": "a", "done": true})
    );
}

#[test]
fn a_row_that_has_gone() {
    let mut shop = todos();
    let renamed =
        shop.transaction("UPDATE todos SET title = 'x'; INSERT INTO todos VALUES (3, 'c', null)");
    shop.sql("DELETE FROM todos WHERE id IN (1, 3)");
    let gone = [("todos".to_owned(), Some("1".to_owned()), ConflictKind::Gone)];
    assert_eq!(shop.refused(&of(renamed)), gone);
    shop.revert(&of(renamed).on_conflict(OnConflict::Force));
    assert_eq!(
        shop.rows("todos"),
        [
            json!({"id": 1, "title": "a", "done": false}),
            json!({"id": 2, "title": "b", "done": false}),
        ]
    );
}

#[test]
fn a_key_that_is_taken() {
    let mut shop = Shop::open(
        "CREATE TABLE users (id int PRIMARY KEY, email text UNIQUE, n int); INSERT INTO users VALUES (1, 'a', 1), (2, 'b', 2)",
    );
    let deleted = shop.transaction("DELETE FROM users WHERE id = 1");
    shop.sql("INSERT INTO users VALUES (1, 'c', 3)");
    let taken = |constraint: &str| ConflictKind::KeyTaken {
        constraint: constraint.to_owned(),
    };
    let key = Some("1".to_owned());
    assert_eq!(
        shop.refused(&of(deleted)),
        [("users".to_owned(), key.clone(), taken("users_pkey"))]
    );
    let forced = shop.revert(&of(deleted).on_conflict(OnConflict::Force));
    assert_eq!(forced.plan.rows[0].action, Action::Update);
    assert_eq!(
        shop.rows("users")[0],
        json!({"id": 1, "n": 1, "email": "a"})
    );

    let deleted = shop.transaction("DELETE FROM users WHERE id = 1");
    shop.sql("INSERT INTO users VALUES (5, 'a', 5)");
    let conflicts = [("users".to_owned(), key, taken("users_email_key"))];
    assert_eq!(shop.refused(&of(deleted)), conflicts);
    // Somebody else's row is not deleted for it.
    assert_eq!(
        shop.refused(&of(deleted).on_conflict(OnConflict::Force)),
        conflicts
    );
    let skipped = shop.revert(&of(deleted).on_conflict(OnConflict::Skip));
    assert_eq!((skipped.plan.rows.len(), skipped.transaction), (0, None));
}

#[test]
fn references_from_outside() {
    let mut shop = Shop::open(
        "CREATE TABLE orders (id int PRIMARY KEY); \
         CREATE TABLE items (id int PRIMARY KEY, order_id int REFERENCES orders ON DELETE CASCADE); \
         CREATE TABLE notes (id int PRIMARY KEY, order_id int REFERENCES orders); \
         INSERT INTO orders VALUES (1)",
    );
    let created =
        shop.transaction("INSERT INTO orders VALUES (2); INSERT INTO items VALUES (1, 2)");
    shop.sql("INSERT INTO items VALUES (2, 2)");
    let referenced = ConflictKind::Referenced {
        by: "items".to_owned(),
        constraint: "items_order_id_fkey".to_owned(),
    };
    // Nothing goes without being asked for.
    assert_eq!(
        shop.refused(&of(created)),
        [("orders".to_owned(), Some("2".to_owned()), referenced)]
    );
    // Its own item goes, the order stays for the other one.
    shop.revert(&of(created).on_conflict(OnConflict::Skip));
    assert_eq!(shop.rows("items"), [json!({"id": 2, "order_id": 2})]);
    shop.revert(&of(created).on_conflict(OnConflict::Force));
    assert_eq!(shop.rows("items"), Vec::<serde_json::Value>::new());

    let deleted =
        shop.transaction("INSERT INTO orders VALUES (3); INSERT INTO notes VALUES (1, 3)");
    let deleted = (deleted, shop.transaction("DELETE FROM notes")).1;
    shop.sql("DELETE FROM orders WHERE id = 3");
    let missing = ConflictKind::ReferenceMissing {
        to: "orders".to_owned(),
        constraint: "notes_order_id_fkey".to_owned(),
    };
    let conflicts = [("notes".to_owned(), Some("1".to_owned()), missing)];
    assert_eq!(shop.refused(&of(deleted)), conflicts);
    assert_eq!(
        shop.refused(&of(deleted).on_conflict(OnConflict::Force)),
        conflicts
    );
}

#[test]
fn what_is_left_alone_can_be_in_the_way_of_others() {
    let mut shop = Shop::open(
        "CREATE TABLE seats (id int PRIMARY KEY, place int UNIQUE, who text); INSERT INTO seats VALUES (1, 1, 'a'), (2, 2, 'b')",
    );
    let moved = shop.transaction(
        "UPDATE seats SET place = 3 WHERE id = 2; UPDATE seats SET place = 2 WHERE id = 1",
    );
    shop.sql("UPDATE seats SET who = 'x' WHERE id = 1");
    let skipped = shop.revert(&of(moved).on_conflict(OnConflict::Skip));
    let kinds: Vec<_> = skipped
        .plan
        .conflicts
        .iter()
        .map(|c| (c.primary_key.as_deref(), &c.kind))
        .collect();
    let changed = ConflictKind::ChangedSince {
        columns: columns(&["who"]),
    };
    let taken = ConflictKind::KeyTaken {
        constraint: "seats_place_key".to_owned(),
    };
    assert_eq!(kinds, [(Some("1"), &changed), (Some("2"), &taken)]);
}

#[test]
fn a_trigger_with_a_mind_of_its_own() {
    let mut shop = todos();
    let renamed = shop
        .transaction("UPDATE todos SET title = 'x' WHERE id = 1; DELETE FROM todos WHERE id = 2");
    shop.sql(
        "CREATE FUNCTION upper() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.title := upper(NEW.title); RETURN NEW; END $$; \
         CREATE TRIGGER upper BEFORE INSERT OR UPDATE ON todos FOR EACH ROW EXECUTE FUNCTION upper()",
    );
    let before = shop.state();
    let Err(RevertError::Conflicts(plan)) = shop.apply(&of(renamed)) else {
        panic!("it was reverted");
    };
    let rewritten = ConflictKind::Rewritten {
        columns: columns(&["title"]),
    };
    let kinds: Vec<_> = plan.conflicts.iter().map(|c| c.kind.clone()).collect();
    assert_eq!(kinds, [rewritten.clone(), rewritten]);
    assert_eq!(shop.state(), before);
    shop.revert(&of(renamed).on_conflict(OnConflict::Force));
    assert_eq!(
        shop.rows("todos")[0],
        json!({"id": 1, "title": "A", "done": false})
    );
}

#[test]
fn a_table_without_key() {
    let mut shop = Shop::open(
        "CREATE TABLE log (what text); ALTER TABLE log REPLICA IDENTITY FULL; INSERT INTO log VALUES ('a'), ('b')",
    );
    let renamed = shop.transaction("UPDATE log SET what = 'c' WHERE what = 'a'");
    shop.sql("UPDATE log SET what = 'd' WHERE what = 'c'");
    assert_eq!(
        shop.refused(&of(renamed)),
        [("log".to_owned(), None, ConflictKind::Gone)]
    );
}

#[test]
fn what_the_trail_does_not_hold() {
    let mut shop = Shop::open(
        "CREATE TABLE todos (id int PRIMARY KEY, title text); INSERT INTO todos VALUES (1, 'a')",
    );
    let truncated = shop.transaction("INSERT INTO todos VALUES (2, 'b'); TRUNCATE todos");
    assert_eq!(
        shop.refused(&of(truncated)),
        [("todos".to_owned(), None, ConflictKind::NotCovered)]
    );
    shop.sql(
        "ALTER TABLE todos REPLICA IDENTITY DEFAULT; INSERT INTO todos VALUES (3, 'c'), (4, 'd')",
    );
    let partly = shop
        .transaction("UPDATE todos SET title = 'x' WHERE id = 3; DELETE FROM todos WHERE id = 4");
    assert_eq!(
        shop.refused(&of(partly).on_conflict(OnConflict::Force)),
        [
            (
                "todos".to_owned(),
                Some("3".to_owned()),
                ConflictKind::Incomplete
            ),
            (
                "todos".to_owned(),
                Some("4".to_owned()),
                ConflictKind::Incomplete
            ),
        ]
    );
}

#[test]
fn nothing_in_particular() {
    let mut shop = todos();
    let everything = Revert::new();
    assert!(matches!(
        shop.apply(&everything),
        Err(RevertError::Unspecified)
    ));
    let nothing = shop.revert(&Revert::new().transaction(Xid::new(3)));
    assert_eq!((nothing.plan.changes, nothing.transaction), (0, None));
}
