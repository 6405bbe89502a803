use std::collections::BTreeSet;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::MAX_MESSAGE_BYTES;
use crate::pgoutput::wire::{self, Cell, t};
use crate::pgoutput::{decode, timestamp};
use crate::recorded;

/// A table with the columns `id int, name text`.
const TABLE: u32 = 16384;
/// One that is not tracked.
const OTHER: u32 = 16385;

fn now() -> DateTime<Utc> {
    timestamp(1_000_000).expect("in range")
}

fn stitcher() -> Stitcher {
    let mut stitcher = Stitcher::new(42, "shop".into(), Rules::default());
    let columns = &[(true, "id", 23), (false, "name", 25)];
    for (oid, tracked) in [(TABLE, true), (OTHER, false)] {
        let description = Description {
            tracked,
            primary_key: vec!["id".to_owned()],
            ..Description::default()
        };
        describe(
            &mut stitcher,
            wire::relation(oid, "public", "t", b'd', columns),
            description,
        );
    }
    stitcher
}

fn describe(stitcher: &mut Stitcher, relation: Bytes, description: Description) {
    let frame = relation.clone();
    match decode(relation) {
        Ok(Message::Relation(relation)) => {
            stitcher.describe(relation, Some(&frame), description);
        }
        other => panic!("{other:?}"),
    }
}

fn push(
    stitcher: &mut Stitcher,
    position: u64,
    frame: Bytes,
) -> Result<Option<Transaction>, StitchError> {
    let message = decode(frame).expect("a message");
    stitcher.push(message, Lsn::new(position), now())
}

/// The transaction of the frames between a begin and a commit.
fn transaction(stitcher: &mut Stitcher, frames: impl IntoIterator<Item = Bytes>) -> Transaction {
    let frames = std::iter::once(wire::begin(0x100, 7, 3)).chain(frames);
    for (position, frame) in (0x10..).zip(frames) {
        assert_eq!(push(stitcher, position, frame), Ok(None));
        assert!(!stitcher.is_idle());
    }
    let transaction = push(stitcher, 0x100, wire::commit(0x100, 0x130, 7));
    assert!(stitcher.is_idle());
    transaction
        .expect("in order")
        .expect("a commit ends a transaction")
}

fn row(id: &str) -> Bytes {
    wire::insert(TABLE, &[t(id), Cell::Null])
}

fn context(json: &str) -> Bytes {
    wire::message(true, 1, "_bemi", json.as_bytes())
}

