//! The message among the values of an `INSERT`, once the relation is known to have no rules.

use bemi_diesel::BemiConnection;
use diesel::expression::AsExpression;
use diesel::prelude::*;
use diesel::query_builder::QueryId;
use diesel::result::DatabaseErrorKind;
use diesel::result::Error::DatabaseError;

use crate::{Database, insert, ruled, todo, todos, with};

#[derive(diesel::sql_types::SqlType, QueryId)]
#[diesel(postgres_type(name = "mood"))]
pub struct Mood;
#[derive(Debug, Clone, Copy, AsExpression)]
#[diesel(sql_type = Mood)]
pub struct Sad;
impl diesel::serialize::ToSql<Mood, diesel::pg::Pg> for Sad {
    fn to_sql<'b>(
        &'b self,
        out: &mut diesel::serialize::Output<'b, '_, diesel::pg::Pg>,
    ) -> diesel::serialize::Result {
        std::io::Write::write_all(out, b"sad")?;
        Ok(diesel::serialize::IsNull::No)
    }
}
diesel::table! {
    use diesel::sql_types::Integer;
    use super::Mood;
    moods (id) {
        mood -> Mood,
        id -> Integer,
    }
}

/// After this many the relation is known.
const KNOWN: i32 = 3;

/// A connection that knows `todos`.
fn knowing(database: &Database) -> BemiConnection {
    let mut c = database.wrapped();
    with(0, || {
        for id in -KNOWN..0 {
            insert(&mut c, id).expect("a row");
        }
    });
    database.log();
    c
}

fn load(c: &mut BemiConnection, rows: &[i32]) -> QueryResult<Vec<(i32, String)>> {
    let rows: Vec<_> = rows.iter().map(|id| todo(*id)).collect();
    diesel::insert_into(todos::table)
        .values(rows)
        .get_results(c)
}

#[test]
fn before_the_rows() {
    let database = Database::new();
    let c = &mut knowing(&database);
    assert_eq!(with(1, || insert(c, 1)), Ok(1));
    let row = |id: i32| (id, "a".to_owned());
    assert_eq!(with(2, || load(c, &[2, 3])), Ok(vec![row(2), row(3)]));
    let returning = diesel::insert_into(todos::table)
        .values(todo(4))
        .returning(todos::title);
    let title = with(3, || returning.get_result::<String>(c));
    assert_eq!(title, Ok("a".to_owned()));
    // Nothing comes back that was not asked for.
    let none = with(4, || {
        diesel::insert_into(todos::table)
            .values(vec![todo(5), todo(6)])
            .execute(c)
    });
    assert_eq!(none, Ok(2));
    assert_eq!(
        database.log(),
        [
            "context 1 - INSERT, INSERT 1",
            "context 2 - INSERT, INSERT 2, INSERT 3",
            "context 3 - INSERT, INSERT 4",
            "context 4 - INSERT, INSERT 5, INSERT 6",
        ]
    );
}

#[test]
fn what_triggers_write_comes_behind_it() {
    let database = Database::new();
    database.sql(
        "CREATE TABLE log (id int); CREATE FUNCTION log() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN INSERT INTO log VALUES (NEW.id); RETURN NEW; END'; \
         CREATE TRIGGER log BEFORE INSERT ON todos FOR EACH ROW EXECUTE FUNCTION log()",
    );
    let c = &mut knowing(&database);
    assert_eq!(with(1, || insert(c, 1)), Ok(1));
    assert_eq!(database.log(), ["context 1 - INSERT, INSERT 1, INSERT 1"]);
}

#[test]
fn no_message_without_a_row() {
    let database = Database::new();
    let c = &mut knowing(&database);
    with(1, || {
        let conflict = diesel::insert_into(todos::table)
            .values(todo(-1))
            .on_conflict_do_nothing()
            .execute(c);
        assert_eq!(conflict, Ok(0));
    });
    assert_eq!(database.log(), Vec::<String>::new());
}

#[test]
fn a_rule_that_does_without_the_value() {
    let database = Database::new();
    database.sql(
        "CREATE TABLE ruled (id int, title text); \
         CREATE RULE r AS ON INSERT TO ruled DO INSTEAD INSERT INTO todos SELECT count(*), 'a' FROM todos RETURNING id, title",
    );
    let c = &mut database.wrapped();
    for n in 0..6 {
        let inserted = with(n, || {
            diesel::insert_into(ruled::table)
                .values((ruled::id.eq(n), ruled::title.eq("a")))
                .execute(c)
        });
        assert_eq!(inserted, Ok(1));
    }
    let log = (0..6).map(|n| format!("INSERT {n}, context {n} lead INSERT"));
    assert_eq!(database.log(), log.collect::<Vec<_>>());
}

#[test]
fn errors_are_the_applications_own() {
    let database = Database::new();
    let c = &mut knowing(&database);
    let plain = &mut database.plain();
    let same = diesel::insert_into(todos::table)
        .values(todo(-1))
        .execute(plain);
    assert!(matches!(
        same,
        Err(DatabaseError(DatabaseErrorKind::UniqueViolation, _))
    ));
    assert_eq!(with(1, || insert(c, -1)), same);
    database.sql("ALTER TABLE todos RENAME title TO name");
    let position = |result: QueryResult<usize>| match result {
        Err(DatabaseError(_, information)) => (
            information.message().to_owned(),
            information.statement_position(),
        ),
        other => panic!("{other:?}"),
    };
    let same = diesel::insert_into(todos::table)
        .values(todo(1))
        .execute(plain);
    assert_eq!(position(with(1, || insert(c, 1))), position(same));
}

#[test]
fn a_right_that_is_lost_meanwhile() {
    let database = Database::new();
    let url = database.url_of_role("inline_robbed");
    let c = &mut BemiConnection::establish(&url).expect("the server is ready");
    let inserted = |c: &mut BemiConnection, id| assert_eq!(with(1, || insert(c, id)), Ok(1));
    for id in 0..=KNOWN {
        inserted(c, id);
    }
    database.revoke();
    for id in [11, 12] {
        inserted(c, id);
    }
    let log = database.log();
    assert_eq!(
        log[3..],
        ["context 1 - INSERT, INSERT 3", "INSERT 11", "INSERT 12"]
    );
}

#[test]
fn a_value_of_a_type_of_the_databases_own() {
    let database = Database::new();
    database.sql(
        "CREATE TYPE mood AS ENUM ('glad', 'sad'); CREATE TABLE moods (mood mood, id int PRIMARY KEY)",
    );
    let c = &mut database.wrapped();
    for n in 0..5 {
        let inserted = with(n, || {
            diesel::insert_into(moods::table)
                .values((moods::mood.eq(Sad), moods::id.eq(n)))
                .execute(c)
        });
        assert_eq!(inserted, Ok(1));
    }
    assert_eq!(
        database.log()[2..],
        [
            "INSERT 'sad', context 2 lead INSERT",
            "context 3 - INSERT, INSERT 'sad'",
            "context 4 - INSERT, INSERT 'sad'",
        ]
    );
}
