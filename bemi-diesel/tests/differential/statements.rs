//! Statements of every kind, outside and inside a transaction.

use crate::schema::{AuthorChanges, BookChanges, NewAuthor};
use crate::step::{batch, book, commit, rows, sql};
use crate::{Step, same};

/// Each twice, as the second one meets what the first one left prepared.
fn everything() -> Vec<Step> {
    let author = |name: &str, born| NewAuthor {
        name: name.to_owned(),
        born,
    };
    let changes = |title: Option<&str>, pages| BookChanges {
        title: title.map(str::to_owned),
        pages,
    };
    vec![
        Step::Insert(book("one")),
        Step::Insert(book("one")),
        Step::InsertReturning(book("two")),
        Step::InsertReturning(book("two")),
        Step::InsertReturningColumns(book("three")),
        Step::InsertReturningColumns(book("four")),
        Step::InsertAuthor(author("Dante", None)),
        Step::InsertAuthor(author("", Some(1))),
        Step::InsertAuthorReturning(author("Eco", Some(1932))),
        Step::InsertAuthorReturning(author("", None)),
        Step::InsertMany(vec![book("five"), book("six"), book("seven")]),
        Step::InsertMany(vec![book("eight"), book("one")]),
        Step::InsertMany(vec![]),
        Step::InsertManyReturning(vec![book("eight"), book("nine")]),
        Step::InsertManyReturning(vec![book("ten"), book("ten")]),
        Step::InsertDefaults,
        Step::InsertSelect(3),
        Step::InsertSelect(3),
        Step::DoNothing(book("one")),
        Step::DoNothing(book("eleven")),
        Step::DoNothingReturning(book("one")),
        Step::DoNothingReturning(book("twelve")),
        Step::Upsert(book("one")),
        Step::Upsert(book("thirteen")),
        Step::UpsertReturning(book("one")),
        Step::UpsertReturning(book("fourteen")),
        Step::UpsertOnConstraint(book("one")),
        Step::UpsertOnConstraint(book("one")),
        Step::Update { id: 1, pages: 7 },
        Step::Update { id: 1, pages: -7 },
        Step::Update { id: 99, pages: 7 },
        Step::UpdateReturning { id: 2, pages: 8 },
        Step::UpdateReturning { id: 99, pages: 8 },
        Step::UpdateReturning { id: 2, pages: 0 },
        Step::UpdateMany(10),
        Step::UpdateMany(10_000),
        Step::UpdateManyReturning(10),
        Step::UpdateManyReturning(10_000),
        Step::UpdateChanges {
            id: 1,
            changes: changes(Some("Notes, revised"), None),
        },
        Step::UpdateChanges {
            id: 1,
            changes: changes(None, Some(5)),
        },
        Step::UpdateChanges {
            id: 1,
            changes: changes(None, None),
        },
        Step::UpdateAuthor(AuthorChanges { id: 1, born: None }),
        Step::Save { id: 1, pages: 12 },
        Step::Save { id: 1, pages: 0 },
        Step::Save { id: 99, pages: 1 },
        Step::Find(1),
        Step::Find(99),
        Step::Books,
        Step::Streamed,
        Step::StreamedUntil(3),
        Step::Join,
        Step::Count,
        Step::Exists(1),
        Step::ForUpdate(1),
        Step::Boxed {
            pages: Some(11),
            limit: 2,
        },
        Step::Delete(1),
        Step::Delete(1),
        Step::DeleteReturning(2),
        Step::DeleteReturning(2),
        Step::DeleteMany(11),
        Step::DeleteManyReturning(12),
        Step::DeleteAuthor(1),
        Step::Books,
    ]
}

#[test]
fn each_on_its_own() {
    same("", &everything());
}

/// The first error makes the server refuse the rest, which then fails alike.
#[test]
fn in_one_transaction() {
    same("", &[commit(everything()), Step::Books]);
}

#[test]
fn in_a_savepoint_each() {
    let steps: Vec<Step> = everything()
        .into_iter()
        .enumerate()
        .flat_map(|(n, step)| {
            let n = i32::try_from(n).expect("few") / 7;
            [Step::Context(n), crate::step::first_error([step])]
        })
        .collect();
    same("", &[commit(steps), Step::Books]);
}

