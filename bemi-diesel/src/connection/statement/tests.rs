use super::*;
use crate::connection::emit::DEFAULT_SQL_BYTES;

fn kind_of(sql: &str) -> Kind {
    Statement::new(sql, DEFAULT_SQL_BYTES).map_or(Kind::Read, |statement| statement.kind)
}

fn dml(target: &str, returning: bool, parameters: u32) -> Kind {
    Kind::Dml(Dml {
        returning,
        rows: Rows::Unknown,
        parameters,
        target: target.to_owned(),
    })
}

/// One that inserts one row.
fn single(kind: Kind) -> Kind {
    with_rows(Rows::One, kind)
}

/// One that inserts the rows that are in its text.
fn listed(kind: Kind) -> Kind {
    with_rows(Rows::Listed, kind)
}

fn with_rows(rows: Rows, kind: Kind) -> Kind {
    match kind {
        Kind::Dml(dml) => Kind::Dml(Dml { rows, ..dml }),
        kind => kind,
    }
}

#[test]
fn statements_that_can_carry_the_message() {
    for (sql, expected) in [
        (
            r#"INSERT INTO "todos" ("a", "b") VALUES ($1, $2)"#,
            single(dml("todos", false, 2)),
        ),
        (
            r#"INSERT INTO "app"."Todos" ("a") VALUES ($1) RETURNING "app"."Todos"."id""#,
            single(dml("Todos", true, 1)),
        ),
        (
            "insert into App.Todos values ($10, $9)",
            single(dml("todos", false, 10)),
        ),
        ("INSERT INTO t DEFAULT VALUES", single(dml("t", false, 0))),
        (
            "INSERT INTO t VALUES ($1) ON CONFLICT (id) DO UPDATE SET a = excluded.a returning id",
            single(dml("t", true, 1)),
        ),
        (
            "INSERT INTO t SELECT a FROM s WHERE b = $1",
            dml("t", false, 1),
        ),
        ("UPDATE ONLY t SET a = $1", dml("t", false, 1)),
        ("DELETE FROM ONLY (t) WHERE a = $1", dml("t", false, 1)),
        (
            "UPDATE t SET a = (SELECT returning FROM s) WHERE b = ' RETURNING '",
            dml("t", false, 0),
        ),
        (
            r#"UPDATE t SET "returning" = $$ RETURNING ; $9 $$ /* RETURNING /* $8 */ */"#,
            dml("t", false, 0),
        ),
        (
            r"INSERT INTO t VALUES (E'\' RETURNING ', $1)",
            single(dml("t", false, 1)),
        ),
        (
            "INSERT INTO t (a, b) VALUES ($1, (2)), ($2, 3)",
            listed(dml("t", false, 2)),
        ),
        (
            "INSERT INTO t VALUES ($1) UNION ALL TABLE s",
            dml("t", false, 1),
        ),
        (
            "INSERT INTO t SELECT a AS values FROM s",
            dml("t", false, 0),
        ),
        (
            "WITH x AS (VALUES (1), (2)) INSERT INTO t SELECT * FROM x",
            dml("t", false, 0),
        ),
        (
            "WITH x AS (SELECT 1), y AS (SELECT 2) UPDATE t SET a = $1",
            dml("t", false, 1),
        ),
        ("-- first\nDELETE FROM t", dml("t", false, 0)),
    ] {
        assert_eq!(kind_of(sql), expected, "{sql}");
    }
}

#[test]
fn statements_that_write_and_cannot_carry_it() {
    for sql in [
        "UPDATE t SET a = 1;",
        "DELETE FROM t -- bye",
        "DELETE FROM t; -- bye",
        "WITH x AS (INSERT INTO t VALUES (1) RETURNING *) SELECT * FROM x",
        "WITH RECURSIVE x AS MATERIALIZED (UPDATE t SET a = 1 RETURNING *) TABLE x",
        "WITH x AS (INSERT INTO s VALUES ($1) RETURNING id) DELETE FROM t USING x",
        "WITH x AS (SELECT 1), delete AS (SELECT 2) UPDATE t SET a = $1",
        "MERGE INTO t USING s ON true WHEN MATCHED THEN DELETE",
        "WITH x AS (SELECT 1) MERGE INTO t USING x ON true WHEN MATCHED THEN DELETE",
        "SELECT * INTO t FROM s",
        "TRUNCATE t",
        "COPY t FROM '/tmp/x'",
    ] {
        assert_eq!(kind_of(sql), Kind::Write, "{sql}");
    }
}

