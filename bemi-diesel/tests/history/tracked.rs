//! The past as a model of the application's.

use std::convert::Infallible;
use std::str::FromStr;

use bemi_diesel::history::{Instant, Key, TravelError, history};
use bemi_diesel::tracked::{MisfitError, Problem, Version};
use bemi_diesel::{BemiConnection, Change, Lsn, Tracked};
use chrono::{DateTime, NaiveDateTime, Utc};
use diesel::prelude::*;
use diesel::result::Error;
use serde_json::json;

use crate::as_of::reason;
use crate::support::Shop;

diesel::table! {
    todos {
        id -> Integer,
        #[sql_name = "type"]
        kind -> Text,
        done -> Bool,
    }
}

#[derive(Queryable, Selectable, Identifiable, Tracked, Debug, PartialEq, Clone)]
struct Todo {
    id: i32,
    #[diesel(column_name = kind)]
    sort: String,
    done: bool,
}

const TODOS: &str =
    "CREATE TABLE todos (id int PRIMARY KEY, type text NOT NULL, done bool NOT NULL)";

fn todo(id: i32, sort: &str, done: bool) -> Todo {
    Todo {
        id,
        sort: sort.to_owned(),
        done,
    }
}

fn rows<T: Tracked>(versions: &[Version<T>]) -> Vec<Option<T>> {
    let rows = versions.iter().map(Version::row);
    rows.collect::<Result<_, _>>().expect("rows that fit")
}

#[test]
fn a_record_has_its_history_its_versions_and_its_past() {
    let mut shop = Shop::open(TODOS);
    let none = json!(null);
    let mut instants = vec![shop.stored()];
    for sql in [
        "INSERT INTO todos VALUES (1, 'a', false), (2, 'b', false)",
        "UPDATE todos SET done = true WHERE id = 1",
        "UPDATE todos SET id = 3 WHERE id = 1; UPDATE todos SET type = 'c' WHERE id = 3",
        "UPDATE todos SET id = 1 WHERE id = 3; DELETE FROM todos WHERE id = 2",
        "TRUNCATE todos",
        "TRUNCATE todos; INSERT INTO todos VALUES (1, 'd', true), (2, 'e', true)",
        "DELETE FROM todos WHERE id = 1; INSERT INTO todos VALUES (1, 'f', false)",
    ] {
        instants.push(shop.sql(&none, sql));
    }
    let connection = &mut shop.connection;
    let versions: Vec<Version<Todo>> = Todo::versions(1).load(connection).expect("versions");
    assert_eq!(
        rows(&versions),
        [
            Some(todo(1, "a", false)),
            Some(todo(1, "a", true)),
            None,
            Some(todo(1, "c", true)),
            None,
            Some(todo(1, "d", true)),
            None,
            Some(todo(1, "f", false)),
        ]
    );
    let elsewhere = Todo::versions(1).database("elsewhere").load(connection);
    assert_eq!(elsewhere, Ok(vec![]));
    // The changes are those of the record, and what emptied the table.
    let changes: Vec<Change> = todo(1, "", false)
        .history()
        .load(connection)
        .expect("changes");
    assert_eq!(
        changes,
        history()
            .record("todos", 1)
            .load(connection)
            .expect("changes")
    );
    let own: Vec<Change> = versions
        .iter()
        .map(|version| version.change.clone())
        .collect();
    assert_eq!(
        own.iter()
            .filter(|change| change.primary_key.is_some())
            .cloned()
            .collect::<Vec<_>>(),
        changes
    );
    // As of each instant, the record is that of its last version, and that of a journey.
    for instant in &instants {
        for key in 1..=3 {
            let versions: Vec<Version<Todo>> =
                Todo::versions(key).load(connection).expect("versions");
            let last = versions
                .iter()
                .rfind(|version| version.change.commit_lsn < *instant);
            let expected = last.and_then(|version| version.row().expect("it fits"));
            let then = Todo::as_of(*instant)
                .record(key)
                .first(connection)
                .optional();
            assert_eq!(then, Ok(expected.clone()), "{key} at {instant}");
            let journey = |connection: &mut BemiConnection| {
                todos::table
                    .find(key)
                    .select(Todo::as_select())
                    .first(connection)
                    .optional()
            };
            assert_eq!(connection.as_of(*instant, journey), Ok(expected));
        }
    }
    assert_eq!(
        Todo::as_of(instants[3]).load(connection),
        Ok(vec![todo(2, "b", false), todo(3, "c", true)])
    );
    assert_eq!(
        Todo::as_of(Instant::before(&changes[0])).load(connection),
        Ok(vec![])
    );
    assert!(matches!(
        reason(Todo::as_of(Lsn::new(1)).load(connection)),
        TravelError::TooEarly { .. }
    ));
    let instant = instants[2];
    shop.asynchronously(async |connection| {
        let found = Todo::versions(1).load_async(connection).await;
        assert_eq!(found, Ok(versions));
        let then = Todo::as_of(instant).record(1).first_async(connection).await;
        assert_eq!(then, Ok(todo(1, "a", true)));
        let all = Todo::as_of(instant).load_async(connection).await;
        assert_eq!(all, Ok(vec![todo(1, "a", true), todo(2, "b", false)]));
        let none = Todo::as_of(instant).record(9).first_async(connection).await;
        assert_eq!(none, Err(Error::NotFound));
    });
}

