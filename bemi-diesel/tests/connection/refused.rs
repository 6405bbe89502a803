//! Servers and relations that do not take the message.

use bemi_diesel::BemiConnection;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::result::Error;
use diesel::sql_query;

use crate::{Database, insert, ruled, todos, with};

const RULE: &str = "CREATE VIEW ruled AS SELECT * FROM todos; \
    CREATE RULE r AS ON INSERT TO ruled DO INSTEAD INSERT INTO todos VALUES (NEW.id, NEW.title)";

fn insert_ruled(c: &mut BemiConnection, id: i32) -> QueryResult<usize> {
    diesel::insert_into(ruled::table)
        .values((ruled::id.eq(id), ruled::title.eq("a")))
        .execute(c)
}

#[test]
fn a_view_that_refuses_a_returning() {
    let database = Database::new();
    database.sql(RULE);
    let c = &mut database.wrapped();
    with(1, || {
        assert_eq!(insert_ruled(c, 1), Ok(1));
        assert_eq!(insert(c, 2), Ok(1));
        assert_eq!(c.transaction(|c| insert_ruled(c, 3)), Ok(1));
    });
    assert_eq!(
        database.log(),
        [
            "INSERT 1",
            "INSERT 2, context 1 lead INSERT",
            "INSERT 3, context 1 - INSERT",
        ]
    );
}

#[test]
fn a_rule_that_came_later() {
    let database = Database::new();
    let c = &mut database.wrapped();
    with(1, || {
        assert_eq!(insert(c, 1), Ok(1));
        database.sql(RULE);
        assert_eq!(insert_ruled(c, 2), Ok(1));
        assert_eq!(insert_ruled(c, 3), Ok(1));
    });
    assert_eq!(
        database.log(),
        [
            "INSERT 1, context 1 lead INSERT",
            "INSERT 2",
            "context 1 - INSERT, INSERT 3",
        ]
    );
}

#[test]
fn a_view_on_such_a_view() {
    let database = Database::new();
    database.sql("CREATE VIEW below AS SELECT * FROM todos; \
        CREATE RULE r AS ON INSERT TO below DO INSTEAD INSERT INTO todos VALUES (NEW.id, NEW.title); \
        CREATE VIEW ruled AS SELECT * FROM below");
    let c = &mut database.wrapped();
    with(1, || {
        assert_eq!(insert_ruled(c, 1), Ok(1));
        assert_eq!(insert_ruled(c, 2), Ok(1));
    });
    assert_eq!(database.log(), ["INSERT 1", "context 1 - INSERT, INSERT 2"]);
}

#[test]
fn rules_that_a_count_cannot_be_had_through() {
    let database = Database::new();
    database.sql(
        "CREATE RULE r AS ON UPDATE TO todos DO ALSO NOTIFY changed; \
         CREATE TABLE log (id int); CREATE RULE s AS ON DELETE TO todos DO ALSO INSERT INTO log VALUES (OLD.id)",
    );
    let c = &mut database.wrapped();
    with(1, || {
        assert_eq!(insert(c, 1), Ok(1));
        for _ in 0..2 {
            let updated = diesel::update(todos::table)
                .set(todos::title.eq("b"))
                .execute(c);
            assert_eq!(updated, Ok(1));
        }
        assert_eq!(diesel::delete(todos::table).execute(c), Ok(1));
    });
    assert_eq!(
        database.log(),
        [
            "INSERT 1, context 1 lead INSERT",
            "UPDATE 1",
            "context 1 - UPDATE, UPDATE 1",
            "context 1 - DELETE, INSERT 1, DELETE 1",
        ]
    );
}

#[test]
fn an_error_has_its_place_in_the_applications_own_text() {
    let database = Database::new();
    let (c, plain) = (&mut database.wrapped(), &mut database.plain());
    let position = |result: QueryResult<usize>| match result {
        Err(Error::DatabaseError(_, information)) => information.statement_position(),
        _ => None,
    };
    with(1, || {
        for sql in [
            "UPDATE todos SET nothing = 1",
            "DELETE FROM todos WHERE title = 1",
            "INSERT INTO todos VALUES (1, nothing)",
            "UPDATE todos SET title = 'b' WHERE",
        ] {
            let expected = position(sql_query(sql).execute(plain));
            assert!(expected.is_some(), "{sql}");
            assert_eq!(position(sql_query(sql).execute(c)), expected, "{sql}");
        }
        assert_eq!(insert(c, 1), Ok(1));
    });
    assert_eq!(database.log(), ["INSERT 1, context 1 lead INSERT"]);
}

