//! Programs that nobody thought of.

use bemi_tests::Database;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::Step;
use crate::run::{cluster, same_in};
use crate::schema::{AuthorChanges, BookChanges, NewAuthor, NewBook};
use crate::step::{End, Mode, rows, sql};

/// Few names and numbers, so that they meet.
fn id() -> impl Strategy<Value = i32> {
    1..7
}

fn pages() -> impl Strategy<Value = i32> {
    prop_oneof![9 => 1..90, 1 => Just(0)]
}

fn title() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["Notes", "a", "b", "it's", "c \\ \" d", "é", ""]).prop_map_into()
}

fn book() -> impl Strategy<Value = NewBook> {
    (id(), title(), pages(), prop::collection::vec(title(), 0..3)).prop_map(
        |(author, title, pages, tags)| NewBook {
            author,
            title,
            pages,
            tags,
        },
    )
}

fn author() -> impl Strategy<Value = NewAuthor> {
    (title(), any::<Option<i32>>()).prop_map(|(name, born)| NewAuthor { name, born })
}

fn write() -> impl Strategy<Value = Step> {
    let books = || prop::collection::vec(book(), 0..4);
    let changes = (prop::option::of(title()), prop::option::of(pages()))
        .prop_map(|(title, pages)| BookChanges { title, pages });
    prop_oneof![
        book().prop_map(Step::Insert),
        book().prop_map(Step::InsertReturning),
        book().prop_map(Step::InsertReturningColumns),
        author().prop_map(Step::InsertAuthor),
        author().prop_map(Step::InsertAuthorReturning),
        books().prop_map(Step::InsertMany),
        books().prop_map(Step::InsertManyReturning),
        id().prop_map(Step::InsertSelect),
        book().prop_map(Step::DoNothing),
        book().prop_map(Step::DoNothingReturning),
        book().prop_map(Step::Upsert),
        book().prop_map(Step::UpsertReturning),
        book().prop_map(Step::UpsertOnConstraint),
        (id(), pages()).prop_map(|(id, pages)| Step::Update { id, pages }),
        (id(), pages()).prop_map(|(id, pages)| Step::UpdateReturning { id, pages }),
        pages().prop_map(Step::UpdateMany),
        pages().prop_map(Step::UpdateManyReturning),
        (id(), changes).prop_map(|(id, changes)| Step::UpdateChanges { id, changes }),
        (id(), any::<Option<i32>>())
            .prop_map(|(id, born)| Step::UpdateAuthor(AuthorChanges { id, born })),
        (id(), pages()).prop_map(|(id, pages)| Step::Save { id, pages }),
        id().prop_map(Step::Delete),
        id().prop_map(Step::DeleteReturning),
        id().prop_map(Step::DeleteAuthor),
        pages().prop_map(Step::DeleteMany),
        pages().prop_map(Step::DeleteManyReturning),
        (1..40_usize).prop_map(Step::DeleteWithBinds),
    ]
}

fn read() -> impl Strategy<Value = Step> {
    prop_oneof![
        id().prop_map(Step::Find),
        Just(Step::Books),
        Just(Step::Streamed),
        (1..4).prop_map(Step::StreamedUntil),
        Just(Step::Join),
        Just(Step::Count),
        id().prop_map(Step::Exists),
        id().prop_map(Step::ForUpdate),
        (prop::option::of(pages()), 0..4_i64)
            .prop_map(|(pages, limit)| Step::Boxed { pages, limit }),
    ]
}

fn raw() -> impl Strategy<Value = Step> {
    const STATEMENTS: [&str; 18] = [
        "BEGIN",
        "COMMIT",
        "ROLLBACK",
        "SAVEPOINT one",
        "ROLLBACK TO one",
        "RELEASE one",
        "SET CONSTRAINTS ALL DEFERRED",
        "SELECT 1/0",
        "UPDATE books SET pages = pages + 1; ",
        "DELETE FROM books WHERE pages > 80 RETURNING id",
        "WITH x AS (INSERT INTO authors (name) VALUES ('x')) SELECT 1",
        "WITH x AS (DELETE FROM books WHERE id = 1) UPDATE books SET pages = 3 WHERE id = 2",
        "INSERT INTO view (author, title) VALUES (2, 'viewed')",
        "DELETE FROM view WHERE title = 'viewed'",
        "SELECT add_author('added')",
        "DO $$ BEGIN UPDATE authors SET born = 1; END $$",
        "TRUNCATE books",
        "INSERT INTO nowhere VALUES (1)",
    ];
    let texts = prop::sample::select(STATEMENTS.to_vec());
    let batches = prop::collection::vec(texts.clone(), 1..4);
    prop_oneof![
        6 => texts.prop_map(sql),
        2 => batches.prop_map(|texts| Step::Batch(texts.join(";"))),
        1 => Just(rows("UPDATE books SET pages = pages + 1 RETURNING title AS value")),
        1 => Just(rows("SELECT add_author('rows')::text AS value")),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let leaf = prop_oneof![
        8 => write(),
        2 => read(),
        2 => raw(),
        2 => (0..4).prop_map(Step::Context),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        let end = prop::sample::select(vec![End::Commit, End::FirstError, End::Rollback]);
        let mode = prop::sample::select(vec![
            Mode::ReadOnly,
            Mode::ReadWrite,
            Mode::RepeatableRead,
            Mode::Serializable,
        ]);
        let steps = prop::collection::vec(inner, 0..4);
        prop_oneof![
            4 => (steps.clone(), end.clone()).prop_map(|(steps, end)| Step::Transaction(steps, end)),
            1 => (mode, steps, end).prop_map(|(mode, steps, end)| Step::Build(mode, steps, end)),
        ]
    })
}

/// A view that refuses a `RETURNING`, and a function that writes.
const SETUP: &str = "\
CREATE VIEW view AS SELECT * FROM books;
CREATE RULE i AS ON INSERT TO view DO INSTEAD INSERT INTO books (author, title) VALUES (NEW.author, NEW.title);
CREATE FUNCTION add_author(text) RETURNS int LANGUAGE sql AS 'INSERT INTO authors (name) VALUES ($1) RETURNING id';";

#[test]
fn programs_that_nobody_thought_of() {
    let long = std::env::var_os("BEMI_TESTS_LONG").is_some();
    let database = Database::create_in(cluster()).expect("a database");
    let mut runner = TestRunner::new(Config {
        cases: if long { 500 } else { 16 },
        failure_persistence: None,
        max_shrink_iters: 200,
        ..Config::default()
    });
    let programs = prop::collection::vec(step(), 1..16);
    let outcome = runner.run(&programs, |steps| {
        same_in(&database, "postgres", SETUP, &steps).map_err(TestCaseError::fail)
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}
