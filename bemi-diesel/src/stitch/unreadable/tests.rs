use super::*;
use crate::pgoutput::wire::{self, t};
use crate::pgoutput::{decode, timestamp};
use crate::stitch::Transaction;

const TABLE: u32 = 16384;

fn now() -> DateTime<Utc> {
    timestamp(1).expect("in range")
}

fn table(oid: u32, name: &str) -> Bytes {
    wire::relation(oid, "public", name, b'f', &[(true, "id", 23)])
}

fn describe(stitcher: &mut Stitcher, frame: &Bytes, tracked: bool) {
    let description = Description {
        tracked,
        primary_key: vec!["id".to_owned()],
        ..Description::default()
    };
    match decode(frame.clone()) {
        Ok(Message::Relation(relation)) => stitcher.describe(relation, Some(frame), description),
        other => panic!("{other:?}"),
    }
}

fn stitcher() -> Stitcher {
    let mut stitcher = Stitcher::new(42, "shop".into(), Rules::default());
    describe(&mut stitcher, &table(TABLE, "t"), true);
    describe(&mut stitcher, &table(7, "ours"), false);
    let broken = wire::relation(8, "public", "broken", b'?', &[]);
    for (id, tracked) in [(8, true), (9, false)] {
        let problem = DecodeError::UnexpectedEnd;
        let undescribed = Undescribed {
            schema: "public",
            name: "broken",
            tracked,
            relation: Some((&broken, problem)),
        };
        stitcher.undescribed(RelationId(id), &undescribed);
    }
    stitcher
}

/// Reads the messages as the capture does, in a transaction of their own.
fn read(frames: &[Bytes]) -> Result<Transaction, StitchError> {
    let mut stitcher = stitcher();
    let begin = wire::begin(0x100, 7, 3);
    let commit = wire::commit(0x100, 0x130, 7);
    let frames = std::iter::once(&begin).chain(frames).chain([&commit]);
    for (position, frame) in (0x10..).map(Lsn::new).zip(frames) {
        let problem = match decode(frame.clone()) {
            Err(error) => error.to_string(),
            Ok(message) => match stitcher.push(message, position, now()) {
                Ok(None) => continue,
                Ok(Some(transaction)) => return Ok(transaction),
                Err(error) if error.is_of_a_row() => error.to_string(),
                Err(error) => return Err(error),
            },
        };
        stitcher.put_aside(frame, &problem, position, now())?;
    }
    panic!("it was not committed")
}

fn row(oid: u32) -> Bytes {
    wire::insert(oid, &[t("1")])
}

fn damaged(frame: &Bytes) -> Bytes {
    frame.slice(..frame.len() - 1)
}

/// What was stored, and what was put aside, each with its ordinal.
fn told(transaction: &Transaction) -> (Vec<String>, Vec<String>) {
    let told =
        |change: &Change| format!("{} {} {}", change.ordinal, change.operation, change.table);
    let stored = transaction.changes.iter().map(told).collect();
    let aside = transaction.unreadable.iter();
    let aside = aside.map(|aside| format!("{}: {}", told(&aside.change), aside.raw.reason));
    (stored, aside.collect())
}

#[test]
fn a_damaged_row_keeps_its_place() {
    let early = "the pgoutput message ends early";
    let old = [t("1")];
    for (frame, operation) in [
        (row(TABLE), "CREATE"),
        (wire::update(TABLE, Some((b'O', &old)), &old), "UPDATE"),
        (wire::delete(TABLE, b'O', &old), "DELETE"),
    ] {
        let transaction = read(&[row(TABLE), damaged(&frame), row(TABLE)]).expect("a transaction");
        let stored = vec!["0 CREATE t".to_owned(), "2 CREATE t".to_owned()];
        let aside = vec![format!("1 {operation} t: {early}")];
        assert_eq!(told(&transaction), (stored, aside));
        let raw = &transaction.unreadable[0].raw;
        assert_eq!(raw.message, damaged(&frame));
        assert_eq!(raw.legend.relation, Some(table(TABLE, "t")));
        assert_eq!(transaction.count(), 3);
    }
}

