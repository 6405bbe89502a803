//! Transactions, nested and built, and what ends them.

use crate::run::same_as;
use crate::step::{End, Mode, batch, book, commit, elsewhere, first_error, rollback, rows, sql};
use crate::{Step, same};

const DIVIDE: &str = "SELECT 1/0";

#[test]
fn nested() {
    same(
        "",
        &[
            commit([
                Step::Insert(book("a")),
                rollback([
                    Step::Insert(book("b")),
                    Step::Context(1),
                    Step::Insert(book("c")),
                ]),
                Step::Insert(book("c")),
                commit([Step::InsertReturning(book("d")), commit([Step::Delete(1)])]),
                first_error([
                    Step::Insert(book("e")),
                    sql(DIVIDE),
                    Step::Insert(book("f")),
                ]),
                Step::Context(2),
                Step::UpdateMany(1),
            ]),
            Step::Books,
            rollback([commit([Step::DeleteMany(1000)])]),
            first_error([
                commit([Step::Insert(book("g"))]),
                first_error([sql(DIVIDE)]),
            ]),
            commit([
                commit([sql(DIVIDE), Step::Insert(book("h"))]),
                Step::Insert(book("i")),
            ]),
            commit([sql(DIVIDE)]),
            commit([rollback([sql(DIVIDE)]), Step::Insert(book("j"))]),
            commit([]),
            commit([Step::Books]),
            Step::Books,
        ],
    );
}

#[test]
fn built() {
    let write = || vec![Step::Books, Step::Insert(book("a")), Step::UpdateMany(1)];
    let all = [
        Mode::ReadOnly,
        Mode::ReadWrite,
        Mode::RepeatableRead,
        Mode::Serializable,
        Mode::SerializableReadOnlyDeferrable,
        Mode::ReadCommittedDeferrable,
    ];
    let mut steps = Vec::new();
    for mode in all {
        for end in [End::Commit, End::FirstError, End::Rollback] {
            steps.push(Step::Build(mode, write(), end));
            steps.push(sql("DELETE FROM books WHERE title = 'a'"));
        }
        steps.push(commit([
            Step::Insert(book("b")),
            Step::Build(mode, write(), End::Commit),
        ]));
    }
    same("", &steps);
}

#[test]
fn in_raw_sql() {
    let insert = |title: &str| Step::Insert(book(title));
    same(
        "",
        &[
            sql("BEGIN"),
            insert("a"),
            sql("SAVEPOINT one"),
            insert("b"),
            sql("ROLLBACK TO one"),
            insert("c"),
            sql("RELEASE one"),
            sql("COMMIT"),
            sql("COMMIT"),
            sql("ROLLBACK"),
            batch("BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY"),
            insert("d"),
            batch("COMMIT"),
            batch("BEGIN; INSERT INTO books (author, title) VALUES (1, 'e')"),
            insert("f"),
            sql("COMMIT AND CHAIN"),
            insert("g"),
            sql("ROLLBACK AND CHAIN"),
            insert("h"),
            sql("BEGIN"),
            sql(DIVIDE),
            insert("i"),
            sql("COMMIT"),
            insert("i"),
            sql("START TRANSACTION READ ONLY"),
            commit([insert("j")]),
            sql("END"),
            sql("ROLLBACK TO nothing"),
            sql("BEGIN"),
            insert("k"),
            sql("PREPARE TRANSACTION 'x'"),
            sql("SAVEPOINT one"),
            sql("BEGIN"),
            insert("l"),
            batch("INSERT INTO books (author, title) VALUES (1, 'm'); COMMIT; BEGIN"),
            insert("n"),
            sql("ABORT"),
            Step::Books,
        ],
    );
}

#[test]
fn serialization_failures() {
    let other = || elsewhere("UPDATE books SET pages = pages + 1 WHERE id = 1");
    same(
        "",
        &[
            Step::Build(
                Mode::RepeatableRead,
                vec![Step::Books, other(), Step::Update { id: 1, pages: 3 }],
                End::FirstError,
            ),
            Step::Build(
                Mode::RepeatableRead,
                vec![
                    Step::Books,
                    other(),
                    first_error([Step::Update { id: 1, pages: 3 }]),
                    Step::Books,
                ],
                End::Commit,
            ),
            // Write skew, which only the `COMMIT` notices.
            Step::Build(
                Mode::Serializable,
                vec![
                    rows("SELECT count(*)::text AS value FROM books"),
                    elsewhere(
                        "BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT count(*) FROM books; \
                         INSERT INTO books (author, title) VALUES (1, 'theirs'); COMMIT",
                    ),
                    Step::Insert(book("ours")),
                ],
                End::FirstError,
            ),
            Step::Insert(book("afterwards")),
            Step::Books,
        ],
    );
}

#[test]
fn locks_that_are_not_to_be_had() {
    same(
        "",
        &[
            sql("SET lock_timeout = '50ms'"),
            elsewhere("BEGIN; UPDATE books SET pages = 5 WHERE id = 1"),
            Step::Update { id: 1, pages: 3 },
            first_error([Step::Insert(book("a")), Step::Update { id: 1, pages: 3 }]),
            rows("SELECT title AS value FROM books WHERE id = 1 FOR UPDATE NOWAIT"),
            elsewhere("COMMIT"),
            Step::Update { id: 1, pages: 3 },
            sql("SET statement_timeout = '50ms'"),
            sql("UPDATE books SET pages = 7 FROM pg_sleep(1)"),
            Step::Books,
        ],
    );
}

#[test]
fn deferred_constraints() {
    let orphan = || {
        Step::Insert(crate::schema::NewBook {
            author: 99,
            ..book("orphan")
        })
    };
    let steps = [
        orphan(),
        commit([sql("SET CONSTRAINTS ALL DEFERRED"), orphan()]),
        commit([sql("SET CONSTRAINTS ALL DEFERRED"), commit([orphan()])]),
        commit([
            sql("SET CONSTRAINTS ALL DEFERRED"),
            orphan(),
            sql("SET CONSTRAINTS ALL IMMEDIATE"),
        ]),
        Step::Insert(book("a")),
        sql("BEGIN"),
        sql("SET CONSTRAINTS ALL DEFERRED"),
        orphan(),
        sql("COMMIT"),
        Step::Insert(book("b")),
        batch(
            "BEGIN; SET CONSTRAINTS ALL DEFERRED; INSERT INTO books (author, title) VALUES (99, 'c'); COMMIT",
        ),
        Step::Insert(book("c")),
        Step::Books,
    ];
    let deferred =
        "ALTER TABLE books ALTER CONSTRAINT books_author_fkey DEFERRABLE INITIALLY DEFERRED";
    same_as("postgres", ["", deferred], &steps);
}
