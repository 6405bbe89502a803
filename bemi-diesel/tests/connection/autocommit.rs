//! Statements that are transactions of their own.

use diesel::connection::{DefaultLoadingMode, SimpleConnection};
use diesel::pg::PgRowByRowLoadingMode;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Integer, Text};

use crate::{Database, ORPHANS, insert, todo, todos, with};

#[test]
fn a_write_carries_its_context_in_its_own_transaction() {
    let database = Database::new();
    let c = &mut database.wrapped();
    with(1, || assert_eq!(insert(c, 1), Ok(1)));
    with(2, || {
        let updated = diesel::update(todos::table.find(1))
            .set(todos::title.eq("b"))
            .execute(c);
        assert_eq!(updated, Ok(1));
    });
    with(3, || {
        assert_eq!(diesel::delete(todos::table.find(1)).execute(c), Ok(1));
    });
    assert_eq!(
        database.log(),
        [
            "INSERT 1, context 1 lead INSERT",
            "UPDATE 1, context 2 - UPDATE",
            "DELETE 1, context 3 - DELETE",
        ]
    );
}

#[test]
fn the_message_is_the_context_and_the_statement() {
    let database = Database::new();
    let c = &mut database.wrapped();
    let hostile = "it's \\ \" */ $1 \u{1F600}";
    bemi_diesel::sync_scope(bemi_diesel::Context::new().with("who", hostile), || {
        insert(c, 1).expect("a row");
        c.transaction(|c| insert(c, 2)).expect("a row");
    });
    let sql = r#"INSERT INTO "todos" ("id", "title") VALUES ($1, $2)"#;
    let expected = |rest| {
        let mut json = serde_json::json!({"SQL": sql, "who": hostile});
        if rest {
            json["_bemi"] = serde_json::json!({"lead": true});
        }
        json
    };
    let messages: Vec<serde_json::Value> = database
        .messages()
        .iter()
        .map(|json| serde_json::from_str(json).expect("JSON"))
        .collect();
    assert_eq!(messages, [expected(true), expected(false)]);
}

#[test]
fn literals_do_not_depend_on_the_servers_settings() {
    let database = Database::new();
    let c = &mut database.wrapped();
    c.batch_execute("SET standard_conforming_strings = off")
        .expect("a setting");
    let hostile = "\\'; DELETE FROM todos; --";
    bemi_diesel::sync_scope(bemi_diesel::Context::new().with("who", hostile), || {
        c.transaction(|c| insert(c, 1)).expect("a row");
    });
    let message: serde_json::Value = serde_json::from_str(&database.messages()[0]).expect("JSON");
    assert_eq!(message["who"], hostile);
}

#[test]
fn outside_every_scope_nothing_is_sent() {
    let database = Database::new();
    let c = &mut database.wrapped();
    insert(c, 1).expect("a row");
    c.transaction(|c| insert(c, 2)).expect("a row");
    c.batch_execute("DELETE FROM todos").expect("two rows");
    assert_eq!(
        database.log(),
        ["INSERT 1", "INSERT 2", "DELETE 1, DELETE 2"]
    );
}

#[test]
fn results_are_those_of_the_plain_connection() {
    let database = Database::new();
    let c = &mut database.wrapped();
    with(1, || {
        let row: (i32, String) = diesel::insert_into(todos::table)
            .values(todo(1))
            .get_result(c)
            .expect("a row");
        assert_eq!(row, (1, "a".to_owned()));
        let id: i32 = diesel::insert_into(todos::table)
            .values(todo(2))
            .returning(todos::id)
            .get_result(c)
            .expect("a row");
        assert_eq!(id, 2);
        let ids: Vec<i32> = diesel::insert_into(todos::table)
            .values(vec![todo(3), todo(4)])
            .returning(todos::id)
            .get_results(c)
            .expect("two rows");
        assert_eq!(ids, [3, 4]);
        let updated = diesel::update(todos::table)
            .set(todos::title.eq("b"))
            .execute(c);
        assert_eq!(updated, Ok(4));
    });
    assert_eq!(
        database.log(),
        [
            "INSERT 1, context 1 lead INSERT",
            "INSERT 2, context 1 lead INSERT",
            "INSERT 3, context 1 lead INSERT, INSERT 4",
            "UPDATE 1, UPDATE 2, UPDATE 3, UPDATE 4, context 1 - UPDATE",
        ]
    );
}

