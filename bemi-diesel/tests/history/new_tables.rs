//! Tables that are tracked by themselves, and those that take another's name.

use bemi_diesel::history::{TravelError, rows_as_of};
use bemi_diesel::{BemiConnection, Lsn};
use diesel::prelude::*;
use diesel::sql_types::Text;
use serde_json::json;

use crate::as_of::reason;
use crate::support::Shop;

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    row: String,
}

pub(crate) fn rows(shop: &mut Shop, instant: Lsn, table: &str) -> QueryResult<Vec<String>> {
    let sql = format!("SELECT to_jsonb(t)::text AS row FROM {table} t ORDER BY 1");
    shop.connection
        .as_of(instant, |connection: &mut BemiConnection| {
            let lines: Vec<Line> = diesel::sql_query(sql).load(connection)?;
            Ok(lines.into_iter().map(|line| line.row).collect())
        })
}

#[test]
fn a_table_that_is_made_later_is_known_from_its_beginning() {
    let mut shop = Shop::open("CREATE TABLE other (id int PRIMARY KEY)");
    let before = shop.stored();
    let none = json!(null);
    let made = shop.sql(&none, "CREATE TABLE things (id int PRIMARY KEY, n int)");
    let filled = shop.sql(&none, "INSERT INTO things VALUES (1, 1), (2, 2)");
    assert_eq!(rows(&mut shop, made, "things"), Ok(vec![]));
    assert_eq!(
        rows(&mut shop, filled, "things"),
        Ok(vec![
            r#"{"n": 1, "id": 1}"#.to_owned(),
            r#"{"n": 2, "id": 2}"#.to_owned()
        ])
    );
    assert!(matches!(
        reason(rows(&mut shop, before, "things")),
        TravelError::TooEarly { table, .. } if table == "public.things"
    ));
    // Rows that were there before it was tracked are in no log.
    let copied = shop.sql(&none, "CREATE TABLE copy AS SELECT * FROM things");
    let table = "public.copy".to_owned();
    assert_eq!(
        reason(rows(&mut shop, copied, "copy")),
        TravelError::Incomplete { table }
    );
    let emptied = shop.sql(&none, "TRUNCATE copy; INSERT INTO copy VALUES (9, 9)");
    assert_eq!(
        rows(&mut shop, emptied, "copy"),
        Ok(vec![r#"{"n": 9, "id": 9}"#.to_owned()])
    );
}

#[test]
fn a_table_that_takes_a_name_does_not_take_its_rows() {
    let mut shop = Shop::open("CREATE TABLE things (id int PRIMARY KEY)");
    let none = json!(null);
    let old = shop.sql(&none, "INSERT INTO things VALUES (1)");
    let anew = "BEGIN; DELETE FROM things; INSERT INTO things VALUES (3); DROP TABLE things; \
                CREATE TABLE things (id int PRIMARY KEY); INSERT INTO things VALUES (2); COMMIT";
    let new = shop.sql(&none, anew);
    assert_eq!(
        rows(&mut shop, new, "things"),
        Ok(vec![r#"{"id": 2}"#.to_owned()])
    );
    assert!(matches!(
        reason(rows(&mut shop, old, "things")),
        TravelError::TooEarly { .. }
    ));
    // Under its new name nobody knows what it held.
    shop.sql(
        &none,
        "CREATE TABLE spare (id int PRIMARY KEY); INSERT INTO spare VALUES (7)",
    );
    let swapped = shop.sql(
        &none,
        "BEGIN; ALTER TABLE things RENAME TO aside; ALTER TABLE spare RENAME TO things; \
         ALTER TABLE aside RENAME TO spare; COMMIT",
    );
    let table = "public.things".to_owned();
    assert_eq!(
        reason(rows(&mut shop, swapped, "things")),
        TravelError::Incomplete { table }
    );
}

#[test]
fn partitions_are_a_table() {
    let schema = "CREATE TABLE days (id int PRIMARY KEY, n int) PARTITION BY RANGE (id); \
                  CREATE TABLE first_days PARTITION OF days FOR VALUES FROM (0) TO (10)";
    let mut shop = Shop::open(schema);
    let none = json!(null);
    let one = shop.sql(&none, "INSERT INTO days VALUES (1, 1)");
    let two = shop.sql(
        &none,
        "CREATE TABLE last_days PARTITION OF days FOR VALUES FROM (10) TO (20); INSERT INTO days VALUES (11, 2)",
    );
    let moved = shop.sql(
        &none,
        "DELETE FROM days WHERE n = 2; UPDATE days SET id = id + 10",
    );
    let row = |id: i32, n: i32| format!(r#"{{"n": {n}, "id": {id}}}"#);
    assert_eq!(rows(&mut shop, one, "first_days"), Ok(vec![row(1, 1)]));
    assert_eq!(rows(&mut shop, moved, "days"), Ok(vec![row(11, 1)]));
    assert_eq!(
        rows(&mut shop, two, "days"),
        Ok(vec![row(1, 1), row(11, 2)])
    );
}

pub(crate) fn images(shop: &mut Shop, instant: Lsn, table: &str) -> QueryResult<Vec<String>> {
    let images = rows_as_of(table, instant).load(&mut shop.connection)?;
    Ok(images.iter().map(|row| row.as_str().to_owned()).collect())
}

#[test]
fn the_trail_alone_does_not_take_a_table_for_another() {
    let mut shop = Shop::open(
        "CREATE TABLE things (id int PRIMARY KEY); CREATE TABLE gone (id int PRIMARY KEY)",
    );
    let none = json!(null);
    let old = shop.sql(
        &none,
        "INSERT INTO things VALUES (1); INSERT INTO gone VALUES (1)",
    );
    shop.sql(&none, "INSERT INTO gone VALUES (2)");
    // Nothing tells that it is made anew.
    let anew = "BEGIN; SET LOCAL bemi.tracking = 'on'; DROP TABLE things; CREATE UNLOGGED TABLE things (id int); COMMIT";
    let new = shop.sql(&none, anew);
    for instant in [old, new] {
        let table = "public.things".to_owned();
        assert_eq!(
            reason(images(&mut shop, instant, "things")),
            TravelError::Incomplete { table }
        );
    }
    let before_last = shop.number(
        "SELECT max(commit_lsn) AS n FROM changes WHERE \"table\" = 'gone' AND primary_key = '2'",
    );
    shop.sql(&none, "DROP TABLE gone");
    let row = |id: i32| format!(r#"{{"id": {id}}}"#);
    let then = Lsn::from_i64(before_last);
    assert_eq!(images(&mut shop, then, "gone"), Ok(vec![row(1)]));
    let then = Lsn::from_i64(before_last + 1);
    assert_eq!(images(&mut shop, then, "gone"), Ok(vec![row(1), row(2)]));
    let now = shop.stored();
    let table = "public.gone".to_owned();
    let gone = TravelError::Gone { table };
    assert_eq!(reason(images(&mut shop, now, "gone")), gone);
}

#[test]
fn a_table_with_a_row_condition_is_not_told_whole() {
    let mut shop = Shop::open("CREATE TABLE things (id int PRIMARY KEY)");
    if shop.number("SELECT current_setting('server_version_num')::bigint AS n") < 150_000 {
        return;
    }
    let none = json!(null);
    let condition = "ALTER PUBLICATION bemi SET TABLE ONLY things WHERE (id < 2); TRUNCATE things; \
                     INSERT INTO things VALUES (1), (2)";
    let then = shop.sql(&none, condition);
    let table = "public.things".to_owned();
    let incomplete = TravelError::Incomplete { table };
    assert_eq!(reason(rows(&mut shop, then, "things")), incomplete);
    assert_eq!(reason(images(&mut shop, then, "things")), incomplete);
    // Another publication's condition is not ours.
    let other = "CREATE PUBLICATION other FOR TABLE things WHERE (id < 2); ALTER PUBLICATION bemi SET TABLE ONLY things; \
                 TRUNCATE things; INSERT INTO things VALUES (1), (2)";
    let then = shop.sql(&none, other);
    let both = Ok(vec![r#"{"id": 1}"#.to_owned(), r#"{"id": 2}"#.to_owned()]);
    assert_eq!(rows(&mut shop, then, "things"), both);
    assert_eq!(images(&mut shop, then, "things"), both);
}
