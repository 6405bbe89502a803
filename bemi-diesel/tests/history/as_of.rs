//! Queries in the past: the same query, the rows of then.

use bemi_diesel::history::{Instant, TravelError, rows_as_of};
use bemi_diesel::{BemiConnection, Change, Lsn};
use diesel::connection::SimpleConnection;
use diesel::dsl::sum;
use diesel::prelude::*;
use diesel::result::Error;
use diesel::sql_types::{BigInt, Text};
use serde_json::{Value, json};

use crate::support::Shop;

diesel::table! {
    authors {
        id -> Integer,
        name -> Text,
    }
}

diesel::table! {
    sales.books (id) {
        id -> Integer,
        author_id -> Integer,
        title -> Text,
        copies -> BigInt,
    }
}

diesel::joinable!(books -> authors (author_id));
diesel::allow_tables_to_appear_in_same_query!(authors, books);

#[derive(Queryable, Selectable, Identifiable, Debug, PartialEq, Clone)]
pub(crate) struct Author {
    id: i32,
    name: String,
}

#[derive(Queryable, Selectable, Identifiable, Associations, Debug, PartialEq, Clone)]
#[diesel(belongs_to(Author))]
struct Book {
    id: i32,
    author_id: i32,
    title: String,
    copies: i64,
}

const SCHEMA: &str = "CREATE TABLE authors (id int PRIMARY KEY, name text NOT NULL); CREATE SCHEMA sales;
    CREATE TABLE sales.books (id int PRIMARY KEY, author_id int NOT NULL, title text NOT NULL, copies bigint NOT NULL);
    CREATE TABLE log (line text, n int); CREATE VIEW famous AS SELECT * FROM authors;
    CREATE FUNCTION authors_now() RETURNS bigint STABLE LANGUAGE sql AS 'SELECT count(*) FROM authors'";

/// A library and the instants between its changes.
pub(crate) fn library() -> (Shop, Vec<Lsn>) {
    let mut shop = Shop::open(SCHEMA);
    let mut instants = vec![shop.stored()];
    for sql in [
        "INSERT INTO authors VALUES (1, 'Ann'), (2, 'Bob'); INSERT INTO sales.books VALUES (1, 1, 'A', 5), (2, 2, 'B', 7)",
        "UPDATE sales.books SET copies = copies + 1; UPDATE authors SET name = 'Anna' WHERE id = 1",
        "DELETE FROM sales.books WHERE id = 1; UPDATE authors SET id = 3 WHERE id = 2; UPDATE sales.books SET author_id = 3",
        "TRUNCATE authors; INSERT INTO authors VALUES (2, 'Carl')",
    ] {
        instants.push(shop.sql(&json!(null), sql));
    }
    (shop, instants)
}

pub(crate) fn author(id: i32, name: &str) -> Author {
    Author {
        id,
        name: name.to_owned(),
    }
}

fn authors(connection: &mut BemiConnection) -> QueryResult<Vec<Author>> {
    authors::table
        .order(authors::id)
        .select(Author::as_select())
        .load(connection)
}

