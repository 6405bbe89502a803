//! Partitioned tables whose partitions come and go.

use bemi_diesel::Lsn;
use bemi_diesel::history::{Instant, TravelError};
use diesel::prelude::*;
use serde_json::json;

use crate::as_of::reason;
use crate::new_tables::{images, rows};
use crate::support::Shop;

const DAYS: &str = "CREATE TABLE days (id int PRIMARY KEY) PARTITION BY RANGE (id); \
                    CREATE TABLE first_days PARTITION OF days FOR VALUES FROM (0) TO (10); \
                    CREATE TABLE later (id int PRIMARY KEY)";

fn ids(ids: &[i32]) -> QueryResult<Vec<String>> {
    let mut rows: Vec<String> = ids.iter().map(|id| format!(r#"{{"id": {id}}}"#)).collect();
    rows.sort();
    Ok(rows)
}

/// The instants after each of some statements.
fn instants<const N: usize>(shop: &mut Shop, statements: [&str; N]) -> [Lsn; N] {
    statements.map(|sql| shop.sql(&json!(null), sql))
}

#[test]
fn partitions_belong_to_a_table_from_attach_to_detach() {
    let mut shop = Shop::open(DAYS);
    let [apart, attached, grown, detached, changed, dropped] = instants(
        &mut shop,
        [
            "INSERT INTO days VALUES (1); INSERT INTO later VALUES (11)",
            "ALTER TABLE days ATTACH PARTITION later FOR VALUES FROM (10) TO (20)",
            "CREATE TABLE last_days PARTITION OF days FOR VALUES FROM (20) TO (30); INSERT INTO days VALUES (12), (21)",
            "ALTER TABLE days DETACH PARTITION later",
            "DELETE FROM later WHERE id = 11; DELETE FROM days WHERE id = 1; INSERT INTO days VALUES (2)",
            "DROP TABLE first_days",
        ],
    );
    for (instant, expected) in [
        (apart, &[1][..]),
        (attached, &[1, 11]),
        (grown, &[1, 11, 12, 21]),
        (detached, &[1, 21]),
        (changed, &[2, 21]),
        (dropped, &[21]),
    ] {
        assert_eq!(rows(&mut shop, instant, "days"), ids(expected));
    }
    assert_eq!(rows(&mut shop, grown, "later"), ids(&[11, 12]));
    assert_eq!(rows(&mut shop, changed, "later"), ids(&[12]));
}

#[test]
fn a_table_that_is_made_partitioned_is_known_from_its_beginning() {
    let mut shop = Shop::open("CREATE TABLE other (id int)");
    let before = shop.stored();
    let [made, filled] = instants(
        &mut shop,
        [
            "CREATE TABLE days (id int, n int) PARTITION BY RANGE (id); \
             CREATE TABLE low PARTITION OF days FOR VALUES FROM (0) TO (10) PARTITION BY LIST (n); \
             CREATE TABLE low_one PARTITION OF low FOR VALUES IN (1)",
            "INSERT INTO days VALUES (1, 1)",
        ],
    );
    assert_eq!(rows(&mut shop, made, "days"), Ok(vec![]));
    for table in ["days", "low", "low_one"] {
        let expected = Ok(vec![r#"{"n": 1, "id": 1}"#.to_owned()]);
        assert_eq!(rows(&mut shop, filled, table), expected);
    }
    assert!(matches!(
        reason(rows(&mut shop, before, "days")),
        TravelError::TooEarly { .. }
    ));
}

#[test]
fn rows_that_come_or_go_with_a_partition_end_what_the_root_tells() {
    let mut shop = Shop::open_with(DAYS, |builder| builder.publish_via_partition_root(true));
    let [filled, added, attached, emptied, dropped] = instants(
        &mut shop,
        [
            "INSERT INTO days VALUES (1); INSERT INTO later VALUES (11)",
            "CREATE TABLE last_days PARTITION OF days FOR VALUES FROM (20) TO (30); INSERT INTO days VALUES (21)",
            "ALTER TABLE days ATTACH PARTITION later FOR VALUES FROM (10) TO (20); INSERT INTO days VALUES (12)",
            "BEGIN; TRUNCATE days; INSERT INTO days VALUES (3), (13); COMMIT",
            "DROP TABLE later",
        ],
    );
    let table = "public.days".to_owned();
    let version = "SELECT current_setting('server_version_num')::bigint AS n";
    let anew: Option<&[i32]> = (shop.number(version) >= 150_000).then_some(&[3, 13]);
    for (instant, expected) in [
        (filled, Some(&[1][..])),
        (added, Some(&[1, 21])),
        (attached, None),
        (emptied, anew),
        (dropped, None),
    ] {
        for found in [
            rows(&mut shop, instant, "days"),
            images(&mut shop, instant, "days").map(|mut rows| {
                rows.sort();
                rows
            }),
        ] {
            match expected {
                Some(expected) => assert_eq!(found, ids(expected)),
                None => assert!(matches!(
                    reason(found),
                    TravelError::Partitions { table: of, .. } if of == table
                )),
            }
        }
    }
    // Its changes are under another name.
    let table = "public.last_days".to_owned();
    let incomplete = TravelError::Incomplete { table };
    assert_eq!(reason(rows(&mut shop, added, "last_days")), incomplete);
    assert_eq!(reason(images(&mut shop, added, "last_days")), incomplete);
}

#[test]
fn without_an_event_trigger_nothing_is_told_of_before_a_partition_went() {
    let mut shop = Shop::open(DAYS);
    let none = json!(null);
    let filled = shop.sql(
        &none,
        "DROP EVENT TRIGGER _bemi_bemi; DROP EVENT TRIGGER _bemi_drop_bemi; INSERT INTO days VALUES (1); \
         CREATE TABLE rest PARTITION OF days DEFAULT",
    );
    let layouts = "SELECT count(*) AS n FROM _bemi_partitions";
    let noted = |shop: &mut Shop, n: i64| {
        while shop.number(layouts) < n {
            shop.stored();
        }
    };
    noted(&mut shop, 2);
    let went = shop.sql(&none, "DROP TABLE first_days");
    if shop.number(layouts) == 2 {
        let table = "public.days".to_owned();
        let unsettled = TravelError::Unsettled { table };
        for instant in [filled, went] {
            let found = rows(&mut shop, instant, "days");
            // It may have been seen by now.
            assert!(
                shop.number(layouts) == 3 || reason(found) == unsettled,
                "{instant}"
            );
        }
    }
    noted(&mut shop, 3);
    let seen = shop.stored();
    assert_eq!(rows(&mut shop, seen, "days"), ids(&[]));
    for instant in [Instant::Lsn(filled), Instant::Lsn(went)] {
        let sql = "SELECT count(*) FROM days";
        let found = shop.connection.as_of(instant, |connection| {
            diesel::sql_query(sql).execute(connection)
        });
        assert!(matches!(reason(found), TravelError::TooEarly { .. }));
    }
}
