//! What a database can have around its tables.

use crate::run::same_as;
use crate::step::{batch, book, commit, rows, sql};
use crate::{Step, same};

#[test]
fn views() {
    let steps = [
        sql("INSERT INTO v (author, title) VALUES (1, 'a')"),
        sql("INSERT INTO v (author, title) VALUES (1, 'a')"),
        sql("INSERT INTO v (author, title, pages) VALUES (1, 'b', 0)"),
        rows("INSERT INTO v (author, title) VALUES (1, 'c') RETURNING title AS value"),
        sql("UPDATE v SET pages = pages + 1 WHERE author = 1"),
        rows("UPDATE v SET pages = pages + 1 RETURNING pages::text AS value"),
        sql("DELETE FROM v WHERE title = 'a'"),
        sql("DELETE FROM v WHERE title = 'a'"),
        batch("INSERT INTO v (author, title) VALUES (2, 'd'); DELETE FROM v WHERE title = 'c'"),
        commit([
            sql("INSERT INTO v (author, title) VALUES (3, 'e')"),
            sql("UPDATE v SET pages = 77"),
            sql("DELETE FROM v WHERE title = 'nothing'"),
        ]),
        Step::Insert(book("z")),
        Step::Books,
    ];
    let updatable = "CREATE VIEW v AS SELECT * FROM books;";
    let rules = "
        CREATE RULE i AS ON INSERT TO v DO INSTEAD INSERT INTO books (author, title) VALUES (NEW.author, NEW.title);
        CREATE RULE u AS ON UPDATE TO v DO INSTEAD UPDATE books SET pages = NEW.pages WHERE id = OLD.id;
        CREATE RULE d AS ON DELETE TO v DO INSTEAD DELETE FROM books WHERE id = OLD.id;";
    let returning = rules
        .replace("NEW.title)", "NEW.title) RETURNING *")
        .replace("OLD.id", "OLD.id RETURNING *");
    let below = rules.replace(" TO v ", " TO below ");
    let setups = [
        updatable.to_owned(),
        "CREATE VIEW v AS SELECT * FROM books WHERE pages < 50 WITH CHECK OPTION;".to_owned(),
        TRIGGERED.to_owned(),
        format!("{updatable}{rules}"),
        format!("{updatable}{returning}"),
        format!(
            "CREATE VIEW below AS SELECT * FROM books; {below} CREATE VIEW v AS SELECT * FROM below;"
        ),
        format!("{updatable} CREATE RULE n AS ON INSERT TO v DO INSTEAD NOTHING;"),
        format!(
            "{updatable} CREATE RULE a AS ON INSERT TO v DO ALSO INSERT INTO authors (name) VALUES (NEW.title);"
        ),
    ];
    same_as("postgres", setups.iter().map(String::as_str), &steps);
}

const TRIGGERED: &str = "CREATE VIEW v AS SELECT * FROM books LIMIT 5;
    CREATE FUNCTION t() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        CASE TG_OP
        WHEN 'INSERT' THEN INSERT INTO books (author, title) VALUES (NEW.author, NEW.title); RETURN NEW;
        WHEN 'UPDATE' THEN UPDATE books SET pages = NEW.pages WHERE id = NEW.id; RETURN NEW;
        ELSE DELETE FROM books WHERE id = OLD.id; RETURN OLD;
        END CASE;
    END $$;
    CREATE TRIGGER t INSTEAD OF INSERT OR UPDATE OR DELETE ON v FOR EACH ROW EXECUTE FUNCTION t();";

#[test]
fn rules_on_tables() {
    same(
        "CREATE RULE a AS ON INSERT TO books DO ALSO INSERT INTO authors (name) VALUES (NEW.title);
         CREATE RULE d AS ON DELETE TO books WHERE OLD.id = 1 DO INSTEAD NOTHING;",
        &[
            Step::Insert(book("a")),
            Step::InsertReturning(book("b")),
            Step::InsertMany(vec![book("c"), book("d")]),
            Step::Delete(1),
            Step::Delete(2),
            Step::DeleteReturning(3),
            Step::DeleteMany(50),
            Step::Books,
        ],
    );
}

