use super::*;
use crate::connection::emit::DEFAULT_SQL_BYTES;
use crate::connection::statement::kinds;
use crate::context::MembersJson;

const A: &str = "\"a\":1";

fn a() -> MembersJson {
    MembersJson::new(A, 0)
}

fn facts() -> Facts {
    Facts {
        denied: false,
        ruled: ["ruled".to_owned()].into(),
        ..Facts::default()
    }
}

fn request(wanted: Wanted, enclosing: Enclosing) -> Request {
    Request {
        wanted,
        enclosing,
        inline: false,
        bound: Some(0),
    }
}

fn open() -> Transaction {
    let mut transaction = Transaction::Autocommit;
    transaction.apply(&Control::Begin);
    transaction
}

fn failed() -> Transaction {
    let mut transaction = open();
    transaction.failed();
    transaction
}

fn written() -> Transaction {
    let mut transaction = open();
    assert_eq!(planned("DELETE FROM t", &mut transaction), Plan::Forward);
    transaction
}

fn planned(sql: &str, transaction: &mut Transaction) -> Plan {
    let statement = Statement::new(sql, DEFAULT_SQL_BYTES).expect("more than a read");
    plan(
        &statement,
        transaction,
        Some(a()),
        &facts(),
        &ContextPolicy::new(),
        request(Wanted::Count, Enclosing::Possible),
    )
}

fn enclosed(sql: &str) -> Plan {
    Plan::Enclose(format!(
        "BEGIN;{}",
        emit::select(
            Some(A),
            emit::text(sql, DEFAULT_SQL_BYTES).as_deref(),
            When::Always
        )
    ))
}

#[test]
fn autocommit() {
    let tag = |sql: &str, parameter, form| {
        let lead = match form {
            Form::Counted => Lead::None,
            Form::Column | Form::Returning => Lead::Row,
        };
        Plan::Tag(Tag {
            message: message(A, emit::text(sql, DEFAULT_SQL_BYTES).as_deref(), lead),
            parameter,
            form,
            one: sql.starts_with("INSERT"),
        })
    };
    for (sql, expected) in [
        ("DELETE FROM t", tag("DELETE FROM t", 1, Form::Counted)),
        (
            "DELETE FROM t WHERE a = $1 RETURNING a",
            tag("DELETE FROM t WHERE a = $1 RETURNING a", 2, Form::Column),
        ),
        (
            "INSERT INTO t VALUES ($1)",
            tag("INSERT INTO t VALUES ($1)", 2, Form::Returning),
        ),
        ("DELETE FROM t;", enclosed("DELETE FROM t;")),
        ("DELETE FROM ruled", enclosed("DELETE FROM ruled")),
        ("TRUNCATE t", enclosed("TRUNCATE t")),
        ("CALL p()", Plan::Forward),
        ("COMMIT", Plan::Forward),
    ] {
        let mut transaction = Transaction::Autocommit;
        assert_eq!(planned(sql, &mut transaction), expected, "{sql}");
        assert_eq!(transaction, Transaction::Autocommit);
    }
}

#[test]
fn the_last_parameter_is_left_to_the_statement() {
    let mut transaction = Transaction::Autocommit;
    let sql = "UPDATE t SET a = $65534";
    assert!(matches!(
        planned(sql, &mut transaction),
        Plan::Tag(Tag {
            parameter: 65_535,
            ..
        })
    ));
    let sql = "UPDATE t SET a = $65535";
    assert_eq!(planned(sql, &mut transaction), enclosed(sql));
}

#[test]
fn the_tag_has_its_own_parameter_where_more_are_bound_than_used() {
    let statement =
        Statement::new("DELETE FROM t WHERE a = $1", DEFAULT_SQL_BYTES).expect("more than a read");
    let request = Request {
        bound: Some(3),
        ..request(Wanted::Count, Enclosing::Possible)
    };
    let plan = plan(
        &statement,
        &mut Transaction::Autocommit,
        Some(a()),
        &facts(),
        &ContextPolicy::new(),
        request,
    );
    assert!(matches!(plan, Plan::Tag(Tag { parameter: 4, .. })));
}

#[test]
fn nothing_outside_a_scope_or_without_the_right() {
    let denied = Facts {
        denied: true,
        ..Facts::default()
    };
    for sql in ["DELETE FROM t", "TRUNCATE t"] {
        let statement = Statement::new(sql, DEFAULT_SQL_BYTES).expect("more than a read");
        for transaction in [Transaction::Autocommit, open()] {
            for (members, facts) in [(None, facts()), (Some(a()), denied.clone())] {
                let mut transaction = transaction.clone();
                assert_eq!(
                    plan(
                        &statement,
                        &mut transaction,
                        members,
                        &facts,
                        &ContextPolicy::new(),
                        request(Wanted::Count, Enclosing::Possible)
                    ),
                    Plan::Forward
                );
                assert!(!matches!(transaction, Transaction::Open(block) if block.end().is_some()));
            }
        }
    }
}