#[test]
fn upserts() {
    let database = Database::new();
    let c = &mut database.wrapped();
    let upsert = |c: &mut _, id| {
        diesel::insert_into(todos::table)
            .values(todo(id))
            .on_conflict(todos::id)
            .do_update()
            .set(todos::title.eq("b"))
            .execute(c)
    };
    with(1, || {
        assert_eq!(upsert(c, 1), Ok(1));
        assert_eq!(upsert(c, 1), Ok(1));
        let nothing = diesel::insert_into(todos::table)
            .values(vec![todo(1), todo(2)])
            .on_conflict_do_nothing()
            .execute(c);
        assert_eq!(nothing, Ok(1));
        let nothing = diesel::insert_into(todos::table)
            .values(todo(1))
            .on_conflict_do_nothing()
            .execute(c);
        assert_eq!(nothing, Ok(0));
    });
    assert_eq!(
        database.log(),
        [
            "INSERT 1, context 1 lead INSERT",
            "UPDATE 1, context 1 lead INSERT",
            "INSERT 2, context 1 lead INSERT",
        ]
    );
}

#[test]
fn no_row_no_message_and_no_transaction_number() {
    let database = Database::new();
    let c = &mut database.wrapped();
    with(1, || {
        assert_eq!(diesel::delete(todos::table.find(1)).execute(c), Ok(0));
        let none: Vec<i32> = vec![];
        let inserted = diesel::insert_into(todos::table)
            .values(none.into_iter().map(todo).collect::<Vec<_>>())
            .execute(c);
        assert_eq!(inserted, Ok(0));
        assert_eq!(todos::table.load::<(i32, String)>(c), Ok(vec![]));
        assert_eq!(todos::table.into_boxed().count().get_result(c), Ok(0_i64));
    });
    assert_eq!(database.messages(), [""; 0]);
}

#[test]
fn raw_statements() {
    let database = Database::new();
    let c = &mut database.wrapped();
    #[derive(QueryableByName, PartialEq, Debug)]
    struct Todo {
        #[diesel(sql_type = Text)]
        title: String,
        #[diesel(sql_type = Integer)]
        id: i32,
    }
    with(1, || {
        let rows: Vec<Todo> = sql_query("INSERT INTO todos VALUES ($1, $2) RETURNING *")
            .bind::<Integer, _>(1)
            .bind::<Text, _>("a")
            .load(c)
            .expect("a row");
        assert_eq!(
            rows,
            [Todo {
                title: "a".to_owned(),
                id: 1
            }]
        );
        let updated =
            sql_query("WITH x AS (SELECT $1 AS title) UPDATE todos SET title = x.title FROM x")
                .bind::<Text, _>("b")
                .execute(c);
        assert_eq!(updated, Ok(1));
    });
    assert_eq!(
        database.log(),
        [
            "INSERT 1, context 1 lead INSERT",
            "UPDATE 1, context 1 - WITH"
        ]
    );
}

#[test]
fn all_contexts_share_one_prepared_statement() {
    let database = Database::new();
    let c = &mut database.wrapped();
    for n in 1..=8 {
        with(n, || insert(c, n)).expect("a row");
    }
    let prepared: i64 = diesel::select(diesel::dsl::sql::<diesel::sql_types::BigInt>(
        "(SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE 'INSERT%')",
    ))
    .get_result(c)
    .expect("a count");
    // One for the message behind the row, and then one for it among the values.
    assert_eq!(prepared, 2);
}

#[test]
fn what_comes_again_is_prepared() {
    let database = Database::new();
    let c = &mut database.wrapped();
    let prepared = |c: &mut _| {
        diesel::select(diesel::dsl::sql::<diesel::sql_types::BigInt>(
            "(SELECT count(*) FROM pg_prepared_statements)",
        ))
        .get_result::<i64>(c)
        .expect("a count")
    };
    let write = |c: &mut _, n: i32| {
        let updated = diesel::update(todos::table.find(n))
            .set(todos::title.eq("b"))
            .execute(c);
        let deleted = sql_query("DELETE FROM todos WHERE id = $1 + 100")
            .bind::<Integer, _>(n)
            .execute(c);
        let returned: QueryResult<Vec<i32>> = diesel::update(todos::table.find(n))
            .set(todos::title.eq("c"))
            .returning(todos::id)
            .get_results(c);
        (updated, deleted, returned)
    };
    with(1, || {
        // Nothing is prepared for an application for which diesel prepares nothing.
        for n in 1..=5 {
            assert_eq!(write(c, n), (Ok(0), Ok(0), Ok(vec![])));
        }
        assert_eq!(prepared(c), 0);
        insert(c, 1).expect("a row");
        for _ in 1..=5 {
            assert_eq!(write(c, 1), (Ok(1), Ok(0), Ok(vec![1])));
        }
        assert_eq!(prepared(c), 3);
        for _ in 1..=5 {
            let updated = c.transaction(|c| {
                diesel::update(todos::table.filter(todos::id.gt(0)))
                    .set(todos::title.eq("d"))
                    .execute(c)
            });
            assert_eq!(updated, Ok(1));
        }
        assert_eq!(prepared(c), 4);
        c.batch_execute("ALTER TABLE todos ALTER title TYPE varchar; ALTER TABLE todos ADD a int")
            .expect("a column");
        assert_eq!(write(c, 1), (Ok(1), Ok(0), Ok(vec![1])));
    });
}