#[test]
fn row_level_security() {
    let steps = [
        Step::Insert(book("a")),
        Step::InsertReturning(book("b")),
        Step::Insert(book("secret")),
        Step::InsertReturning(book("secret")),
        Step::Upsert(book("a")),
        Step::Upsert(book("Notes")),
        Step::UpdateMany(1),
        Step::UpdateManyReturning(1),
        Step::Update { id: 2, pages: 3 },
        Step::Delete(2),
        Step::Delete(1),
        commit([Step::Insert(book("c")), Step::Insert(book("secret"))]),
        Step::Books,
    ];
    let base = "GRANT ALL ON ALL TABLES IN SCHEMA public TO app; GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO app;
        ALTER TABLE books ENABLE ROW LEVEL SECURITY;";
    let insert = "CREATE POLICY i ON books FOR INSERT TO app WITH CHECK (title <> 'secret');";
    // What is written may not be seen; then some rows may be seen, and others changed.
    let blind = format!("{base}{insert}");
    let partly = format!(
        "{blind} CREATE POLICY s ON books FOR SELECT TO app USING (pages > 50);
         CREATE POLICY u ON books FOR UPDATE TO app USING (id < 3);
         CREATE POLICY d ON books FOR DELETE TO app USING (true);"
    );
    same_as("app", [blind.as_str(), &partly], &steps);
}

#[test]
fn grants() {
    let steps = [
        Step::Insert(book("a")),
        Step::InsertReturning(book("b")),
        Step::InsertReturningColumns(book("c")),
        Step::InsertMany(vec![book("d"), book("e")]),
        Step::Update { id: 1, pages: 3 },
        Step::UpdateReturning { id: 1, pages: 4 },
        sql("UPDATE books SET pages = 5"),
        sql("UPDATE books SET title = 'f'"),
        sql("DELETE FROM books"),
        Step::Delete(1),
        Step::DeleteAuthor(1),
        commit([sql("UPDATE books SET pages = 6"), Step::Books]),
        Step::Books,
        rows("SELECT title AS value FROM books ORDER BY id"),
    ];
    let sequences = "GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO app;";
    let setups = [
        "",
        "GRANT INSERT (author, title, pages, tags), UPDATE (pages) ON books TO app;",
        "GRANT INSERT, UPDATE, DELETE ON books TO app;",
        "GRANT SELECT (id, title) ON books TO app; GRANT INSERT, UPDATE, DELETE ON books TO app;",
        "ALTER TABLE books OWNER TO app; REVOKE INSERT ON books FROM app;",
    ]
    .map(|grants| format!("{sequences}{grants}"));
    same_as("app", setups.iter().map(String::as_str), &steps);
}

#[test]
fn partitions() {
    same(
        "DROP TABLE books;
         CREATE TABLE books (id serial, author int, title text NOT NULL UNIQUE, pages int NOT NULL DEFAULT 1, tags text[] NOT NULL DEFAULT '{}')
            PARTITION BY LIST (title);
         CREATE TABLE books_a PARTITION OF books FOR VALUES IN ('a', 'b');
         CREATE TABLE books_c PARTITION OF books FOR VALUES IN ('c') PARTITION BY LIST (title);
         CREATE TABLE books_cc PARTITION OF books_c FOR VALUES IN ('c');",
        &[
            Step::Insert(book("a")),
            Step::InsertReturning(book("c")),
            Step::Insert(book("nowhere")),
            Step::Upsert(book("a")),
            Step::InsertMany(vec![book("b"), book("nowhere")]),
            Step::InsertMany(vec![book("b")]),
            Step::UpdateMany(1),
            sql("UPDATE books SET title = CASE title WHEN 'c' THEN 'd' ELSE title END"),
            sql("DELETE FROM books WHERE title = 'c'"),
            sql("UPDATE books SET title = 'c' WHERE title = 'a'"),
            sql("UPDATE ONLY books SET pages = 3"),
            sql("DELETE FROM books_a"),
            Step::Books,
        ],
    );
}