#[test]
fn a_row_with_other_columns_than_its_table() {
    let transaction = read(&[wire::insert(TABLE, &[t("secret"), t("2")]), row(TABLE)]);
    let aside = "0 CREATE t: a row with 2 columns of a table with 1 columns".to_owned();
    assert_eq!(
        told(&transaction.expect("a transaction")),
        (vec!["1 CREATE t".to_owned()], vec![aside])
    );
}

#[test]
fn a_table_without_a_description() {
    let frames = [
        row(8),
        wire::truncate(&[8, TABLE, 9, 7], 0),
        row(9),
        row(TABLE),
    ];
    let transaction = read(&frames).expect("a transaction");
    let reason =
        "a row of a table whose description cannot be read: the pgoutput message ends early";
    let stored = vec!["2 TRUNCATE t".to_owned(), "3 CREATE t".to_owned()];
    let aside = vec![
        format!("0 CREATE broken: {reason}"),
        format!("1 TRUNCATE broken: {reason}"),
    ];
    assert_eq!(told(&transaction), (stored, aside));
    let legend = &transaction.unreadable[1].raw.legend;
    assert!(legend.relation.is_some() && legend.description.is_none());
}

#[test]
fn a_damaged_row_that_is_not_tracked_is_passed_over() {
    let transaction = read(&[damaged(&row(7)), damaged(&row(9)), row(TABLE)]);
    let stored = vec!["0 CREATE t".to_owned()];
    assert_eq!(told(&transaction.expect("a transaction")), (stored, vec![]));
}

#[test]
fn what_is_not_certain_ends_the_stream() {
    let unknown = StitchError::UnknownRelation(RelationId(99));
    for (frame, error) in [
        (row(99), unknown),
        (damaged(&row(99)), unknown),
        (wire::truncate(&[TABLE, 99], 0), unknown),
        (damaged(&wire::truncate(&[TABLE], 0)), StitchError::NoRow),
        (Bytes::from_static(b"I\0\0"), StitchError::NoRow),
        (Bytes::from_static(b"?"), StitchError::NoRow),
    ] {
        assert_eq!(read(&[frame]), Err(error));
    }
    let outside = stitcher().put_aside(&row(TABLE), "", Lsn::new(1), now());
    assert_eq!(outside, Err(StitchError::NoTransaction));
}

#[test]
fn a_leading_message_covers_a_damaged_row() {
    let message = |json: &str| wire::message(true, 1, "_bemi", json.as_bytes());
    let lead = message(r#"{"user":2,"_bemi":{"lead":true}}"#);
    let frames = [
        message(r#"{"user":1}"#),
        row(TABLE),
        damaged(&row(TABLE)),
        lead,
    ];
    let transaction = read(&frames).expect("a transaction");
    assert_eq!(transaction.changes[0].context.as_str(), r#"{"user":1}"#);
    let aside = &transaction.unreadable[0].change;
    assert_eq!(aside.context.as_str(), r#"{"user":2}"#);
}

#[test]
fn debug_hides_values() {
    let transaction = read(&[wire::insert(TABLE, &[t("secret"), t("2")])]).expect("a transaction");
    assert!(!format!("{transaction:?}").contains("secret"));
    assert!(!format!("{transaction:?}").contains("115, 101"));
}

#[test]
fn a_description_is_kept_as_it_is() {
    use crate::value::ColumnType;
    let fields = vec![
        ("x \"y\"".to_owned(), ColumnType::Number),
        (
            "at".to_owned(),
            ColumnType::array(ColumnType::TimestampTz, ';'),
        ),
    ];
    let pair = ColumnType::composite(fields);
    let description = Description {
        tracked: true,
        primary_key: vec!["b".to_owned(), "a".to_owned()],
        types: [(5, ColumnType::array(pair, ',')), (6, ColumnType::text())].into(),
    };
    let json = serde_json::to_string(&description).expect("JSON");
    let read: Description = serde_json::from_str(&json).expect("a description");
    assert_eq!(read, description);
}
