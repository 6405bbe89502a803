//! Constraints: none is hurt on the way back.

use crate::support::Shop;

#[test]
fn foreign_keys() {
    let mut shop = Shop::open(
        "CREATE TABLE orders (id int PRIMARY KEY, note text); \
         CREATE TABLE items (order_id int REFERENCES orders ON DELETE CASCADE ON UPDATE CASCADE, n int, what text, PRIMARY KEY (order_id, n)); \
         CREATE TABLE hints (id int PRIMARY KEY, order_id int REFERENCES orders ON DELETE SET NULL ON UPDATE CASCADE); \
         INSERT INTO orders VALUES (1, 'a'), (2, 'b'); INSERT INTO items VALUES (1, 1, 'x'), (1, 2, 'y'), (2, 1, 'z'); \
         INSERT INTO hints VALUES (1, 1), (2, 2)",
    );
    // What the foreign keys do goes back with what made them do it.
    shop.there_and_back("DELETE FROM orders WHERE id = 1");
    shop.there_and_back(
        "UPDATE orders SET id = 10 WHERE id = 1; UPDATE items SET what = 'v' WHERE n = 1",
    );
    shop.there_and_back(
        "INSERT INTO orders VALUES (3, 'c'); INSERT INTO items VALUES (3, 1, 'w'), (3, 2, 'w')",
    );
    shop.there_and_back(
        "INSERT INTO orders VALUES (4, 'd'); UPDATE items SET order_id = 4 WHERE order_id = 2; \
         DELETE FROM hints WHERE id = 2; DELETE FROM orders WHERE id = 2",
    );
}

#[test]
fn tables_that_refer_to_each_other() {
    let mut shop = Shop::open(
        "CREATE TABLE heads (id int PRIMARY KEY, first int); \
         CREATE TABLE lines (id int PRIMARY KEY, head int NOT NULL REFERENCES heads); \
         ALTER TABLE heads ADD FOREIGN KEY (first) REFERENCES lines; \
         INSERT INTO heads VALUES (1, null); INSERT INTO lines VALUES (1, 1); UPDATE heads SET first = 1",
    );
    shop.there_and_back(
        "INSERT INTO heads VALUES (2, null); INSERT INTO lines VALUES (2, 2), (3, 2); UPDATE heads SET first = 3 WHERE id = 2",
    );
    shop.there_and_back("UPDATE heads SET first = null; DELETE FROM lines; DELETE FROM heads");
}

#[test]
fn rows_that_refer_to_their_own_table() {
    let mut shop = Shop::open(
        "CREATE TABLE people (id int PRIMARY KEY, boss int REFERENCES people ON DELETE CASCADE); \
         INSERT INTO people VALUES (1, null), (2, 1), (3, 2), (4, 3)",
    );
    shop.there_and_back("DELETE FROM people WHERE id = 2");
    shop.there_and_back("INSERT INTO people VALUES (5, 5)");
    shop.there_and_back("INSERT INTO people VALUES (7, 6), (6, 7)");
    shop.there_and_back("UPDATE people SET boss = 4 WHERE id = 1");
    let reverted = shop.there_and_back("DELETE FROM people");
    let keys: Vec<_> = reverted
        .plan
        .rows
        .iter()
        .map(|row| row.primary_key.as_deref())
        .collect();
    assert_eq!(
        keys,
        [Some("1"), Some("2"), Some("3"), Some("4")],
        "the boss comes first"
    );
}

#[test]
fn unique_keys_that_change_places() {
    let mut shop = Shop::open(
        "CREATE TABLE seats (id int PRIMARY KEY, place int NOT NULL UNIQUE, who text); \
         INSERT INTO seats VALUES (1, 1, 'a'), (2, 2, 'b'), (3, 3, 'c')",
    );
    // Two rows, over a place beside.
    shop.there_and_back(
        "UPDATE seats SET place = -1 WHERE id = 1; UPDATE seats SET place = 1 WHERE id = 2; UPDATE seats SET place = 2 WHERE id = 1",
    );
    // One after the other.
    shop.there_and_back(
        "UPDATE seats SET place = 4 WHERE id = 3; UPDATE seats SET place = 3 WHERE id = 2; UPDATE seats SET place = 2 WHERE id = 1",
    );
    // By going and coming.
    shop.there_and_back(
        "DELETE FROM seats WHERE id = 1; UPDATE seats SET place = 1 WHERE id = 2; INSERT INTO seats VALUES (1, 2, 'z')",
    );
    shop.there_and_back("DELETE FROM seats WHERE id = 1; INSERT INTO seats VALUES (9, 1, 'new')");
    // The primary key itself.
    shop.there_and_back(
        "UPDATE seats SET id = 0 WHERE id = 1; UPDATE seats SET id = 1 WHERE id = 2; UPDATE seats SET id = 2 WHERE id = 0",
    );
}

#[test]
fn constraints_that_wait() {
    let mut shop = Shop::open(
        "CREATE TABLE seats (id int PRIMARY KEY, place int UNIQUE DEFERRABLE); \
         CREATE TABLE guests (id int PRIMARY KEY, seat int REFERENCES seats DEFERRABLE INITIALLY DEFERRED); \
         INSERT INTO seats VALUES (1, 1), (2, 2), (3, 3); INSERT INTO guests VALUES (1, 1)",
    );
    shop.there_and_back("UPDATE seats SET place = 4 - place");
    shop.there_and_back("INSERT INTO guests VALUES (2, 4); INSERT INTO seats VALUES (4, 4)");
    shop.there_and_back("DELETE FROM seats WHERE id = 1; DELETE FROM guests WHERE seat = 1");
    // And in the end they are checked.
    let orphan = shop.transaction("INSERT INTO seats VALUES (5, 5)");
    shop.sql("INSERT INTO guests VALUES (5, 5)");
    let conflicts = shop.refused(&bemi_diesel::Revert::new().transaction(orphan));
    assert_eq!(conflicts.len(), 1);
}

#[test]
fn a_sum_that_a_trigger_keeps() {
    let mut shop = Shop::open(
        "CREATE TABLE users (id int PRIMARY KEY, posts int NOT NULL DEFAULT 0); \
         CREATE TABLE posts (id int PRIMARY KEY, user_id int REFERENCES users); \
         CREATE FUNCTION sum() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         UPDATE users SET posts = posts + CASE TG_OP WHEN 'INSERT' THEN 1 ELSE -1 END WHERE id = coalesce(NEW.user_id, OLD.user_id); \
         RETURN NULL; END $$; \
         CREATE TRIGGER sum AFTER INSERT OR DELETE ON posts FOR EACH ROW EXECUTE FUNCTION sum(); \
         INSERT INTO users VALUES (1); INSERT INTO posts VALUES (1, 1), (2, 1)",
    );
    shop.there_and_back("INSERT INTO posts VALUES (3, 1)");
    shop.there_and_back("DELETE FROM posts WHERE id < 3");
}