pub(crate) fn reason<T: std::fmt::Debug>(result: Result<T, Error>) -> TravelError {
    match result {
        Err(Error::QueryBuilderError(error)) => {
            *error.downcast::<TravelError>().expect("a TravelError")
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn queries_of_all_kinds_read_the_rows_of_then() {
    let (mut shop, instants) = library();
    let connection = &mut shop.connection;
    let now = |connection: &mut BemiConnection| {
        (
            authors(connection),
            books::table.count().get_result::<i64>(connection),
        )
    };
    assert_eq!(now(connection), (Ok(vec![author(2, "Carl")]), Ok(1)));
    let expected = [
        vec![],
        vec![author(1, "Ann"), author(2, "Bob")],
        vec![author(1, "Anna"), author(2, "Bob")],
        vec![author(1, "Anna"), author(3, "Bob")],
        vec![author(2, "Carl")],
    ];
    for (instant, expected) in instants.iter().zip(&expected) {
        assert_eq!(connection.as_of(*instant, authors).as_ref(), Ok(expected));
        // The same statement, not the cached one.
        assert_eq!(authors(connection), Ok(vec![author(2, "Carl")]));
    }
    // A join of two tables, one with its schema, filters and binds.
    let titles = |connection: &mut BemiConnection| {
        books::table
            .inner_join(authors::table)
            .filter(books::copies.gt(5))
            .order(books::id)
            .select((books::title, authors::name))
            .load::<(String, String)>(connection)
    };
    let pair = |title: &str, name: &str| (title.to_owned(), name.to_owned());
    assert_eq!(
        connection.as_of(instants[1], titles),
        Ok(vec![pair("B", "Bob")])
    );
    assert_eq!(
        connection.as_of(instants[2], titles),
        Ok(vec![pair("A", "Anna"), pair("B", "Bob")])
    );
    assert_eq!(titles(connection), Ok(vec![]));
    // Associations, aggregates, subqueries, raw SQL with a WITH of its own.
    connection
        .as_of(instants[2], |connection| {
            let ann = authors::table.find(1).select(Author::as_select()).first(connection)?;
            let hers = Book::belonging_to(&ann).select(Book::as_select()).load(connection)?;
            assert_eq!(hers.iter().map(|book| book.copies).collect::<Vec<_>>(), [6]);
            let copies: Option<diesel::data_types::PgNumeric> = books::table.select(sum(books::copies)).first(connection)?;
            assert!(copies.is_some());
            let of_bob = books::author_id.eq_any(authors::table.filter(authors::name.eq("Bob")).select(authors::id));
            assert_eq!(books::table.filter(of_bob).count().get_result(connection), Ok(1_i64));
            #[derive(QueryableByName)]
            struct Row {
                #[diesel(sql_type = BigInt)]
                n: i64,
                #[diesel(sql_type = Text)]
                name: String,
            }
            let raw = "WITH stock AS (SELECT author_id, sum(copies)::bigint AS n FROM sales.books b GROUP BY 1) \
                       SELECT n, a.name FROM stock JOIN authors a ON a.id = author_id WHERE a.name = $1;";
            let row: Row = diesel::sql_query(raw).bind::<Text, _>("Bob").get_result(connection)?;
            assert_eq!((row.n, row.name.as_str()), (8, "Bob"));
            // A transaction of its own, and a journey within the journey.
            connection.transaction(|connection| {
                assert_eq!(connection.as_of(instants[1], authors)?, expected[1]);
                assert_eq!(authors(connection)?, expected[2]);
                QueryResult::Ok(())
            })?;
            let rows = authors::table.load_iter::<(i32, String), diesel::pg::PgRowByRowLoadingMode>(connection)?;
            assert_eq!(rows.count(), 2);
            QueryResult::Ok(())
        })
        .expect("a journey");
}

#[test]
fn what_cannot_be_shown_is_refused_by_name() {
    let (mut shop, instants) = library();
    let connection = &mut shop.connection;
    let then = instants[2];
    let raw = |sql: &'static str| {
        move |connection: &mut BemiConnection| diesel::sql_query(sql).execute(connection)
    };
    let write = connection.as_of(then, |connection| {
        diesel::update(authors::table)
            .set(authors::name.eq("x"))
            .execute(connection)
    });
    assert_eq!(reason(write), TravelError::Write);
    assert_eq!(
        reason(connection.as_of(then, |connection| {
            connection.batch_execute("TRUNCATE authors")
        })),
        TravelError::Write
    );
    assert_eq!(
        reason(connection.as_of(then, raw("CREATE TABLE x (a int)"))),
        TravelError::Write
    );
    for (sql, part) in [
        ("SELECT * FROM famous", "public.famous"),
        ("SELECT authors_now()", "authors_now()"),
        (
            "WITH authors AS (SELECT * FROM authors) SELECT * FROM authors",
            "authors",
        ),
    ] {
        match reason(connection.as_of(then, raw(sql))) {
            TravelError::Present { name, .. } => assert_eq!(name, part),
            other => panic!("{sql}: {other}"),
        }
    }
    // Whatever gets past us is refused by the server.
    let hidden = connection.as_of(
        then,
        raw("WITH x AS (DELETE FROM authors RETURNING 1) SELECT * FROM x"),
    );
    assert!(hidden.is_err(), "{hidden:?}");
    assert_eq!(authors(connection), Ok(vec![author(2, "Carl")]));
    // And inside a transaction, which can write again afterwards.
    let inside = connection.transaction(|connection| {
        connection.as_of(then, authors)?;
        diesel::update(authors::table)
            .set(authors::name.eq("Dora"))
            .execute(connection)
    });
    assert_eq!(inside, Ok(1));
}

#[test]
fn an_instant_that_is_not_covered_is_an_error_that_says_what_is() {
    let database = bemi_tests::Database::create().expect("a database");
    let mut plain = BemiConnection::establish(database.url()).expect("the server is ready");
    let anywhere = Instant::Lsn(Lsn::new(1));
    assert!(plain.as_of(anywhere, |_| QueryResult::Ok(())).is_err());

    let mut shop = Shop::open(
        "CREATE TABLE filled (id int PRIMARY KEY); INSERT INTO filled VALUES (1); CREATE TABLE authors (id int PRIMARY KEY, name text)",
    );
    let empty = shop.stored();
    let filled = |connection: &mut BemiConnection| {
        diesel::sql_query("SELECT * FROM filled").execute(connection)
    };
    let incomplete = TravelError::Incomplete {
        table: "public.filled".to_owned(),
    };
    assert_eq!(reason(shop.connection.as_of(empty, filled)), incomplete);
    // From a TRUNCATE on all rows are told.
    let emptied = shop.sql(
        &json!(null),
        "TRUNCATE filled; INSERT INTO filled VALUES (2), (3)",
    );
    assert_eq!(shop.connection.as_of(emptied, filled), Ok(2));
    assert_eq!(reason(shop.connection.as_of(empty, filled)), incomplete);

    let later = Lsn::new(emptied.as_u64() + (1 << 40));
    match reason(shop.connection.as_of(later, authors)) {
        TravelError::TooLate {
            covered_lsn,
            covered_at,
        } => {
            assert!(covered_lsn >= emptied && covered_at.is_some());
        }
        other => panic!("{other}"),
    }
    let change: Change = bemi_diesel::history::history()
        .latest_first()
        .first(&mut shop.connection)
        .expect("a change");
    let last = change.committed_at;
    assert_eq!(shop.connection.as_of(last, authors), Ok(vec![]));
    let after = last + chrono::TimeDelta::hours(1);
    assert!(matches!(
        reason(shop.connection.as_of(after, authors)),
        TravelError::TooLate { .. }
    ));
    let long_ago = last - chrono::TimeDelta::days(1);
    match reason(shop.connection.as_of(long_ago, authors)) {
        TravelError::TooEarly { table, since } => {
            assert!(table == "public.authors" && since < last)
        }
        other => panic!("{other}"),
    }
    let xid = change.transaction_id;
    assert_eq!(shop.connection.as_of(Instant::After(xid), filled), Ok(2));
    assert_eq!(
        reason(shop.connection.as_of(Instant::Before(xid), filled)),
        incomplete
    );
    let nobody = bemi_diesel::Xid::new(7);
    assert_eq!(
        reason(shop.connection.as_of(Instant::Before(nobody), filled)),
        TravelError::UnknownTransaction(nobody)
    );
}

#[test]
fn a_time_means_everything_that_was_committed_by_then_whatever_the_clock_did() {
    let mut shop = Shop::open("CREATE TABLE authors (id int PRIMARY KEY, name text NOT NULL)");
    let none = json!(null);
    for id in 1..=3 {
        shop.sql(&none, &format!("INSERT INTO authors VALUES ({id}, 'Ann')"));
    }
    let first: Change = bemi_diesel::history::history()
        .record("authors", 1)
        .first(&mut shop.connection)
        .expect("a change");
    let at = first.committed_at;
    let names =
        |connection: &mut BemiConnection| authors::table.count().get_result::<i64>(connection);
    let mut setting = |key: i32, offset: &str| {
        let sql = format!(
            "UPDATE changes SET committed_at = (SELECT committed_at FROM changes WHERE primary_key = '1') + interval '{offset}' \
             WHERE primary_key = '{key}'"
        );
        shop.connection.batch_execute(&sql).expect(&sql);
        shop.connection.as_of(at, names)
    };
    assert_eq!(setting(3, "1 hour"), Ok(1));
    // Two commits of one time, one that was set back, and one between that is later.
    assert_eq!(setting(2, "0"), Ok(2));
    assert_eq!(setting(2, "-1 second"), Ok(2));
    assert_eq!(setting(2, "1 second"), Ok(1));
    assert_eq!(setting(3, "-3 microseconds"), Ok(3));
}

#[test]
fn tables_of_every_shape_come_back() {
    let mut shop = Shop::open(
        "CREATE TABLE log (line text, n int);
         CREATE TABLE pairs (b text, a int, total numeric, twice numeric GENERATED ALWAYS AS (total * 2) STORED, PRIMARY KEY (b, a));
         CREATE TABLE parted (id int PRIMARY KEY, v text) PARTITION BY LIST (id);
         CREATE TABLE low PARTITION OF parted FOR VALUES IN (1, 2); CREATE TABLE high PARTITION OF parted FOR VALUES IN (3, 4)",
    );
    let none = json!(null);
    let rows = |shop: &mut Shop, instant: Lsn, table: &str| -> Vec<Value> {
        #[derive(QueryableByName)]
        struct Row {
            #[diesel(sql_type = Text)]
            row: String,
        }
        let sql = format!("SELECT to_jsonb({table})::text AS row FROM {table}");
        let rows: Vec<Row> = shop
            .connection
            .as_of(instant, |connection| {
                diesel::sql_query(sql).load(connection)
            })
            .expect("rows");
        let mut rows: Vec<Value> = rows
            .iter()
            .map(|row| serde_json::from_str(&row.row).expect("JSON"))
            .collect();
        rows.sort_by_key(Value::to_string);
        rows
    };
    let first = shop.sql(
        &none,
        "INSERT INTO log VALUES ('a', 1), ('a', 1), ('b', NULL); INSERT INTO pairs VALUES ('x', 1, 1.50), ('y', 2, 3);
         INSERT INTO parted VALUES (1, 'low'), (3, 'high')",
    );
    let second = shop.sql(
        &none,
        "DELETE FROM log WHERE ctid = (SELECT min(ctid) FROM log WHERE line = 'a'); UPDATE log SET n = 2 WHERE line = 'b';
         UPDATE pairs SET a = CASE a WHEN 1 THEN 7 ELSE 1 END, b = 'x'; UPDATE parted SET id = 4 WHERE id = 1",
    );
    let third = shop.sql(
        &none,
        "ALTER TABLE log ADD m int DEFAULT 5; ALTER TABLE pairs ADD note text DEFAULT 'none'; ALTER TABLE pairs DROP twice;
         DELETE FROM log WHERE line = 'a'; UPDATE pairs SET total = 9 WHERE a = 7; TRUNCATE high",
    );
    assert_eq!(
        rows(&mut shop, third, "log"),
        [json!({"line": "b", "n": 2, "m": 5})]
    );
    assert_eq!(
        rows(&mut shop, third, "pairs"),
        [
            json!({"a": 1, "b": "x", "total": 3, "note": "none"}),
            json!({"a": 7, "b": "x", "total": 9, "note": "none"})
        ]
    );
    assert_eq!(rows(&mut shop, third, "parted"), [] as [Value; 0]);
    assert_eq!(
        rows(&mut shop, second, "log"),
        [
            json!({"line": "a", "n": 1, "m": 5}),
            json!({"line": "b", "n": 2, "m": 5})
        ]
    );
    assert_eq!(
        rows(&mut shop, second, "parted"),
        [json!({"id": 3, "v": "high"}), json!({"id": 4, "v": "low"})]
    );
    assert_eq!(
        rows(&mut shop, first, "log"),
        [
            json!({"line": "a", "n": 1, "m": 5}),
            json!({"line": "a", "n": 1, "m": 5}),
            json!({"line": "b", "n": null, "m": 5})
        ]
    );
    assert_eq!(
        rows(&mut shop, first, "parted"),
        [json!({"id": 1, "v": "low"}), json!({"id": 3, "v": "high"})]
    );

    // As JSON, from the trail alone.
    let texts = |rows: QueryResult<Vec<bemi_diesel::JsonObject>>| -> Vec<String> {
        rows.expect("rows")
            .iter()
            .map(|row| row.as_str().to_owned())
            .collect()
    };
    let pairs = rows_as_of("public.pairs", first);
    let images = texts(pairs.load(&mut shop.connection));
    assert_eq!(images.len(), 2);
    assert!(images[0].contains(r#""total": 1.50"#), "{images:?}");
    assert_eq!(
        texts(rows_as_of("log", first).load(&mut shop.connection)).len(),
        3
    );
    let key = ("x", 1);
    assert_eq!(
        texts(
            rows_as_of("pairs", second)
                .record(key)
                .load(&mut shop.connection)
        ),
        [r#"{"a": 1, "b": "x", "total": 3, "twice": 6}"#].map(|row| if shop.generated {
            row.to_owned()
        } else {
            row.replace(r#", "twice": 6"#, "")
        })
    );
    assert_eq!(
        texts(
            rows_as_of("pairs", second)
                .record(("y", 2))
                .load(&mut shop.connection)
        ),
        [""; 0]
    );
    shop.asynchronously(async |connection| {
        assert_eq!(texts(pairs.load_async(connection).await), images);
    });
    let unknown = rows_as_of("nothing", first).load(&mut shop.connection);
    assert_eq!(
        reason(unknown),
        TravelError::Incomplete {
            table: "nothing".to_owned()
        }
    );
}