fn lead(json: &str) -> Bytes {
    let members = json.strip_suffix('}').expect("an object");
    let comma = if members == "{" { "" } else { "," };
    context(&format!(r#"{members}{comma}"_bemi":{{"lead":true}}}}"#))
}

fn contexts(transaction: &Transaction) -> Vec<&str> {
    transaction
        .changes
        .iter()
        .map(|change| change.context.as_str())
        .collect()
}

fn covered(frames: impl IntoIterator<Item = Bytes>) -> Vec<String> {
    let transaction = transaction(&mut stitcher(), frames);
    assert_eq!(transaction.rejected, []);
    contexts(&transaction)
        .into_iter()
        .map(str::to_owned)
        .collect()
}

#[test]
fn a_change_has_everything() {
    let transaction = transaction(
        &mut stitcher(),
        [
            context(r#"{"user": 7}"#),
            wire::insert(TABLE, &[t("1"), t("a")]),
            wire::truncate(&[TABLE], 0),
        ],
    );
    let committed_at = timestamp(7).expect("in range");
    assert_eq!(transaction.xid, Xid::new(3));
    assert_eq!(transaction.commit_lsn, Lsn::new(0x100));
    assert_eq!(transaction.end_lsn, Lsn::new(0x130));
    assert_eq!(transaction.committed_at, committed_at);
    let change = Change {
        id: Change::identifier(42, Lsn::new(0x100), 0, committed_at),
        source: 42,
        database: "shop".into(),
        schema: "public".into(),
        table: "t".into(),
        primary_key: Some("1".to_owned()),
        previous_key: None,
        operation: Operation::Create,
        before: JsonObject::empty(),
        after: r#"{"id":1,"name":"a"}"#.parse().expect("an object"),
        context: r#"{"user":7}"#.parse().expect("an object"),
        committed_at,
        queued_at: now(),
        created_at: None,
        transaction_id: Xid::new(3),
        position: Lsn::new(0x12),
        commit_lsn: Lsn::new(0x100),
        ordinal: 0,
    };
    let truncate = Change {
        id: Change::identifier(42, Lsn::new(0x100), 1, committed_at),
        primary_key: None,
        operation: Operation::Truncate,
        after: JsonObject::empty(),
        position: Lsn::new(0x13),
        ordinal: 1,
        ..change.clone()
    };
    assert_eq!(transaction.changes, [change, truncate]);
}

#[test]
fn a_row_takes_the_latest_message_before_it_or_else_the_first_after_it() {
    let (a, b) = (r#"{"m":"a"}"#, r#"{"m":"b"}"#);
    assert_eq!(covered([row("1")]), ["{}"]);
    assert_eq!(covered([context(a)]), [""; 0]);
    assert_eq!(covered([context(a), row("1"), row("2")]), [a, a]);
    assert_eq!(covered([row("1"), row("2"), context(a)]), [a, a]);
    assert_eq!(
        covered([row("1"), context(a), row("2"), context(b), row("3")]),
        [a, a, b]
    );
    assert_eq!(covered([row("1"), context(a), context(b)]), [a]);
    assert_eq!(covered([context(a), context(b), row("1")]), [b]);
    assert_eq!(covered([context(a), context("{}"), row("1")]), ["{}"]);
    assert_eq!(covered([row("1"), context("{}"), context(a)]), ["{}"]);
}

#[test]
fn a_leading_message_also_covers_the_one_row_immediately_before_it() {
    let (a, b) = (r#"{"m":"a"}"#, r#"{"m":"b"}"#);
    let rows = || [row("1"), row("2")];
    let then = |frames: &[Bytes]| covered([&rows()[..], frames].concat());
    assert_eq!(then(&[lead(a), row("3")]), [a, a, a]);
    assert_eq!(
        then(&[context(a), row("3"), row("4"), lead(b), row("5")]),
        [a, a, a, b, b]
    );
    assert_eq!(
        covered([row("1"), lead(a), row("2"), lead(b), row("3"), lead("{}")]),
        [a, b, "{}"]
    );
    // Without the hint the row before keeps its own, whatever else the hint says.
    for hint in ["{}", "[]", "true", r#"{"lead":false}"#, r#"{"lead":1}"#] {
        let message = context(&format!(r#"{{"m":"b","_bemi":{hint}}}"#));
        assert_eq!(covered([context(a), row("1"), message, row("2")]), [a, b]);
    }
}

#[test]
fn what_stands_between_ends_the_reach_of_a_leading_message() {
    let (a, b) = (r#"{"m":"a"}"#, r#"{"m":"b"}"#);
    // The row that emitted `b` is of a table that is not published.
    assert_eq!(covered([row("1"), lead(a), lead(b), row("2")]), [a, b]);
    // It is of a table that is not tracked.
    let untracked = wire::insert(OTHER, &[t("1"), Cell::Null]);
    assert_eq!(
        covered([context(a), row("1"), untracked, lead(b), row("2")]),
        [a, b]
    );
    // TRUNCATE emits no message.
    assert_eq!(
        covered([context(a), wire::truncate(&[TABLE], 0), lead(b)]),
        [a]
    );
    assert_eq!(covered([wire::truncate(&[TABLE], 0), lead(b)]), [b]);
    let rejected = transaction(
        &mut stitcher(),
        [context(a), row("1"), context("[]"), lead(b)],
    );
    assert_eq!(contexts(&rejected), [a]);
    // Other people's messages do not stand between.
    assert_eq!(
        covered([
            context(a),
            row("1"),
            wire::message(true, 1, "other", b"x"),
            wire::message(false, 1, "_bemi", b"{}"),
            lead(b)
        ]),
        [b]
    );
}

/// What the server sends when row and message are of two subtransactions: where the message ends, the
/// row begins.
#[test]
fn rows_that_begin_where_a_message_ends_come_after_it() {
    let (a, b) = (r#"{"m":"a"}"#, r#"{"m":"b"}"#);
    let message = |json: &str, lsn| wire::message(true, lsn, "_bemi", json.as_bytes());
    let lead = |lsn| message(r#"{"m":"b","_bemi":{"lead":true}}"#, lsn);
    let untracked = || wire::insert(OTHER, &[t("1"), Cell::Null]);
    let covered = |frames: Vec<(u64, Bytes)>| {
        let mut stitcher = stitcher();
        assert_eq!(push(&mut stitcher, 1, wire::begin(0x100, 7, 3)), Ok(None));
        for (position, frame) in frames {
            assert_eq!(push(&mut stitcher, position, frame), Ok(None));
        }
        let transaction = push(&mut stitcher, 0x100, wire::commit(0x100, 0x130, 7));
        let transaction = transaction.expect("in order").expect("a transaction");
        let contexts = contexts(&transaction).into_iter().map(str::to_owned);
        contexts.collect::<Vec<_>>()
    };
    let first = || vec![(0x10, message(a, 0x20)), (0x20, row("1"))];
    let then = |frames: &[(u64, Bytes)]| covered([&first(), frames].concat());
    // Each of the two orders.
    assert_eq!(then(&[(0x40, row("2")), (0x40, message(b, 0x40))]), [a, b]);
    assert_eq!(then(&[(0x40, message(b, 0x40)), (0x40, row("2"))]), [a, b]);
    // The rows of one record.
    assert_eq!(
        then(&[
            (0x30, row("2")),
            (0x40, row("3")),
            (0x40, row("4")),
            (0x40, message(b, 0x40)),
            (0x40, row("5"))
        ]),
        [a, a, b, b, b]
    );
    // A leading message covers the row before it in the log, and the rows that follow.
    assert_eq!(
        then(&[(0x30, row("2")), (0x40, row("3")), (0x40, lead(0x40))]),
        [a, b, b]
    );
    assert_eq!(
        then(&[(0x30, row("2")), (0x40, untracked()), (0x40, lead(0x40))]),
        [a, b]
    );
    assert_eq!(
        then(&[(0x30, untracked()), (0x40, row("2")), (0x40, lead(0x40))]),
        [a, b]
    );
    // What was sent too early is a row before the next message all the same.
    assert_eq!(
        then(&[
            (0x40, row("2")),
            (0x40, message(a, 0x40)),
            (0x50, lead(0x50))
        ]),
        [a, b]
    );
    // Without any context before, the first one covers them all.
    assert_eq!(
        covered(vec![
            (0x30, row("1")),
            (0x40, row("2")),
            (0x40, message(b, 0x40))
        ]),
        [b, b]
    );
}

#[test]
fn contexts_do_not_leave_their_transaction() {
    let mut stitcher = stitcher();
    assert_eq!(
        contexts(&transaction(
            &mut stitcher,
            [context(r#"{"m":1}"#), row("1")]
        )),
        [r#"{"m":1}"#]
    );
    assert_eq!(contexts(&transaction(&mut stitcher, [row("1")])), ["{}"]);
}

#[test]
fn messages_of_others_carry_no_context() {
    let mut stitcher = stitcher();
    let foreign = || {
        [
            wire::message(false, 1, "_bemi", br#"{"m":1}"#),
            wire::message(true, 1, "_bemi_heartbeat", br#"{"m":1}"#),
            wire::message(true, 1, "_bemi ", br#"{"m":1}"#),
            wire::message(true, 1, "_BEMI", br#"{"m":1}"#),
        ]
    };
    let inside = transaction(&mut stitcher, foreign().into_iter().chain([row("1")]));
    assert_eq!(contexts(&inside), ["{}"]);
    assert_eq!(inside.rejected, []);
    for message in foreign() {
        assert_eq!(push(&mut stitcher, 1, message), Ok(None));
        assert!(stitcher.is_idle());
    }
}

#[test]
fn a_context_is_stored_as_it_was_sent_but_for_the_hints() {
    for (sent, stored) in [
        ("{}", "{}"),
        (" {\n} ", "{}"),
        (
            r#"{"n": 12345678901234567890.10, "e": 1E-7, "o": { "_bemi": [1 , 2] }}"#,
            r#"{"e":1E-7,"n":12345678901234567890.10,"o":{ "_bemi": [1 , 2] }}"#,
        ),
        (r#"{"_bemi":{"lead":true},"a":1}"#, r#"{"a":1}"#),
        (r#"{"a":1,"\u005fbemi":7}"#, r#"{"a":1}"#),
        (r#"{"a":1,"b":2,"a":3}"#, r#"{"a":3,"b":2}"#),
        (r#"{"k\"\n":"\u0041"}"#, r#"{"k\"\n":"\u0041"}"#),
        (
            r#"{"\u0000":"\u0000","\ud800":1e999999}"#,
            r#"{"\\u0000":"\\u0000","\\ud800":"1e999999"}"#,
        ),
        (r#"{"x":"*/ Bemi*/ '"}"#, r#"{"x":"*/ Bemi*/ '"}"#),
    ] {
        assert_eq!(covered([context(sent), row("1")]), [stored], "{sent}");
    }
}

#[test]
fn what_is_no_context_is_counted_and_attached_to_nothing() {
    let long = |bytes: usize| format!(r#"{{"a":"{}"}}"#, "x".repeat(bytes - 8));
    let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(6_000), "]".repeat(6_000));
    for (content, reason) in [
        (&b""[..], RejectReason::NotAnObject),
        (b"user 7", RejectReason::NotAnObject),
        (b"[]", RejectReason::NotAnObject),
        (b"null", RejectReason::NotAnObject),
        (b"{}{}", RejectReason::NotAnObject),
        (br#"{"a":1,}"#, RejectReason::NotAnObject),
        (b"{\0}", RejectReason::NotAnObject),
        (b"\xEF\xBB\xBF{}", RejectReason::NotAnObject),
        (b"{\"a\":\"caf\xE9\"}", RejectReason::NotUtf8),
        (deep.as_bytes(), RejectReason::TooDeep),
        (
            long(MAX_MESSAGE_BYTES + 1).as_bytes(),
            RejectReason::TooLarge,
        ),
    ] {
        let transaction = transaction(
            &mut stitcher(),
            [
                row("1"),
                wire::message(true, 0x77, "_bemi", content),
                row("2"),
                context(r#"{"m":1}"#),
                wire::message(true, 0x78, "_bemi", content),
                row("3"),
            ],
        );
        assert_eq!(contexts(&transaction), [r#"{"m":1}"#; 3], "{reason}");
        let rejected = |lsn| RejectedContext {
            lsn: Lsn::new(lsn),
            reason,
        };
        assert_eq!(transaction.rejected, [rejected(0x77), rejected(0x78)]);
    }
    let longest = long(MAX_MESSAGE_BYTES);
    assert_eq!(covered([context(&longest), row("1")]), [longest]);
}

/// `key`: the primary key; `columns`: see [`wire::relation`].
fn wide(identity: u8, key: &[&str], columns: &[(bool, &str, u32)]) -> Stitcher {
    let mut stitcher = Stitcher::new(42, "shop".into(), Rules::default());
    describe(
        &mut stitcher,
        wire::relation(TABLE, "public", "t", identity, columns),
        Description {
            primary_key: key.iter().map(|name| (*name).to_owned()).collect(),
            ..Description::default()
        },
    );
    stitcher
}

/// Primary key, before and after of the only change.
fn images(stitcher: &mut Stitcher, frame: Bytes) -> (Option<String>, String, String) {
    let mut transaction = transaction(stitcher, [frame]);
    let change = transaction.changes.pop().expect("a change");
    assert_eq!(transaction.changes, []);
    (
        change.primary_key,
        change.before.as_str().to_owned(),
        change.after.as_str().to_owned(),
    )
}

fn expected(key: Option<&str>, before: &str, after: &str) -> (Option<String>, String, String) {
    (key.map(str::to_owned), before.to_owned(), after.to_owned())
}

#[test]
fn images_under_full_identity() {
    let columns = [(true, "id", 23), (true, "big", 25), (true, "x\"", 16)];
    let mut stitcher = wide(b'f', &["id"], &columns);
    let old = [t("1"), t("toast"), Cell::Null];
    assert_eq!(
        images(
            &mut stitcher,
            wire::update(
                TABLE,
                Some((b'O', &old)),
                &[t("2"), Cell::Unchanged, t("t")]
            )
        ),
        expected(
            Some("2"),
            r#"{"id":1,"big":"toast","x\"":null}"#,
            r#"{"id":2,"big":"toast","x\"":true}"#
        )
    );
    assert_eq!(
        images(&mut stitcher, wire::delete(TABLE, b'O', &old)),
        expected(Some("1"), r#"{"id":1,"big":"toast","x\"":null}"#, "{}")
    );
}

#[test]
fn images_under_another_identity() {
    let columns = [(true, "id", 23), (false, "big", 25), (true, "k", 25)];
    let mut stitcher = wide(b'i', &["id"], &columns);
    let new = [t("1"), Cell::Unchanged, t("k")];
    let key = [t("1"), Cell::Null, t("j")];
    assert_eq!(
        images(&mut stitcher, wire::update(TABLE, None, &new)),
        expected(Some("1"), "{}", r#"{"id":1,"k":"k"}"#)
    );
    assert_eq!(
        images(&mut stitcher, wire::update(TABLE, Some((b'K', &key)), &new)),
        expected(Some("1"), r#"{"id":1,"k":"j"}"#, r#"{"id":1,"k":"k"}"#)
    );
    // A key that is itself stored apart comes with the old key.
    assert_eq!(
        images(
            &mut stitcher,
            wire::update(
                TABLE,
                Some((b'K', &key)),
                &[Cell::Unchanged, t("b"), Cell::Unchanged]
            )
        ),
        expected(
            Some("1"),
            r#"{"id":1,"k":"j"}"#,
            r#"{"id":1,"big":"b","k":"j"}"#
        )
    );
    assert_eq!(
        images(&mut stitcher, wire::delete(TABLE, b'K', &key)),
        expected(Some("1"), r#"{"id":1,"k":"j"}"#, "{}")
    );
}

#[test]
fn primary_keys() {
    let columns = [(true, "a", 23), (true, "b", 25), (false, "at", 1184)];
    let row = [t("1"), t("x\"y"), t("2020-01-01 00:00:00+00")];
    let key = |names: &[&str], frame| images(&mut wide(b'd', names, &columns), frame).0;
    let insert = || wire::insert(TABLE, &row);
    assert_eq!(key(&[], insert()), None);
    assert_eq!(key(&["b"], insert()).as_deref(), Some("x\"y"));
    assert_eq!(
        key(&["at"], insert()).as_deref(),
        Some("2020-01-01 00:00:00+00"),
        "the text of the value, not its JSON"
    );
    assert_eq!(
        key(&["b", "a"], insert()).as_deref(),
        Some(r#"["x\"y","1"]"#),
        "in the order of the key"
    );
    assert_eq!(
        key(&["a", "unpublished"], insert()),
        None,
        "a part of the key is no key"
    );
    assert_eq!(
        key(&["at"], wire::delete(TABLE, b'K', &row)),
        None,
        "the identity does not bring the key"
    );
    assert_eq!(
        key(&["a", "b"], wire::delete(TABLE, b'K', &row)).as_deref(),
        Some(r#"["1","x\"y"]"#)
    );
    assert_eq!(key(&["a"], wire::truncate(&[TABLE], 0)), None);
}

#[test]
fn an_update_of_the_key_keeps_both() {
    let columns = [(true, "a", 23), (true, "b", 25)];
    let old = [t("1"), t("x")];
    let keys = |names: &[&str], old, new: [Cell<'_>; 2]| {
        let frame = wire::update(TABLE, old, &new);
        let mut transaction = transaction(&mut wide(b'f', names, &columns), [frame]);
        let change = transaction.changes.pop().expect("a change");
        (change.primary_key, change.previous_key)
    };
    let some = |text: &str| Some(text.to_owned());
    let full = Some((b'O', &old[..]));
    assert_eq!(keys(&["a"], full, [t("2"), t("x")]), (some("2"), some("1")));
    assert_eq!(keys(&["a"], full, [t("1"), t("y")]), (some("1"), None));
    assert_eq!(keys(&["a"], None, [t("1"), t("y")]), (some("1"), None));
    assert_eq!(
        keys(&["a", "b"], full, [t("1"), t("y")]),
        (some(r#"["1","y"]"#), some(r#"["1","x"]"#))
    );
    assert_eq!(keys(&[], full, [t("2"), t("x")]), (None, None));
}

#[test]
fn types_beyond_the_built_in_ones_come_from_the_description() {
    let mut stitcher = Stitcher::new(42, "shop".into(), Rules::default());
    let columns = [(false, "ids", 90001), (false, "mood", 90002)];
    describe(
        &mut stitcher,
        wire::relation(TABLE, "public", "t", b'd', &columns),
        Description {
            types: HashMap::from([(
                90001,
                ColumnType::array(crate::value::builtin(20).expect("int8"), ','),
            )]),
            ..Description::default()
        },
    );
    assert_eq!(
        images(&mut stitcher, wire::insert(TABLE, &[t("{1,2}"), t("ok")])),
        expected(None, "{}", r#"{"ids":[1,2],"mood":"ok"}"#)
    );
}

#[test]
fn an_altered_table_is_described_again() {
    let mut stitcher = stitcher();
    let added = wire::relation(TABLE, "public", "u", b'd', &[(false, "z", 23)]);
    let frames = [row("1"), added, wire::insert(TABLE, &[t("5")])];
    let transaction = transaction(&mut stitcher, frames);
    let rows: Vec<_> = transaction
        .changes
        .iter()
        .map(|change| (&*change.table, change.after.as_str()))
        .collect();
    assert_eq!(
        rows,
        [("t", r#"{"id":1,"name":null}"#), ("u", r#"{"z":5}"#)]
    );
}

/// A stitcher with the rules and one table `orders` of four columns.
fn ruled(identity: u8, ignore: &[&str], keep_unchanged: bool) -> Stitcher {
    let pattern = |text: &&str| ColumnPattern::new(text).expect("a pattern");
    let rules = Rules {
        ignore: ignore.iter().map(pattern).collect(),
        keep_unchanged,
    };
    let mut stitcher = Stitcher::new(42, "shop".into(), rules);
    let columns = [
        (true, "id", 23),
        (true, "total", 1700),
        (true, "big", 25),
        (true, "updated_at", 25),
    ];
    let relation = wire::relation(TABLE, "public", "orders", identity, &columns);
    describe(&mut stitcher, relation, Description::default());
    stitcher
}

#[test]
fn updates_that_change_nothing_make_no_entry() {
    use Operation::{Create, Delete, Update};
    let old = [t("1"), t("1.0"), t("toast"), Cell::Null];
    let to = |new: [Cell<'_>; 4]| wire::update(TABLE, Some((b'O', &old)), &new);
    let same = to([t("1"), t("1.0"), Cell::Unchanged, Cell::Null]);
    let written_again = to(old);
    let digit = to([t("1"), t("1.00"), Cell::Unchanged, Cell::Null]);
    let empty = to([t("1"), t("1.0"), Cell::Unchanged, t("")]);
    let frames = || {
        [
            row_of(&old),
            same.clone(),
            digit.clone(),
            written_again.clone(),
            empty.clone(),
            wire::delete(TABLE, b'O', &old),
        ]
    };
    let ordinals = |stitcher: &mut Stitcher| -> Vec<(Operation, u64)> {
        let changes = transaction(stitcher, frames()).changes;
        for change in &changes {
            let id = Change::identifier(42, Lsn::new(0x100), change.ordinal, change.committed_at);
            assert_eq!(change.id, id);
        }
        let kept = changes.iter();
        kept.map(|change| (change.operation, change.ordinal))
            .collect()
    };
    assert_eq!(
        ordinals(&mut ruled(b'f', &[], false)),
        [(Create, 0), (Update, 2), (Update, 4), (Delete, 5)],
        "the ordinals are those of the log"
    );
    assert_eq!(
        ordinals(&mut ruled(b'f', &[], true)),
        [
            (Create, 0),
            (Update, 1),
            (Update, 2),
            (Update, 3),
            (Update, 4),
            (Delete, 5)
        ]
    );
    assert_eq!(
        ordinals(&mut ruled(b'f', &["*"], true)),
        [(Create, 0), (Update, 1), (Update, 3), (Delete, 5)],
        "what is kept is what changed nothing, not what changed ignored columns"
    );
}

#[test]
fn a_change_of_only_ignored_columns_makes_no_entry() {
    let old = [t("1"), t("1.0"), t("toast"), t("monday")];
    let to = |new: [Cell<'_>; 4]| wire::update(TABLE, Some((b'O', &old)), &new);
    let touched = to([t("1"), t("1.0"), Cell::Unchanged, t("sunday")]);
    let paid = to([t("1"), t("2.0"), Cell::Unchanged, t("sunday")]);
    for (ignore, touched_kept) in [
        (&["*.updated_at"][..], false),
        (&["orders.updated_*", "total"], false),
        (&["items.updated_at", "big"], true),
        (&[], true),
    ] {
        let mut stitcher = ruled(b'f', ignore, false);
        let kept = transaction(&mut stitcher, [touched.clone()]).changes.len();
        assert_eq!(kept, usize::from(touched_kept), "{ignore:?}");
    }
    assert_eq!(
        images(&mut ruled(b'f', &["*.updated_at"], false), paid).2,
        r#"{"id":1,"total":2.0,"big":"toast","updated_at":"sunday"}"#,
        "beside another change it is told like every column"
    );
}

#[test]
fn what_the_log_does_not_tell_is_kept() {
    let row = [t("1"), t("1.0"), t("toast"), Cell::Null];
    let changed_key = wire::update(TABLE, Some((b'K', &row)), &row);
    for frame in [wire::update(TABLE, None, &row), changed_key] {
        let mut stitcher = ruled(b'd', &["*"], false);
        assert_eq!(transaction(&mut stitcher, [frame]).changes.len(), 1);
    }
}

#[test]
fn a_leading_message_of_a_row_that_is_left_out_covers_no_row_before_it() {
    let (a, b) = (r#"{"m":"a"}"#, r#"{"m":"b"}"#);
    let old = [t("1"), t("1.0"), t("toast"), Cell::Null];
    let same = wire::update(TABLE, Some((b'O', &old)), &old);
    let frames = [context(a), row_of(&old), same, lead(b), row_of(&old)];
    let transaction = transaction(&mut ruled(b'f', &[], false), frames);
    assert_eq!(contexts(&transaction), [a, b]);
}

#[test]
fn an_update_of_another_width_is_an_error_whatever_the_rules() {
    let mut stitcher = ruled(b'f', &["*"], false);
    assert_eq!(push(&mut stitcher, 1, wire::begin(0x100, 7, 3)), Ok(None));
    let old = [t("1")];
    assert_eq!(
        push(
            &mut stitcher,
            2,
            wire::update(TABLE, Some((b'O', &old)), &old)
        ),
        Err(StitchError::ColumnCount {
            expected: 4,
            found: 1
        })
    );
}

fn row_of(cells: &[Cell<'_>]) -> Bytes {
    wire::insert(TABLE, cells)
}

#[test]
fn truncating_several_tables_is_a_change_of_each() {
    let mut stitcher = stitcher();
    describe(
        &mut stitcher,
        wire::relation(7, "s", "second", b'd', &[]),
        Description::default(),
    );
    let transaction = transaction(
        &mut stitcher,
        [wire::truncate(&[TABLE, OTHER, 7], 1), context(r#"{"m":1}"#)],
    );
    let truncated: Vec<_> = transaction
        .changes
        .iter()
        .map(|change| (&*change.table, change.ordinal, change.context.as_str()))
        .collect();
    assert_eq!(
        truncated,
        [("t", 0, r#"{"m":1}"#), ("second", 1, r#"{"m":1}"#)]
    );
}

#[test]
fn a_stream_out_of_order_is_an_error() {
    let begin = || wire::begin(0x100, 7, 3);
    let cases = [
        (vec![row("1")], StitchError::NoTransaction),
        (vec![context("{}")], StitchError::NoTransaction),
        (
            vec![wire::commit(0x100, 0x130, 7)],
            StitchError::NoTransaction,
        ),
        (vec![begin(), begin()], StitchError::NestedTransaction),
        (
            vec![begin(), wire::commit(0x101, 0x130, 7)],
            StitchError::OtherCommit,
        ),
        (
            vec![begin(), wire::truncate(&[TABLE, 9], 0)],
            StitchError::UnknownRelation(RelationId(9)),
        ),
        (
            vec![begin(), wire::insert(TABLE, &[t("secret")])],
            StitchError::ColumnCount {
                expected: 2,
                found: 1,
            },
        ),
        (
            vec![begin(), wire::delete(TABLE, b'K', &[Cell::Null; 3])],
            StitchError::ColumnCount {
                expected: 2,
                found: 3,
            },
        ),
    ];
    for (mut frames, error) in cases {
        let mut stitcher = stitcher();
        let last = frames.pop().expect("not empty");
        for frame in frames {
            assert_eq!(push(&mut stitcher, 1, frame), Ok(None));
        }
        assert_eq!(push(&mut stitcher, 1, last), Err(error), "{error}");
    }
}

/// Every change of a recording, its context included.
fn trail(recording: &str) -> (Vec<String>, Vec<RejectReason>) {
    let mut stitcher = Stitcher::new(42, "shop".into(), Rules::default());
    let (mut trail, mut rejected) = (Vec::new(), Vec::new());
    for (position, frame) in recorded::frames(recording) {
        let pushed = match decode(frame).expect("a message") {
            Message::Relation(relation) => {
                let description = recorded::describe(&relation);
                stitcher.describe(relation, None, description);
                continue;
            }
            message => stitcher.push(message, position, now()).expect("in order"),
        };
        let Some(transaction) = pushed else { continue };
        rejected.extend(transaction.rejected.iter().map(|context| context.reason));
        trail.extend(transaction.changes.iter().map(|change| {
            format!(
                "{} {} {} {} {} {}",
                change.operation,
                change.table,
                change.primary_key.as_deref().unwrap_or("-"),
                change.before.as_str(),
                change.after.as_str(),
                change.context.as_str()
            )
            .replace(&"x".repeat(2100), "x…")
            .replace(&"y".repeat(2100), "y…")
        }));
    }
    assert!(stitcher.is_idle());
    (trail, rejected)
}

/// What PostgreSQL 14 to 18 send for `recorded/workload.sql`.
#[test]
fn recorded_streams_give_the_changes_that_were_made() {
    let expected: Vec<&str> = include_str!("../../recorded/changes.txt").lines().collect();
    for (major, recording) in recorded::RECORDINGS {
        let (trail, rejected) = trail(recording);
        assert_eq!(trail, expected, "PostgreSQL {major}");
        assert_eq!(rejected, [RejectReason::NotAnObject], "PostgreSQL {major}");
    }
}

#[test]
fn recorded_streams_have_every_message() {
    for (major, recording) in recorded::RECORDINGS {
        let tags = recorded::frames(recording).map(|(_, frame)| char::from(frame[0]));
        let tags: BTreeSet<char> = tags.collect();
        assert_eq!(String::from_iter(tags), "BCDIMORTUY", "PostgreSQL {major}");
    }
}

/// What stands at a position of the log: a row (of a table that is tracked or not), or a message that ends
/// there (a context, a leading one, one that is rejected).
#[derive(Clone, Copy, Debug)]
enum Record {
    Row(u32),
    Message(u32, bool),
    Garbage,
}

fn log() -> impl Strategy<Value = Vec<(u64, Record)>> {
    let record = prop_oneof![
        4 => Just(Record::Row(TABLE)),
        1 => Just(Record::Row(OTHER)),
        2 => (0..3_u32, any::<bool>()).prop_map(|(user, lead)| Record::Message(user, lead)),
        1 => Just(Record::Garbage),
    ];
    prop::collection::vec((0..2_u64, record), 1..40)
}

/// The whole transaction, its parts put together again; `take` says after which records one is asked for, and
/// `damaged` which rows cannot be read.
fn read_in_parts(
    log: &[(u64, Record)],
    take: impl Fn(usize) -> bool,
    damaged: impl Fn(usize) -> bool,
) -> Transaction {
    let mut stitcher = stitcher();
    let (mut changes, mut unreadable, mut rejected) = (Vec::new(), Vec::new(), Vec::new());
    assert_eq!(push(&mut stitcher, 1, wire::begin(0x100, 7, 3)), Ok(None));
    let mut position = 0x10;
    for (index, (step, record)) in log.iter().enumerate() {
        position += step;
        let frame = match record {
            Record::Row(table) => wire::insert(*table, &[t(&index.to_string()), Cell::Null]),
            Record::Message(user, lead) => {
                let json = format!(r#"{{"user":{user},"_bemi":{{"lead":{lead}}}}}"#);
                wire::message(true, position, "_bemi", json.as_bytes())
            }
            Record::Garbage => wire::message(true, position, "_bemi", b"garbage"),
        };
        if matches!(record, Record::Row(_)) && damaged(index) {
            let set_aside = stitcher.put_aside(&frame, "damaged", Lsn::new(position), now());
            assert_eq!(set_aside, Ok(()));
        } else {
            assert_eq!(push(&mut stitcher, position, frame), Ok(None));
        }
        if take(index)
            && let Some(part) = stitcher.take_part(1, usize::MAX)
        {
            assert_eq!(part.commit_lsn, Lsn::new(0x100));
            assert!(!part.changes.is_empty() || !part.unreadable.is_empty());
            changes.extend(part.changes);
            unreadable.extend(part.unreadable);
            rejected.extend(part.rejected);
        }
    }
    let committed = push(&mut stitcher, 0x100, wire::commit(0x100, 0x130, 7));
    let mut transaction = committed.expect("in order").expect("a transaction");
    let earlier = (changes.len() + unreadable.len()) as u64;
    assert_eq!(transaction.earlier, earlier);
    let last = (transaction.changes.len() + transaction.unreadable.len()) as u64;
    assert_eq!(transaction.count(), earlier + last);
    if let Some(late) = transaction.late_context.take() {
        let aside = unreadable.iter_mut().map(|aside| &mut aside.change);
        for change in changes.iter_mut().chain(aside) {
            if change.ordinal < late.before {
                change.context = late.context.clone();
            }
        }
    }
    transaction.earlier = 0;
    transaction.changes.splice(..0, changes);
    transaction.unreadable.splice(..0, unreadable);
    transaction.rejected.splice(..0, rejected);
    transaction
}

#[test]
fn a_part_is_taken_when_there_is_enough() {
    let mut stitcher = stitcher();
    assert_eq!(stitcher.take_part(0, 0), None, "no transaction is open");
    let mut frames = vec![wire::begin(0x100, 7, 3)];
    frames.extend((0..4).map(|id| row(&id.to_string())));
    for (position, frame) in (0x10..).zip(frames) {
        assert_eq!(push(&mut stitcher, position, frame), Ok(None));
    }
    let row_size = r#"{}{"id":0,"name":null}{}"#.len();
    assert_eq!(stitcher.take_part(5, 4 * row_size + 1), None);
    let part = stitcher.take_part(5, 4 * row_size).expect("a part");
    let ordinals: Vec<u64> = part.changes.iter().map(|change| change.ordinal).collect();
    // The last row could be covered by a message that is told to stand before it, the one before by a
    // leading one.
    assert_eq!(ordinals, [0, 1]);
    assert_eq!(
        stitcher.take_part(2, usize::MAX),
        None,
        "nothing more is settled"
    );
}

proptest! {
    #[test]
    fn parts_make_the_whole(log in log(), asked in prop::collection::vec(any::<bool>(), 40)) {
        let none = |_| false;
        let whole = read_in_parts(&log, none, none);
        prop_assert_eq!(&read_in_parts(&log, |index| asked[index], none), &whole);
        prop_assert_eq!(&read_in_parts(&log, |_| true, none), &whole);
    }

    #[test]
    fn what_cannot_be_read_changes_nothing_else(
        log in log(),
        asked in prop::collection::vec(any::<bool>(), 40),
        damaged in prop::collection::vec(any::<bool>(), 40),
    ) {
        let whole = read_in_parts(&log, |_| false, |_| false);
        let mut read = read_in_parts(&log, |index| asked[index], |index| damaged[index]);
        for unreadable::Unreadable { change, raw } in std::mem::take(&mut read.unreadable) {
            prop_assert_eq!((&change.before, &change.after), (&JsonObject::empty(), &JsonObject::empty()));
            let legend = &raw.legend;
            let Ok(Message::Relation(relation)) = decode(legend.relation.clone().expect("a description")) else {
                panic!("no description");
            };
            let message = decode(raw.message).expect("a message");
            let description = legend.description.clone().expect("a description");
            let again = unreadable::read_again(change, &message, &relation, &description);
            read.changes.push(again.expect("a row").expect("a change"));
        }
        read.changes.sort_by_key(|change| change.ordinal);
        prop_assert_eq!(read, whole);
    }

    #[test]
    fn any_message_is_a_context_or_rejected(content: Vec<u8>, text in r#"\{("[a\\"_\PC]*":?|[\[\]{},:0-9e.-])*\}"#) {
        for content in [&content[..], text.as_bytes()] {
            let frames = [row("1"), wire::message(true, 1, "_bemi", content)];
            let transaction = transaction(&mut stitcher(), frames);
            prop_assert_eq!(transaction.changes.len(), 1);
        }
    }
}

#[test]
fn a_recorded_command_is_a_change_of_its_own() {
    let message = |prefix: &str, content: &[u8]| wire::message(true, 0x20, prefix, content);
    let mut stitcher = stitcher();
    let command = br#"{"tag": "ALTER TABLE", "schema": "s", "table": "t", "object": "s.t", "command": "ALTER \u0000", "x": 1}"#;
    let frames = [
        message("_bemi", br#"{"user": 7}"#),
        wire::insert(TABLE, &[t("1"), t("a")]),
        message("_bemi_ddl", command),
        message("_bemi_ddl", b"{}"),
        message("_bemi_ddl", b"\xff"),
        wire::insert(TABLE, &[t("2"), t("b")]),
    ];
    let transaction = transaction(&mut stitcher, frames);
    let changes: Vec<_> = transaction
        .changes
        .iter()
        .map(|change| {
            (
                change.operation.as_str(),
                change.ordinal,
                change.context.as_str(),
            )
        })
        .collect();
    let context = r#"{"user":7}"#;
    assert_eq!(
        changes,
        [
            ("CREATE", 0, context),
            ("DDL", 1, context),
            ("CREATE", 2, context)
        ]
    );
    let change = &transaction.changes[1];
    assert_eq!((&*change.schema, &*change.table), ("s", "t"));
    let after: serde_json::Value = serde_json::from_str(change.after.as_str()).expect("JSON");
    assert_eq!(after["tag"], "ALTER TABLE");
    assert_eq!(after["object"], "s.t");
    assert_eq!(after.as_object().expect("an object").len(), 3);
    let reasons: Vec<_> = transaction
        .rejected
        .iter()
        .map(|rejected| rejected.reason)
        .collect();
    assert_eq!(reasons, [RejectReason::NotAnObject, RejectReason::NotUtf8]);
}

#[test]
fn a_leading_message_does_not_cover_a_command() {
    let command =
        br#"{"tag": "ALTER TABLE", "schema": "s", "table": "t", "object": "s.t", "command": "x"}"#;
    let frames = [
        wire::message(true, 0x20, "_bemi", br#"{"a": 1}"#),
        wire::message(true, 0x21, "_bemi_ddl", command),
        wire::message(true, 0x22, "_bemi", br#"{"b": 2, "_bemi": {"lead": true}}"#),
        wire::insert(TABLE, &[t("1"), t("a")]),
    ];
    let transaction = transaction(&mut stitcher(), frames);
    let contexts: Vec<_> = transaction
        .changes
        .iter()
        .map(|change| change.context.as_str())
        .collect();
    assert_eq!(contexts, [r#"{"a":1}"#, r#"{"b":2}"#]);
}