diesel::table! {
    sales.readings (sensor, at, local) {
        sensor -> Text,
        at -> Timestamptz,
        local -> Timestamp,
        price -> Nullable<Numeric>,
        raw -> Nullable<Binary>,
        tags -> Array<Text>,
        meta -> Nullable<Jsonb>,
    }
}

/// Keeps every digit, as the decimal types do that are called so.
#[derive(Debug, PartialEq)]
struct Decimal(String);

impl FromStr for Decimal {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

#[derive(Identifiable, Tracked, Debug, PartialEq)]
#[diesel(table_name = readings, primary_key(sensor, at, local))]
struct Reading {
    sensor: String,
    at: DateTime<Utc>,
    local: NaiveDateTime,
    price: Option<Decimal>,
    raw: Option<Vec<u8>>,
    tags: Vec<String>,
    meta: Option<serde_json::Value>,
    #[tracked(skip)]
    note: Option<String>,
}

#[test]
fn keys_of_several_columns_and_values_of_all_kinds() {
    let mut shop = Shop::open(
        "CREATE SCHEMA sales; CREATE TABLE readings (id int); CREATE TABLE sales.readings (sensor text, at timestamptz, local timestamp, \
         price numeric, raw bytea, tags text[] NOT NULL, meta jsonb, PRIMARY KEY (sensor, at, local))",
    );
    let lsn = shop.sql(
        &json!(null),
        r#"SET TimeZone = 'Asia/Tokyo';
           INSERT INTO sales.readings VALUES
             ('a "b"', '2026-01-31 12:00:00.5+01', '2026-01-31 00:00:00.000001', 0.10000000000000000000000000001, '\x00ff', '{x,"y z"}', '{"n": 1.5}'),
             ('c', '1999-12-31 23:59:59+00', '0099-01-01 10:20:30', NULL, NULL, '{}', NULL);
           INSERT INTO readings VALUES (1)"#,
    );
    let readings: Vec<Reading> = Reading::as_of(lsn)
        .load(&mut shop.connection)
        .expect("rows");
    let time = |text: &str| text.parse::<DateTime<Utc>>().expect("a time");
    let expected = [
        Reading {
            sensor: "c".into(),
            at: time("1999-12-31T23:59:59Z"),
            local: "0099-01-01T10:20:30".parse().expect("a time"),
            price: None,
            raw: None,
            tags: vec![],
            meta: None,
            note: None,
        },
        Reading {
            sensor: "a \"b\"".into(),
            at: time("2026-01-31T11:00:00.5Z"),
            local: "2026-01-31T00:00:00.000001".parse().expect("a time"),
            price: Some(Decimal("0.10000000000000000000000000001".into())),
            raw: Some(vec![0, 255]),
            tags: vec!["x".into(), "y z".into()],
            meta: Some(json!({"n": 1.5})),
            note: None,
        },
    ];
    assert_eq!(readings, expected);
    for reading in &expected {
        let changes: Vec<Change> = reading
            .history()
            .load(&mut shop.connection)
            .expect("changes");
        assert_eq!(changes.len(), 1, "{reading:?}");
        let key = (&reading.sensor, &reading.at, &reading.local);
        let found = Reading::as_of(lsn).record(key).first(&mut shop.connection);
        assert_eq!(found.as_ref(), Ok(reading));
    }
}

mod then {
    use super::{Key, Tracked};

    diesel::table! {
        app.tickets (code) { code -> Text, priority -> Integer, title -> Text, hours -> Double }
    }

    /// A type of one's own as a key.
    #[derive(Debug, PartialEq, serde::Deserialize)]
    pub(super) struct Code(pub(super) String);

    impl From<&Code> for Key {
        fn from(code: &Code) -> Self {
            Self::from(&code.0)
        }
    }

    /// What the struct is today.
    #[derive(Tracked, Debug, PartialEq)]
    #[diesel(table_name = self::tickets, primary_key(code))]
    pub(super) struct Ticket {
        pub(super) code: Code,
        pub(super) priority: i32,
        pub(super) title: String,
        pub(super) hours: f64,
    }