#[test]
fn reads() {
    for sql in [
        "SELECT 1",
        r#"SELECT "t"."id", count(*), COALESCE(max(a), 0) FROM "t" WHERE "t"."id" IN ($1, $2)"#,
        "SELECT * FROM t FOR UPDATE",
        "WITH x AS (SELECT * FROM t FOR NO KEY UPDATE) SELECT * FROM x",
        r#"SELECT "update" FROM t"#,
        "VALUES (1)",
        "TABLE t",
        "(SELECT 1) UNION (SELECT 2)",
        "SET TIME ZONE 'UTC'",
        "COPY t TO STDOUT",
        "LISTEN x",
    ] {
        assert_eq!(Statement::new(sql, DEFAULT_SQL_BYTES), None, "{sql}");
    }
}

#[test]
fn whatever_else_there_is() {
    for sql in [
        "",
        "-- nothing",
        "SELECT app.archive($1)",
        r#"SELECT "count"(1)"#,
        "CALL p()",
        "DO $$ BEGIN END $$",
        "VACUUMS",
        "CREATE INDEX CONCURRENTLY i ON t (a)",
        "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC INSERT INTO t VALUES (1); SELECT 1; END",
        "EXPLAIN ANALYZE DELETE FROM t",
        "REFRESH MATERIALIZED VIEW v",
        "COMMIT PREPARED 'x'",
        "PREPARE p AS DELETE FROM t",
        "DELETE FROM t; DELETE FROM s",
        "INSERT INTO t VALUES ('unterminated",
        r"INSERT INTO t VALUES ('\', ' RETURNING ')",
        "WITH",
        "UPDATE",
    ] {
        assert_eq!(kind_of(sql), Kind::Unknown, "{sql}");
    }
}

#[test]
fn transaction_control() {
    for (sql, control) in [
        ("BEGIN", Control::Begin),
        (
            "begin transaction isolation level serializable, read only",
            Control::Begin,
        ),
        ("START TRANSACTION", Control::Begin),
        ("COMMIT;", Control::Commit),
        ("COMMIT WORK AND NO CHAIN", Control::Commit),
        ("END", Control::Commit),
        ("COMMIT AND CHAIN", Control::CommitAndChain),
        ("PREPARE TRANSACTION 'x'", Control::Prepare),
        ("ROLLBACK", Control::Rollback),
        ("ABORT WORK", Control::Rollback),
        ("ROLLBACK AND CHAIN", Control::RollbackAndChain),
        (
            "SAVEPOINT diesel_savepoint_1",
            Control::Savepoint("diesel_savepoint_1".into()),
        ),
        ("SAVEPOINT work", Control::Savepoint("work".into())),
        ("RELEASE s", Control::Release("s".into())),
        ("RELEASE SAVEPOINT \"S\"", Control::Release("S".into())),
        ("ROLLBACK TO S", Control::RollbackTo("s".into())),
        (
            "ROLLBACK TRANSACTION TO SAVEPOINT s",
            Control::RollbackTo("s".into()),
        ),
    ] {
        assert_eq!(kind_of(sql), Kind::Control(control), "{sql}");
    }
}

#[test]
fn batches() {
    assert_eq!(
        kinds("BEGIN;;INSERT INTO t VALUES (1); SELECT 1;\nCOMMIT"),
        [
            Kind::Control(Control::Begin),
            single(dml("t", false, 0)),
            Kind::Read,
            Kind::Control(Control::Commit),
        ]
    );
}

#[test]
fn many_rows_are_not_looked_at_one_by_one() {
    let rows = |row: &dyn Fn(usize) -> String| {
        let rows: Vec<String> = (0..1000).map(row).collect();
        format!(r#"INSERT INTO "t" ("a", "b") VALUES {}"#, rows.join(", "))
    };
    let plain = rows(&|n| format!("(${}, ${})", 2 * n + 1, 2 * n + 2));
    let falling = rows(&|n| format!("(DEFAULT, ${})", 1000 - n));
    for (sql, returning, parameters) in [
        (plain.clone(), false, 2000),
        (falling.clone(), false, 1000),
        (rows(&|_| "(DEFAULT, DEFAULT)".to_owned()), false, 0),
        (
            format!("{plain} ON CONFLICT DO NOTHING RETURNING a"),
            true,
            2000,
        ),
        (
            format!("{plain} ON CONFLICT (a) DO UPDATE SET b = $2001"),
            false,
            2001,
        ),
    ] {
        assert!(without_rows(&sql).is_some_and(|short| short.len() < 150));
        assert_eq!(kind_of(&sql), listed(dml("t", returning, parameters)));
    }
    // Then nothing can be appended.
    assert_eq!(kind_of(&format!("{plain};")), Kind::Write);
    for row in [
        "($$), ($$)",
        "($A$), ($A$)",
        "('a')",
        "($1::text)",
        "(f($1))",
    ] {
        let sql = rows(&|_| row.to_owned());
        assert_eq!(kind_of(&sql), kinds_in_full(&sql), "{row}");
    }
}

/// The same with the rows left in, as nothing is left out of a text that starts otherwise.
fn kinds_in_full(sql: &str) -> Kind {
    kind_of(&format!(" {sql}"))
}