#[test]
fn in_raw_sql() {
    same(
        "",
        &[
            sql("INSERT INTO books (author, title) VALUES (1, 'a')"),
            sql("INSERT INTO books (author, title) VALUES (1, 'a')"),
            sql("  insert into public.books (author, title) values (1, 'b') -- the end"),
            sql("INSERT INTO books (author, title) VALUES (1, 'c');"),
            sql("INSERT INTO books (author, title) VALUES (1, 'd'), (1, 'e') RETURNING id;"),
            sql("/* RETURNING */ UPDATE ONLY books b SET pages = 2 WHERE b.title = 'RETURNING'"),
            sql("UPDATE books SET title = 'RETURNING' WHERE title = 'a'"),
            sql("UPDATE books SET title = $$ returning '$$ WHERE title = 'b'"),
            sql("UPDATE \"books\" SET \"pages\" = 3 FROM authors WHERE authors.id = author"),
            sql("DELETE FROM books USING authors WHERE authors.id = author AND name = 'Ada'"),
            rows("INSERT INTO books (author, title) VALUES (2, 'f') RETURNING title AS value"),
            rows("UPDATE books SET pages = 9 RETURNING title || pages AS value"),
            rows("DELETE FROM books WHERE title = 'f' RETURNING title AS value, *"),
            rows("DELETE FROM books WHERE title = 'f' RETURNING title AS value"),
            rows("INSERT INTO books (author, title) VALUES (2, 'g') RETURNING id AS other"),
            rows(
                "WITH x AS (INSERT INTO books (author, title) VALUES (2, 'h') RETURNING title) SELECT title AS value FROM x",
            ),
            rows(
                "WITH x AS (DELETE FROM books RETURNING title) UPDATE authors SET born = 1 WHERE false RETURNING name AS value",
            ),
            sql("WITH x AS (SELECT 2 AS a) INSERT INTO books (author, title) SELECT a, 'i' FROM x"),
            sql("INSERT INTO nowhere VALUES (1)"),
            sql("INSERT INTO books (author, title) VALUES (1, 'j', 3)"),
            sql("UPDATE books SET nothing = 1"),
            sql("SELEKT 1"),
            sql(""),
            sql("; "),
            sql("INSERT INTO books (author, title) VALUES (1, 'k'); DELETE FROM books"),
            sql("TRUNCATE books"),
            sql("SELECT setval('books_id_seq', 100)"),
            rows("SELECT nextval('books_id_seq')::text AS value"),
            rows("VALUES ('x')"),
            rows("TABLE authors"),
            sql("SET search_path = nowhere"),
            sql("INSERT INTO books (author, title) VALUES (1, 'l')"),
            sql("INSERT INTO public.books (author, title) VALUES (1, 'm')"),
            sql("RESET search_path"),
            sql("SET standard_conforming_strings = off"),
            sql("INSERT INTO books (author, title) VALUES (1, 'it\\'s')"),
            rows("SELECT title AS value FROM books ORDER BY id"),
            sql("DO $$ BEGIN DELETE FROM books; END $$"),
            sql("CREATE TABLE copies AS SELECT * FROM authors"),
            sql("SELECT * INTO more FROM authors"),
            sql("EXPLAIN ANALYZE DELETE FROM copies"),
            sql("PREPARE p AS DELETE FROM more"),
            sql("EXECUTE p"),
            sql("DECLARE c CURSOR FOR SELECT 1"),
            sql(
                "MERGE INTO authors USING (VALUES (1)) s (id) ON authors.id = s.id WHEN MATCHED THEN DELETE",
            ),
        ],
    );
}

#[test]
fn in_batches() {
    same(
        "",
        &[
            batch(""),
            batch("INSERT INTO books (author, title) VALUES (1, 'a')"),
            batch(
                "INSERT INTO books (author, title) VALUES (1, 'b'); DELETE FROM books WHERE title = 'a';",
            ),
            batch("INSERT INTO books (author, title) VALUES (1, 'c'); SELECT 1/0"),
            batch("INSERT INTO books (author, title) VALUES (1, 'c') -- the end"),
            batch(
                "INSERT INTO books (author, title) VALUES (1, 'd'); BEGIN; SELECT 1; COMMIT; SELECT 1/0",
            ),
            batch(
                "BEGIN; INSERT INTO books (author, title) VALUES (1, 'e'); COMMIT; INSERT INTO books (author, title) VALUES (1, 'e')",
            ),
            batch("UPDATE books SET pages = 3; UPDATE books SET nothing = 4"),
            batch("CREATE TABLE more (id int); INSERT INTO more VALUES (1); DROP TABLE more"),
            batch(
                "CREATE FUNCTION one() RETURNS int LANGUAGE sql AS $$ SELECT 1; SELECT 1 $$; SELECT one()",
            ),
            batch("COPY books TO STDOUT"),
            batch("VACUUM books"),
            batch("VACUUM books; SELECT 1"),
            batch("CREATE INDEX CONCURRENTLY ON books (pages)"),
            batch("CREATE INDEX CONCURRENTLY ON books (pages); SELECT 1"),
            batch("ALTER SYSTEM RESET work_mem"),
            commit([
                batch("INSERT INTO books (author, title) VALUES (1, 'f')"),
                batch("CREATE INDEX CONCURRENTLY ON books (pages)"),
                batch("INSERT INTO books (author, title) VALUES (1, 'g')"),
            ]),
            Step::Books,
        ],
    );
}