    /// The same, with words about the past.
    #[derive(Tracked, Debug, PartialEq)]
    #[diesel(table_name = tickets, primary_key(code))]
    #[tracked(alias = "issues")]
    pub(super) struct Lenient {
        pub(super) code: Code,
        #[tracked(default = 3)]
        pub(super) priority: i32,
        #[tracked(alias = "summary", alias = "name")]
        pub(super) title: String,
        #[tracked(default, deserialize_with = bemi_diesel::tracked::from_text)]
        pub(super) hours: f64,
    }
}

fn misfit<T: std::fmt::Debug>(result: QueryResult<T>) -> MisfitError {
    match result {
        Err(Error::DeserializationError(error)) => *error.downcast().expect("a MisfitError"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_row_that_no_longer_fits_is_told_or_read_all_the_same() {
    use then::{Code, Lenient, Ticket};

    let mut shop = Shop::open(
        "CREATE SCHEMA app; CREATE TABLE app.issues (code text PRIMARY KEY, name text NOT NULL, hours text)",
    );
    let none = json!(null);
    let mut instants = Vec::new();
    for sql in [
        "INSERT INTO app.issues VALUES ('x-1', 'first', '1.5')",
        "ALTER TABLE app.issues RENAME name TO title; ALTER TABLE app.issues ADD priority int; UPDATE app.issues SET title = 'second', hours = '2'",
        "UPDATE app.issues SET priority = 1",
        "ALTER TABLE app.issues ALTER hours TYPE float8 USING hours::float8; UPDATE app.issues SET hours = 2.5",
    ] {
        instants.push(shop.sql(&none, sql));
    }
    let connection = &mut shop.connection;
    // Before the table got its name of today.
    let past = |connection: &mut BemiConnection| {
        let changes: Vec<Change> = history()
            .table("app.issues")
            .load(connection)
            .expect("changes");
        changes
            .into_iter()
            .map(|change| change.after)
            .collect::<Vec<_>>()
    };
    let images = past(connection);
    let problems: Vec<_> = images
        .iter()
        .map(|row| {
            Ticket::from_row(row).map_err(|error| (error.column, error.expected, error.problem))
        })
        .collect();
    let last = Ticket {
        code: Code("x-1".into()),
        priority: 1,
        title: "second".into(),
        hours: 2.5,
    };
    assert_eq!(
        problems,
        [
            Err(("priority", "i32", Problem::Missing)),
            Err(("priority", "i32", Problem::Null)),
            Err(("hours", "f64", Problem::Unfit("string"))),
            Ok(last),
        ]
    );
    let lenient = |priority, title: &str, hours| Lenient {
        code: Code("x-1".into()),
        priority,
        title: title.into(),
        hours,
    };
    let versions: Vec<Version<Lenient>> =
        Lenient::versions("x-1").load(connection).expect("versions");
    assert_eq!(
        rows(&versions),
        [
            Some(lenient(3, "first", 1.5)),
            Some(lenient(3, "second", 2.0)),
            Some(lenient(1, "second", 2.0)),
            Some(lenient(1, "second", 2.5)),
        ]
    );
    // The struct of today sees nothing under a name that the table had not.
    assert_eq!(
        Ticket::versions("x-1")
            .load(connection)
            .map(|found| found.len()),
        Ok(0)
    );
    let changes: Vec<Change> = lenient(0, "", 0.0)
        .history()
        .load(connection)
        .expect("changes");
    assert_eq!(changes.len(), 4);
    assert_eq!(
        reason(Ticket::as_of(instants[0]).load(connection)),
        TravelError::Incomplete {
            table: "app.tickets".into()
        }
    );
}

#[test]
fn an_error_names_the_column_and_keeps_the_row_to_itself() {
    use then::Ticket;

    let mut shop = Shop::open(
        "CREATE SCHEMA app; CREATE TABLE app.tickets (code text PRIMARY KEY, title text NOT NULL, priority text)",
    );
    let lsn = shop.sql(
        &json!(null),
        "INSERT INTO app.tickets VALUES ('secret', 'hidden', 'high')",
    );
    let error = misfit(Ticket::as_of(lsn).load(&mut shop.connection));
    assert_eq!(
        error.to_string(),
        "a past row of app.tickets does not fit: priority, of type i32, cannot hold the string in it; \
         #[tracked(deserialize_with = …)] reads other types"
    );
    assert!(!format!("{error:?}").contains("secret") && !format!("{error:?}").contains("high"));
    assert_eq!(
        error
            .row
            .get::<String>("priority")
            .expect("JSON")
            .as_deref(),
        Some("high")
    );
    let raw = Ticket::as_of(lsn)
        .record("secret")
        .raw()
        .load(&mut shop.connection);
    assert_eq!(raw, Ok(vec![error.row]));
}
