//! Reading one's own writes.

use std::time::Duration;

use bemi_diesel::history::{TravelError, at_least, current_lsn, history, rows_as_of};
use bemi_diesel::{Change, Lsn};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;

use crate::as_of::reason;
use crate::support::Shop;

const SCHEMA: &str = "CREATE TABLE todos (id int PRIMARY KEY, title text)";

/// Further than any log.
const NEVER: Lsn = Lsn::new(u64::MAX >> 1);

#[test]
fn a_request_sees_its_own_change() {
    let mut shop = Shop::open(SCHEMA);
    let connection = &mut shop.connection;
    for id in 1..=20 {
        let insert = format!("INSERT INTO todos VALUES ({id})");
        connection.batch_execute(&insert).expect("a row");
        let lsn: Lsn = diesel::select(current_lsn())
            .get_result(connection)
            .expect("a place");
        let question = history().record("todos", id).at_least(lsn);
        let changes: Vec<Change> = question.load(connection).expect("changes");
        assert_eq!(changes.len(), 1, "{id}");
        at_least(lsn).wait(connection).expect("it is there already");
        let rows = rows_as_of("todos", lsn).load(connection).expect("rows");
        assert_eq!(rows.len(), usize::try_from(id).expect("a number"));
    }
    shop.asynchronously(async |connection| {
        use diesel_async::{RunQueryDsl, SimpleAsyncConnection};

        let insert = connection.batch_execute("INSERT INTO todos VALUES (21)");
        insert.await.expect("a row");
        let lsn: Lsn = RunQueryDsl::get_result(diesel::select(current_lsn()), connection)
            .await
            .expect("a place");
        let question = history().table("todos").at_least(lsn);
        let changes = question.load_async(connection).await.expect("changes");
        assert_eq!(changes.len(), 21);
    });
}

#[test]
fn what_does_not_come_is_told_in_time() {
    let mut shop = Shop::open(SCHEMA);
    // The time of what is stored is known from a commit.
    shop.sql(&serde_json::json!(null), "INSERT INTO todos VALUES (1)");
    let connection = &mut shop.connection;
    let patience = Duration::from_millis(50);
    let question = || history().at_least(at_least(NEVER).timeout(patience));
    let began = std::time::Instant::now();
    let error = reason(question().load(connection));
    assert!(began.elapsed() >= patience);
    let TravelError::NotReached {
        wanted_lsn,
        waited,
        covered_lsn,
        covered_at: Some(_),
    } = error.clone()
    else {
        panic!("{error:?}");
    };
    assert_eq!((wanted_lsn, waited), (NEVER, patience));
    let text = error.to_string();
    let begin =
        format!("the trail has not reached 7FFFFFFF/FFFFFFFF in 50ms: it covers {covered_lsn}, 2");
    assert!(text.starts_with(&begin), "{text}");
    assert!(
        text.ends_with("Z; is the capture running? `bemi status` tells"),
        "{text}"
    );
    shop.asynchronously(async |connection| {
        let error = reason(question().load_async(connection).await);
        assert!(matches!(error, TravelError::NotReached { .. }), "{error:?}");
    });
}

#[test]
fn each_database_has_its_own_log() {
    let mut shop = Shop::open(SCHEMA);
    let lsn = shop.stored();
    let connection = &mut shop.connection;
    let other = "INSERT INTO _bemi_progress (source, database, slot, publication, flush_lsn) VALUES (7, 'other', 's', 1, '0/10')";
    connection.batch_execute(other).expect(other);
    at_least(lsn)
        .wait(connection)
        .expect("that of the database itself");
    let of = |database: &str, lsn: Lsn| at_least(lsn).timeout(Duration::ZERO).database(database);
    of("other", Lsn::new(16)).wait(connection).expect("stored");
    assert_eq!(
        reason(of("other", Lsn::new(17)).wait(connection)),
        TravelError::NotReached {
            wanted_lsn: Lsn::new(17),
            waited: Duration::ZERO,
            covered_lsn: Lsn::new(16),
            covered_at: None,
        }
    );
    assert_eq!(
        reason(of("nothing", lsn).wait(connection)),
        TravelError::NoTrail
    );
}