#[test]
fn where_nothing_can_be_put_around_a_statement() {
    let planned = |sql: &str, wanted| {
        let statement = Statement::new(sql, DEFAULT_SQL_BYTES).expect("more than a read");
        plan(
            &statement,
            &mut Transaction::Autocommit,
            Some(a()),
            &facts(),
            &ContextPolicy::new(),
            request(wanted, Enclosing::Impossible),
        )
    };
    let tagged = planned("DELETE FROM t", Wanted::Count);
    assert!(matches!(tagged, Plan::Tag(_)));
    for sql in ["DELETE FROM ruled", "TRUNCATE t"] {
        assert_eq!(planned(sql, Wanted::Count), Plan::Forward, "{sql}");
    }
    // A tag would give back rows.
    assert_eq!(planned("DELETE FROM t", Wanted::Rows), Plan::Forward);
}

#[test]
fn in_a_transaction_the_message_rides_on_its_end() {
    for sql in [
        "DELETE FROM t",
        "TRUNCATE t",
        "CALL p()",
        "DELETE FROM ruled",
    ] {
        let mut transaction = open();
        assert_eq!(planned(sql, &mut transaction), Plan::Forward);
        let ride = Plan::Precede(guarded(&emit::select(
            Some(A),
            emit::text(sql, DEFAULT_SQL_BYTES).as_deref(),
            When::Wrote,
        )));
        for end in ["COMMIT", "COMMIT AND CHAIN", "PREPARE TRANSACTION 'x'"] {
            assert_eq!(planned(end, &mut transaction), ride, "{end}");
        }
        assert_eq!(planned("ROLLBACK", &mut transaction), Plan::Forward);
    }
    assert_eq!(planned("COMMIT", &mut open()), Plan::Forward);
    assert_eq!(planned("COMMIT", &mut failed()), Plan::Forward);
    assert_eq!(planned("DELETE FROM t", &mut failed()), Plan::Forward);
}

fn batch<'a>(sql: &'a str, transaction: &mut Transaction) -> BatchPlan<'a> {
    plan_batch(
        sql,
        &kinds(sql),
        transaction,
        Some(a()),
        &facts(),
        &ContextPolicy::new(),
    )
}

/// As it is.
fn untouched(sql: &str) -> BatchPlan<'_> {
    BatchPlan {
        before: None,
        sql: sql.into(),
        rides: Rides::Nothing,
    }
}

#[test]
fn batches_that_only_write_get_one_more_statement() {
    for (sql, text) in [
        ("DELETE FROM t", Some("DELETE FROM t")),
        ("DELETE FROM t -- all", Some("DELETE FROM t -- all")),
        ("DELETE FROM t; SELECT 1; TRUNCATE s;", None),
    ] {
        let text = text.and_then(|text| emit::text(text, DEFAULT_SQL_BYTES));
        let message = emit::select(Some(A), text.as_deref(), When::Wrote);
        assert_eq!(
            batch(sql, &mut Transaction::Autocommit),
            BatchPlan {
                before: None,
                sql: format!("{sql}\n;{message}").into(),
                rides: Rides::Behind(sql),
            }
        );
    }
    for sql in [
        "CREATE INDEX CONCURRENTLY i ON t (a)",
        "VACUUM t",
        "SELECT 1",
        "INSERT INTO t VALUES (1); CREATE TABLE s ()",
        "BEGIN; DELETE FROM t; COMMIT",
        "",
    ] {
        assert_eq!(batch(sql, &mut Transaction::Autocommit), untouched(sql));
    }
}

#[test]
fn batches_in_a_transaction() {
    let mut transaction = open();
    let sql = "DELETE FROM t";
    assert_eq!(batch(sql, &mut transaction), untouched(sql));
    let message = guarded(&emit::select(
        Some(A),
        emit::text(sql, DEFAULT_SQL_BYTES).as_deref(),
        When::Wrote,
    ));
    assert_eq!(
        batch("COMMIT", &mut transaction),
        BatchPlan {
            before: None,
            sql: format!("{message};COMMIT").into(),
            rides: Rides::BeforeEnd(format!("{UNGUARD};COMMIT")),
        }
    );
    for mut transaction in [open(), failed()] {
        assert_eq!(batch("COMMIT", &mut transaction), untouched("COMMIT"));
    }
}

#[test]
fn a_batch_with_its_end_inside_is_told_before() {
    let message = emit::select(Some(A), None, When::Always);
    let sql = "DELETE FROM t; COMMIT";
    for mut transaction in [open(), written()] {
        assert_eq!(
            batch(sql, &mut transaction),
            BatchPlan {
                before: Some(guarded(&message)),
                ..untouched(sql)
            }
        );
    }
}