#[test]
fn triggers() {
    same(
        "CREATE FUNCTION t() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF NEW.title = 'refused' THEN RAISE EXCEPTION 'not %', NEW.title USING HINT = 'another', ERRCODE = 'P0042'; END IF;
            IF NEW.title = 'skipped' THEN RETURN NULL; END IF;
            NEW.title := upper(NEW.title);
            UPDATE authors SET born = coalesce(born, 0) + 1 WHERE id = NEW.author;
            RETURN NEW;
         END $$;
         CREATE TRIGGER t BEFORE INSERT OR UPDATE ON books FOR EACH ROW EXECUTE FUNCTION t();
         CREATE FUNCTION s() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO authors (name) VALUES (TG_OP); RETURN NULL;
         END $$;
         CREATE TRIGGER s AFTER DELETE ON books FOR EACH STATEMENT EXECUTE FUNCTION s();
         CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF NEW.title = 'LATE' THEN RAISE EXCEPTION 'too late'; END IF; RETURN NULL;
         END $$;
         CREATE CONSTRAINT TRIGGER late AFTER INSERT ON books DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION late();",
        &[
            Step::Insert(book("a")),
            Step::InsertReturning(book("b")),
            Step::Insert(book("refused")),
            Step::InsertReturning(book("refused")),
            Step::Insert(book("skipped")),
            Step::InsertReturning(book("skipped")),
            Step::InsertMany(vec![book("skipped"), book("c")]),
            Step::Insert(book("late")),
            Step::InsertReturning(book("late")),
            Step::InsertMany(vec![book("d"), book("late")]),
            commit([Step::Insert(book("late")), Step::Insert(book("e"))]),
            Step::UpdateMany(1),
            Step::DeleteMany(50),
            Step::DeleteMany(50),
            Step::DeleteAuthor(3),
            Step::Books,
        ],
    );
}

#[test]
fn cascades() {
    same(
        "CREATE TABLE reviews (book int REFERENCES books ON DELETE SET NULL ON UPDATE CASCADE, stars int);
         INSERT INTO reviews SELECT id, 5 FROM books;",
        &[
            sql("UPDATE books SET id = id + 100"),
            Step::DeleteAuthor(1),
            rows("DELETE FROM authors WHERE id = 2 RETURNING name AS value"),
            commit([Step::DeleteAuthor(3)]),
            Step::DeleteAuthor(99),
            sql("TRUNCATE authors"),
            sql("TRUNCATE authors CASCADE"),
        ],
    );
}

#[test]
fn generated_and_identity_columns() {
    same(
        "CREATE TABLE g (id int GENERATED ALWAYS AS IDENTITY, a int UNIQUE, twice int GENERATED ALWAYS AS (a * 2) STORED);
         CREATE UNLOGGED TABLE u (a int); CREATE DOMAIN positive AS int CHECK (VALUE > 0);
         ALTER TABLE u ADD b positive;",
        &[
            sql("INSERT INTO g (a) VALUES (1)"),
            sql("INSERT INTO g (id, a) VALUES (7, 1)"),
            rows("INSERT INTO g (a) VALUES (2), (3) RETURNING twice::text AS value"),
            sql("UPDATE g SET twice = 3"),
            sql("INSERT INTO g (a) VALUES (2) ON CONFLICT (a) DO UPDATE SET a = 9"),
            sql("INSERT INTO u VALUES (1, 2)"),
            sql("INSERT INTO u VALUES (1, -2)"),
            sql("CREATE TEMP TABLE t (a int)"),
            sql("INSERT INTO t VALUES (1)"),
            sql("DELETE FROM t"),
        ],
    );
}
