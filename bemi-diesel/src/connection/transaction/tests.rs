use super::*;

fn n(n: u32) -> String {
    format!("\"n\":{n}")
}

fn members(number: u32) -> MembersJson {
    MembersJson::new(n(number), 0)
}

fn open() -> Transaction {
    let mut transaction = Transaction::Autocommit;
    transaction.apply(&Control::Begin);
    transaction
}

fn block(transaction: &mut Transaction) -> &mut Block {
    match transaction {
        Transaction::Open(block) => block,
        other => panic!("not open: {other:?}"),
    }
}

fn write(transaction: &mut Transaction, members: Members, text: &str) -> Option<String> {
    block(transaction).write(members, Some(&text.into()))
}

fn wrote(members: Option<&str>, text: Option<&str>) -> String {
    emit::select(members, text, When::Wrote)
}

fn always(members: Option<&str>) -> String {
    emit::select(members, None, When::Always)
}

#[test]
fn a_transaction_that_only_reads_needs_no_message() {
    assert_eq!(block(&mut open()).end(), None);
}

#[test]
fn one_text_is_told_and_two_are_not() {
    let mut transaction = open();
    assert_eq!(write(&mut transaction, Some(members(1)), "INSERT"), None);
    assert_eq!(
        block(&mut transaction).end(),
        Some(wrote(Some(&n(1)), Some("INSERT")))
    );
    // The same statement once more.
    assert_eq!(write(&mut transaction, Some(members(1)), "INSERT"), None);
    assert_eq!(
        block(&mut transaction).end(),
        Some(wrote(Some(&n(1)), Some("INSERT")))
    );
    for text in ["DELETE", "INSERT"] {
        assert_eq!(write(&mut transaction, Some(members(1)), text), None);
        assert_eq!(
            block(&mut transaction).end(),
            Some(wrote(Some(&n(1)), None))
        );
    }
}

#[test]
fn a_change_of_context_closes_the_old_one_and_opens_the_new_one() {
    let mut transaction = open();
    write(&mut transaction, Some(members(1)), "INSERT");
    assert_eq!(
        write(&mut transaction, Some(members(2)), "DELETE"),
        Some(format!(
            "{};{}",
            wrote(Some(&n(1)), Some("INSERT")),
            always(Some(&n(2)))
        ))
    );
    assert_eq!(write(&mut transaction, Some(members(2)), "DELETE"), None);
    assert_eq!(write(&mut transaction, None, "DELETE"), Some(always(None)));
    assert_eq!(block(&mut transaction).end(), None);
}

#[test]
fn rows_without_context_keep_none() {
    let mut transaction = open();
    assert_eq!(write(&mut transaction, None, "INSERT"), None);
    assert_eq!(block(&mut transaction).end(), None);
    assert_eq!(
        write(&mut transaction, Some(members(1)), "DELETE"),
        Some(format!(
            "{};{}",
            wrote(None, Some("INSERT")),
            always(Some(&n(1)))
        ))
    );
}

#[test]
fn a_savepoint_takes_its_messages_with_it() {
    let mut transaction = open();
    write(&mut transaction, Some(members(1)), "INSERT");
    transaction.apply(&Control::Savepoint("s".into()));
    assert!(write(&mut transaction, Some(members(2)), "DELETE").is_some());
    transaction.failed();
    assert!(matches!(transaction, Transaction::Failed(_)));
    transaction.apply(&Control::RollbackTo("s".into()));
    assert_eq!(
        block(&mut transaction).end(),
        Some(wrote(Some(&n(1)), Some("INSERT")))
    );
    // The savepoint is still there, and a released one keeps its messages.
    assert!(write(&mut transaction, Some(members(3)), "DELETE").is_some());
    transaction.apply(&Control::Release("s".into()));
    assert_eq!(block(&mut transaction).end(), None);
    transaction.apply(&Control::RollbackTo("s".into()));
    assert_eq!(block(&mut transaction).end(), None);
}

#[test]
fn the_latest_savepoint_of_a_name_counts() {
    let mut transaction = open();
    transaction.apply(&Control::Savepoint("s".into()));
    write(&mut transaction, Some(members(1)), "INSERT");
    transaction.apply(&Control::Savepoint("s".into()));
    transaction.apply(&Control::RollbackTo("s".into()));
    assert!(block(&mut transaction).end().is_some());
    transaction.apply(&Control::Release("s".into()));
    transaction.apply(&Control::RollbackTo("s".into()));
    assert_eq!(block(&mut transaction).end(), None);
}

#[test]
fn a_settled_block_is_told() {
    let mut transaction = open();
    write(&mut transaction, Some(members(1)), "INSERT");
    write(&mut transaction, Some(members(1)), "DELETE");
    assert_eq!(block(&mut transaction).settle(), Some(always(Some(&n(1)))));
    assert_eq!(block(&mut transaction).settle(), None);
    assert_eq!(block(&mut transaction).end(), None);
}

#[test]
fn controls() {
    let failed = || {
        let mut transaction = open();
        transaction.failed();
        transaction
    };
    let name = || "s".to_owned();
    for (from, control, to) in [
        (Transaction::Autocommit, Control::Begin, open()),
        (Transaction::Enclosed, Control::Begin, open()),
        (failed(), Control::Begin, open()),
        (open(), Control::Commit, Transaction::Autocommit),
        (failed(), Control::Commit, Transaction::Autocommit),
        (open(), Control::Prepare, Transaction::Autocommit),
        (open(), Control::Rollback, Transaction::Autocommit),
        (failed(), Control::Rollback, Transaction::Autocommit),
        (open(), Control::CommitAndChain, open()),
        (failed(), Control::RollbackAndChain, open()),
        (
            Transaction::Autocommit,
            Control::CommitAndChain,
            Transaction::Autocommit,
        ),
        (
            Transaction::Autocommit,
            Control::Savepoint(name()),
            Transaction::Autocommit,
        ),
        (failed(), Control::Release(name()), failed()),
        (failed(), Control::RollbackTo(name()), open()),
    ] {
        let mut transaction = from.clone();
        transaction.apply(&control);
        assert_eq!(transaction, to, "{from:?} {control:?}");
    }
    let mut begun = open();
    write(&mut begun, Some(members(1)), "INSERT");
    let mut again = begun.clone();
    again.apply(&Control::Begin);
    assert_eq!(again, begun);
}

#[test]
fn what_goes_well_proves_the_transaction_alive() {
    let mut transaction = open();
    write(&mut transaction, Some(members(1)), "INSERT");
    let before = transaction.clone();
    transaction.failed();
    transaction.succeeded();
    assert_eq!(transaction, before);
    let mut autocommit = Transaction::Autocommit;
    autocommit.failed();
    assert_eq!(autocommit, Transaction::Autocommit);
}
