use super::*;
use crate::connection::statement::kinds;

const A: &str = "\"a\":1";

fn facts(ruled: &[&str]) -> Facts {
    Facts {
        granted: true,
        ruled: ruled.iter().map(|name| (*name).to_owned()).collect(),
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
    let statement = Statement::new(sql).expect("more than a read");
    plan(
        &statement,
        transaction,
        Some(A.into()),
        Some(&facts(&["ruled"])),
        Enclosing::Possible,
    )
}

fn enclosed(sql: &str) -> Plan {
    Plan::Enclose(format!(
        "BEGIN;{}",
        emit::select(Some(A), Some(sql), When::Always)
    ))
}

#[test]
fn autocommit() {
    let tag = |sql: &str, parameter, returning| {
        Plan::Tag(Tag {
            message: message(A, Some(sql), Lead::Row),
            parameter,
            returning,
        })
    };
    for (sql, expected) in [
        ("DELETE FROM t", tag("DELETE FROM t", 1, false)),
        (
            "DELETE FROM t WHERE a = $1 RETURNING a",
            tag("DELETE FROM t WHERE a = $1 RETURNING a", 2, true),
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
fn nothing_outside_a_scope_or_without_the_right() {
    let denied = Facts {
        granted: false,
        ruled: Vec::new(),
    };
    for sql in ["DELETE FROM t", "TRUNCATE t"] {
        let statement = Statement::new(sql).expect("more than a read");
        for transaction in [Transaction::Autocommit, open()] {
            for (members, facts) in [(None, facts(&[])), (Some(A.into()), denied.clone())] {
                let mut transaction = transaction.clone();
                assert_eq!(
                    plan(
                        &statement,
                        &mut transaction,
                        members,
                        Some(&facts),
                        Enclosing::Possible
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
    let planned = |sql: &str, facts: Option<Facts>, enclosing| {
        let statement = Statement::new(sql).expect("more than a read");
        plan(
            &statement,
            &mut Transaction::Autocommit,
            Some(A.into()),
            facts.as_ref(),
            enclosing,
        )
    };
    let unasked = planned("DELETE FROM t", None, Enclosing::Possible);
    assert_eq!(unasked, enclosed("DELETE FROM t"));
    let unasked = planned("DELETE FROM t", None, Enclosing::Impossible);
    assert!(matches!(unasked, Plan::Tag(_)));
    for sql in ["DELETE FROM ruled", "TRUNCATE t"] {
        let plan = planned(sql, Some(facts(&["ruled"])), Enclosing::Impossible);
        assert_eq!(plan, Plan::Forward, "{sql}");
    }
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
        let ride = Plan::Precede(emit::select(Some(A), Some(sql), When::Wrote));
        for end in ["COMMIT", "COMMIT AND CHAIN", "PREPARE TRANSACTION 'x'"] {
            assert_eq!(planned(end, &mut transaction), ride, "{end}");
        }
        assert_eq!(planned("ROLLBACK", &mut transaction), Plan::Forward);
    }
    assert_eq!(planned("COMMIT", &mut open()), Plan::Forward);
    assert_eq!(planned("COMMIT", &mut failed()), Plan::Forward);
    assert_eq!(planned("DELETE FROM t", &mut failed()), Plan::Forward);
}

fn batch(sql: &str, transaction: &mut Transaction) -> (Option<String>, String, bool) {
    let facts = facts(&[]);
    let plan = plan_batch(sql, &kinds(sql), transaction, Some(A.into()), Some(&facts));
    (plan.before, plan.sql.into_owned(), plan.ends)
}

#[test]
fn batches_that_only_write_get_one_more_statement() {
    for (sql, text) in [
        ("DELETE FROM t", Some("DELETE FROM t")),
        ("DELETE FROM t -- all", Some("DELETE FROM t -- all")),
        ("DELETE FROM t; SELECT 1; TRUNCATE s;", None),
    ] {
        let message = emit::select(Some(A), text, When::Wrote);
        assert_eq!(
            batch(sql, &mut Transaction::Autocommit),
            (None, format!("{sql}\n;{message}"), false)
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
        assert_eq!(
            batch(sql, &mut Transaction::Autocommit),
            (None, sql.to_owned(), false)
        );
    }
}

#[test]
fn batches_in_a_transaction() {
    let mut transaction = open();
    assert_eq!(
        batch("DELETE FROM t", &mut transaction),
        (None, "DELETE FROM t".to_owned(), false)
    );
    let message = emit::select(Some(A), Some("DELETE FROM t"), When::Wrote);
    assert_eq!(
        batch("COMMIT", &mut transaction),
        (None, format!("{message};COMMIT"), true)
    );
    assert_eq!(
        batch("COMMIT", &mut open()),
        (None, "COMMIT".to_owned(), false)
    );
    assert_eq!(
        batch("COMMIT", &mut failed()),
        (None, "COMMIT".to_owned(), false)
    );
}

#[test]
fn a_batch_with_its_end_inside_is_told_before() {
    let message = emit::select(Some(A), None, When::Always);
    let sql = "DELETE FROM t; COMMIT";
    for mut transaction in [open(), written()] {
        assert_eq!(
            batch(sql, &mut transaction),
            (Some(message.clone()), sql.to_owned(), false)
        );
    }
}