/// What the application does is its own: a right that is taken away between two statements of a
/// transaction costs it the context, and nothing else.
#[test]
fn a_user_who_loses_the_right_in_a_transaction() {
    let database = Database::new();
    let url = database.url_of_role("robbed");
    let connect = || BemiConnection::establish(&url).expect("the server is ready");
    let (committing, changing, batching) = (&mut connect(), &mut connect(), &mut connect());
    with(1, || {
        assert_eq!(batching.transaction(|c| insert(c, 1)), Ok(1));
        let two = changing.transaction(|changing| {
            insert(changing, 2)?;
            let committed = committing.transaction(|c| {
                insert(c, 3)?;
                database.revoke();
                insert(c, 4)
            });
            assert_eq!(committed, Ok(1));
            with(2, || insert(changing, 5))?;
            insert(changing, 6)
        });
        assert_eq!(two, Ok(1));
        batching
            .batch_execute("INSERT INTO todos VALUES (7, 'a'); INSERT INTO todos VALUES (8, 'a')")
            .expect("two rows");
        for c in [committing, changing, batching] {
            assert_eq!(
                diesel::delete(todos::table.find(7)).execute(c).map(|_| ()),
                Ok(())
            );
        }
    });
    assert_eq!(
        database.log(),
        [
            "INSERT 1, context 1 - INSERT",
            "INSERT 3, INSERT 4",
            "INSERT 2, INSERT 5, INSERT 6",
            "INSERT 7, INSERT 8",
            "DELETE 7",
        ]
    );
}

#[test]
fn a_user_who_may_not_write_messages() {
    let database = Database::new();
    database.revoke();
    let url = database.url_of_role("limited");
    let c = &mut BemiConnection::establish(&url).expect("the server is ready");
    with(1, || {
        assert_eq!(insert(c, 1), Ok(1));
        assert_eq!(c.transaction(|c| insert(c, 2)), Ok(1));
        let deleted = sql_query("DELETE FROM todos;").execute(c);
        assert_eq!(deleted, Ok(2));
    });
    assert_eq!(
        database.log(),
        ["INSERT 1", "INSERT 2", "DELETE 1, DELETE 2"]
    );
}

#[test]
fn a_user_who_lost_the_right() {
    let database = Database::new();
    let url = database.url_of_role("losing");
    let c = &mut BemiConnection::establish(&url).expect("the server is ready");
    with(1, || {
        assert_eq!(insert(c, 1), Ok(1));
        database.revoke();
        assert_eq!(insert(c, 2), Ok(1));
        assert_eq!(c.transaction(|c| insert(c, 3)), Ok(1));
        let row: i32 = diesel::insert_into(todos::table)
            .values(crate::todo(4))
            .returning(todos::id)
            .get_result(c)
            .expect("a row");
        assert_eq!(row, 4);
    });
    assert_eq!(
        database.log(),
        [
            "INSERT 1, context 1 lead INSERT",
            "INSERT 2",
            "INSERT 3",
            "INSERT 4"
        ]
    );
}

#[test]
fn a_database_that_only_reads() {
    let database = Database::new();
    let (c, plain) = (&mut database.wrapped(), &mut database.plain());
    let readonly = "SET default_transaction_read_only = on";
    sql_query(readonly).execute(c).expect("a setting");
    sql_query(readonly).execute(plain).expect("a setting");
    let query = || diesel::delete(todos::table.find(1));
    let expected = query().execute(plain).expect_err("read-only");
    with(1, || {
        assert_eq!(query().execute(c).expect_err("read-only"), expected);
        let enclosed = sql_query("WITH x AS (DELETE FROM todos) SELECT 1").execute(c);
        assert_eq!(
            enclosed.expect_err("read-only").to_string(),
            "cannot execute SELECT in a read-only transaction"
        );
    });
    assert_eq!(database.log(), [""; 0]);
}
