//! The traits around a connection.

use std::sync::{Arc, Mutex};

use bemi_diesel::BemiConnection;
use diesel::connection::{
    CacheSize, Instrumentation, InstrumentationEvent, SimpleConnection, TransactionManager,
};
use diesel::migration::MigrationConnection;
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, Pool, R2D2Connection};
use diesel::sql_query;

use crate::{Database, insert, moods, todo, todos, with};

#[derive(AsChangeset, Clone, Copy, Debug, Identifiable, PartialEq, Queryable)]
#[diesel(table_name = todos)]
struct Todo<'a> {
    id: i32,
    title: &'a str,
}

#[test]
fn save_changes() {
    let database = Database::new();
    let c = &mut database.wrapped();
    with(1, || {
        insert(c, 1).expect("a row");
        let changed = Todo { id: 1, title: "b" };
        let saved: (i32, String) = (&changed).save_changes(c).expect("a row");
        assert_eq!(saved, (1, "b".to_owned()));
    });
    assert_eq!(
        database.log(),
        [
            "INSERT 1, context 1 lead INSERT",
            "UPDATE 1, context 1 lead UPDATE"
        ]
    );
}

#[test]
fn a_pool() {
    let database = Database::new();
    let manager = ConnectionManager::<BemiConnection>::new(database.url());
    let pool = Pool::builder()
        .max_size(1)
        .test_on_check_out(true)
        .build(manager)
        .expect("a pool");
    let pid = |c: &mut _| {
        diesel::select(diesel::dsl::sql::<diesel::sql_types::Integer>(
            "pg_backend_pid()",
        ))
        .get_result::<i32>(c)
        .expect("a number")
    };
    let first = {
        let mut c = pool.get().expect("a connection");
        with(1, || {
            insert(&mut c, 1).expect("a row");
            c.transaction(|c| insert(c, 2)).expect("a row");
        });
        pid(&mut c)
    };
    let second = {
        let mut c = pool.get().expect("a connection");
        let second = pid(&mut c);
        // One that comes back in a transaction is thrown away.
        diesel::connection::AnsiTransactionManager::begin_transaction(&mut *c)
            .expect("a transaction");
        second
    };
    assert_eq!(second, first);
    assert_ne!(pid(&mut pool.get().expect("a connection")), first);
    assert_eq!(
        database.log(),
        [
            "INSERT 1, context 1 lead INSERT",
            "INSERT 2, context 1 - INSERT"
        ]
    );
}

#[test]
fn test_transactions() {
    let database = Database::new();
    let c = &mut database.wrapped();
    c.begin_test_transaction().expect("a transaction");
    assert!(!R2D2Connection::is_broken(c));
    with(1, || insert(c, 1)).expect("a row");
    database
        .wrapped()
        .test_transaction(|c| with(2, || insert(c, 2)));
    assert_eq!(database.log(), [""; 0]);
}

#[test]
fn instrumentation_and_the_statement_cache() {
    struct Seen(Arc<Mutex<Vec<String>>>);
    impl Instrumentation for Seen {
        fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
            let mut seen = self.0.lock().expect("no panic");
            match event {
                InstrumentationEvent::StartQuery { query, .. } => {
                    seen.push(
                        query
                            .to_string()
                            .split(' ')
                            .next()
                            .expect("a word")
                            .to_owned(),
                    );
                }
                InstrumentationEvent::FinishQuery { error, .. } => {
                    seen.push(error.map_or("ok", |_| "error").to_owned());
                }
                _ => {}
            }
        }
    }
    let database = Database::new();
    let c = &mut database.wrapped();
    let seen = Arc::new(Mutex::new(Vec::new()));
    with(1, || insert(c, 1)).expect("a row");
    c.set_instrumentation(Seen(Arc::clone(&seen)));
    c.set_prepared_statement_cache_size(CacheSize::Disabled);
    with(1, || {
        insert(c, 2).expect("a row");
        insert(c, 2).expect_err("there is one already");
    });
    assert_eq!(
        *seen.lock().expect("no panic"),
        ["INSERT", "ok", "INSERT", "error"]
    );
}

#[test]
fn migrations_metadata_and_notifications() {
    let database = Database::new();
    database.sql(moods::TABLES);
    let c = &mut database.wrapped();
    MigrationConnection::setup(c).expect("a table");
    sql_query("LISTEN channel").execute(c).expect("listening");
    c.batch_execute("NOTIFY channel, 'news'").expect("sent");
    let news: Vec<String> = c
        .notifications_iter()
        .map(|notification| notification.expect("news").payload)
        .collect();
    assert_eq!(news, ["news"]);
    assert_eq!(c.inner_mut().ping(), Ok(()));
    with(1, || {
        diesel::insert_into(moods::moods::table)
            .values(moods::fine())
            .execute(c)
            .expect("a row");
    });
    assert_eq!(database.log(), ["INSERT 'fine', context 1 lead INSERT"]);
}

#[test]
fn several_rows_in_one_statement() {
    let database = Database::new();
    let c = &mut database.wrapped();
    with(1, || {
        let inserted = diesel::insert_into(todos::table)
            .values((1..=3).map(todo).collect::<Vec<_>>())
            .execute(c);
        assert_eq!(inserted, Ok(3));
    });
    assert_eq!(
        database.log(),
        ["INSERT 1, context 1 lead INSERT, INSERT 2, INSERT 3"]
    );
}