#[test]
fn a_statement_of_which_none_matters_twice_is_not_prepared() {
    let database = Database::new();
    let c = &mut database.wrapped();
    with(1, || {
        insert(c, 1).expect("a row");
        for n in 0..1000 {
            let sql = format!("UPDATE todos SET title = 'a{}' WHERE id = 1", n / 5);
            assert_eq!(sql_query(sql).execute(c), Ok(1));
        }
    });
    let prepared = diesel::select(diesel::dsl::sql::<diesel::sql_types::BigInt>(
        "(SELECT count(*) FROM pg_prepared_statements)",
    ));
    assert_eq!(prepared.get_result(c), Ok(129_i64));
}

#[test]
fn parameters_beyond_those_of_the_text() {
    let database = Database::new();
    let c = &mut database.wrapped();
    with(1, || {
        for sql in [
            "INSERT INTO todos VALUES ($1, 'a')",
            "UPDATE todos SET title = 'b' WHERE id = $1",
        ] {
            let written = sql_query(sql)
                .bind::<Integer, _>(1)
                .bind::<Integer, _>(2)
                .bind::<Integer, _>(3)
                .execute(c);
            assert_eq!(written, Ok(1));
        }
        let written = sql_query("DELETE FROM todos WHERE id = $1")
            .into_boxed::<diesel::pg::Pg>()
            .bind::<Integer, _>(1)
            .bind::<Text, _>("b")
            .execute(c);
        assert_eq!(written, Ok(1));
    });
    assert_eq!(
        database.log(),
        [
            "INSERT 1, context 1 lead INSERT",
            "UPDATE 1, context 1 - UPDATE",
            "DELETE 1, context 1 - DELETE",
        ]
    );
}

#[test]
fn a_statement_without_a_row_that_fails_at_its_end() {
    let database = Database::new();
    database.sql(ORPHANS);
    let (c, plain) = (&mut database.wrapped(), &mut database.plain());
    for sql in [
        "INSERT INTO todos VALUES (1, 'a')",
        "UPDATE todos SET title = 'b' WHERE false",
        "DELETE FROM todos WHERE false",
    ] {
        let expected = sql_query(sql).execute(plain).expect_err("no such todo");
        let error = with(1, || sql_query(sql).execute(c)).expect_err("no such todo");
        assert_eq!(error, expected, "{sql}");
    }
    assert_eq!(database.log(), [""; 0]);
}

#[test]
fn no_rows_from_a_statement_without_a_returning() {
    let database = Database::new();
    let c = &mut database.wrapped();
    #[derive(QueryableByName)]
    struct Id {
        #[diesel(sql_type = Integer)]
        #[expect(dead_code)]
        id: i32,
    }
    with(1, || {
        let rows: Vec<Id> = sql_query("INSERT INTO todos VALUES (1, 'a'), (2, 'a')")
            .load(c)
            .expect("no rows");
        assert!(rows.is_empty());
    });
    assert_eq!(database.log(), ["context 1 - INSERT, INSERT 1, INSERT 2"]);
}

#[test]
fn the_rows_of_a_trigger() {
    let database = Database::new();
    database.sql(
        "CREATE TABLE log (id int PRIMARY KEY); \
         CREATE FUNCTION log() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN INSERT INTO log VALUES (OLD.id); RETURN NULL; END'; \
         CREATE TRIGGER log BEFORE DELETE ON todos FOR EACH ROW EXECUTE FUNCTION log()",
    );
    let c = &mut database.wrapped();
    with(1, || {
        insert(c, 1).expect("a row");
        assert_eq!(diesel::delete(todos::table).execute(c), Ok(0));
    });
    assert_eq!(
        database.log(),
        [
            "INSERT 1, context 1 lead INSERT",
            "INSERT 1, context 1 - DELETE"
        ]
    );
}

#[test]
fn rows_as_they_arrive() {
    let database = Database::new();
    let c = &mut database.wrapped();
    let ids: Vec<i32> = with(1, || {
        diesel::insert_into(todos::table)
            .values(vec![todo(1), todo(2)])
            .returning(todos::id)
            .load_iter::<i32, PgRowByRowLoadingMode>(c)
            .expect("two rows")
            .collect::<QueryResult<_>>()
            .expect("two rows")
    });
    assert_eq!(ids, [1, 2]);
    assert_eq!(
        database.log(),
        ["INSERT 1, context 1 lead INSERT, INSERT 2"]
    );
}

#[test]
fn two_results_at_once() {
    let database = Database::new();
    let c = &mut database.wrapped();
    with(1, || {
        insert(c, 1).expect("a row");
        let first = todos::table.load_iter::<(i32, String), DefaultLoadingMode>(c);
        let second = diesel::update(todos::table)
            .set(todos::title.eq("b"))
            .returning(todos::title)
            .load_iter::<String, DefaultLoadingMode>(c);
        let (first, second) = (first.expect("rows"), second.expect("rows"));
        assert_eq!(
            first.collect::<QueryResult<Vec<_>>>(),
            Ok(vec![(1, "a".to_owned())])
        );
        assert_eq!(
            second.collect::<QueryResult<Vec<_>>>(),
            Ok(vec!["b".to_owned()])
        );
    });
}

#[test]
fn the_added_column_is_not_to_be_seen() {
    use diesel::connection::LoadConnection;
    use diesel::row::{Field, Row};

    let database = Database::new();
    let c = &mut database.wrapped();
    let query = sql_query("INSERT INTO todos VALUES (1, 'a') RETURNING id, title");
    let mut rows = with(1, || {
        LoadConnection::<DefaultLoadingMode>::load(c, query).expect("a row")
    });
    let row = rows.next().expect("a row").expect("a row");
    assert_eq!(row.field_count(), 2);
    assert!(row.get(2).is_none());
    assert!(row.get("?column?").is_none());
    assert_eq!(
        row.get("title").expect("a column").field_name(),
        Some("title")
    );
    assert_eq!(row.partial_row(1..3).field_count(), 1);
    assert_eq!(database.log(), ["INSERT 1, context 1 lead INSERT"]);
}

#[test]
fn errors_are_the_applications_own() {
    let database = Database::new();
    let (c, plain) = (&mut database.wrapped(), &mut database.plain());
    let empty = (todos::id.eq(1), todos::title.eq(""));
    let query = diesel::insert_into(todos::table).values(empty);
    let expected = query.execute(plain).expect_err("a check");
    with(1, || {
        assert_eq!(query.execute(c).expect_err("a check"), expected);
        let unknown = sql_query("UPDATE nothing SET a = 1").execute(c);
        assert_eq!(
            unknown.expect_err("no table").to_string(),
            "relation \"nothing\" does not exist"
        );
        assert_eq!(insert(c, 1), Ok(1));
    });
    assert_eq!(database.log(), ["INSERT 1, context 1 lead INSERT"]);
}

#[test]
fn batches() {
    let database = Database::new();
    let c = &mut database.wrapped();
    with(1, || {
        c.batch_execute("INSERT INTO todos VALUES (1, 'a'); DELETE FROM todos; -- gone")
            .expect("two statements");
        c.batch_execute("INSERT INTO todos VALUES (1, 'a')")
            .expect("a row");
        c.batch_execute("DELETE FROM todos WHERE false")
            .expect("no row");
        c.batch_execute("CREATE INDEX CONCURRENTLY i ON todos (title)")
            .expect("outside a transaction");
        c.batch_execute("VACUUM todos")
            .expect("outside a transaction");
        c.batch_execute("BEGIN; DELETE FROM todos; COMMIT")
            .expect("its own");
    });
    assert_eq!(
        database.log(),
        [
            "INSERT 1, DELETE 1, context 1 - -",
            "INSERT 1, context 1 - INSERT",
            "DELETE 1",
        ]
    );
}

#[test]
fn a_field_that_may_be_none_comes_and_goes() {
    /// With `None` its text is another one, although its type is the same.
    #[derive(Insertable)]
    #[diesel(table_name = todos)]
    struct Optional {
        id: i32,
        title: Option<&'static str>,
    }
    let database = Database::new();
    database
        .plain()
        .batch_execute("ALTER TABLE todos ALTER title SET DEFAULT 'none'")
        .expect("a default");
    let c = &mut database.wrapped();
    let titles = [None, Some("a")].into_iter().cycle();
    with(1, || {
        // Diesel prepares something here, so what comes again is prepared as well.
        let read: QueryResult<Vec<i32>> = todos::table.select(todos::id).load(c);
        assert_eq!(read, Ok(vec![]));
        for (id, title) in (1..=12).zip(titles.clone()) {
            let inserted = diesel::insert_into(todos::table)
                .values(Optional { id, title })
                .execute(c);
            assert_eq!(inserted, Ok(1));
        }
    });
    let expected: Vec<(i32, String)> = (1..=12)
        .zip(titles.map(|title| title.unwrap_or("none").to_owned()))
        .collect();
    let stored = todos::table
        .select((todos::id, todos::title))
        .order(todos::id)
        .load(&mut database.plain());
    assert_eq!(stored, Ok(expected));
    let log: Vec<String> = (1..=12)
        .map(|id| match id {
            // Then it is known that the table has no rules.
            4.. => format!("context 1 - INSERT, INSERT {id}"),
            _ => format!("INSERT {id}, context 1 lead INSERT"),
        })
        .collect();
    assert_eq!(database.log(), log);
}
