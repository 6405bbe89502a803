use proptest::prelude::*;

use super::wire::{self, Cell, t};
use super::*;
use crate::{Lsn, Operation, Xid};

const END: Result<Message, DecodeError> = Err(DecodeError::UnexpectedEnd);

fn columns(tuple: &Tuple) -> Vec<Option<String>> {
    tuple
        .columns()
        .map(|column| match column {
            TupleColumn::Null => None,
            TupleColumn::Unchanged => Some("unchanged".to_owned()),
            TupleColumn::Text(bytes) => Some(text(bytes).into_owned()),
        })
        .collect()
}

/// One of each message, and the variants of rows.
fn samples() -> Vec<Bytes> {
    let row = [t("1"), Cell::Null, Cell::Unchanged, t("")];
    let key = [t("1"), Cell::Null, Cell::Null, Cell::Null];
    vec![
        wire::begin(0x100, 1, 7),
        wire::commit(0x100, 0x130, 1),
        Bytes::from_static(b"O\0\0\0\0\0\0\0\x01node\0"),
        wire::relation(16384, "public", "t", b'f', &[(true, "id", 23)]),
        Bytes::from_static(b"Y\0\0\x40\0public\0mood\0"),
        wire::insert(16384, &row),
        wire::insert(16384, &[]),
        wire::update(16384, None, &row),
        wire::update(16384, Some((b'K', &key)), &row),
        wire::update(16384, Some((b'O', &row)), &row),
        wire::delete(16384, b'K', &key),
        wire::delete(16384, b'O', &row),
        wire::truncate(&[16384, 16385], 3),
        wire::message(true, 0x90, "_bemi", b"{}"),
    ]
}

#[test]
fn transactions() {
    let committed_at = timestamp(1).expect("in range");
    assert_eq!(
        committed_at.to_rfc3339(),
        "2000-01-01T00:00:00.000001+00:00"
    );
    assert_eq!(
        decode(wire::begin(0x100, 1, 7)),
        Ok(Message::Begin(Begin {
            final_lsn: Lsn::new(0x100),
            committed_at,
            xid: Xid::new(7),
        }))
    );
    assert_eq!(
        decode(wire::commit(0x100, 0x130, 1)),
        Ok(Message::Commit(Commit {
            commit_lsn: Lsn::new(0x100),
            end_lsn: Lsn::new(0x130),
            committed_at,
        }))
    );
}

#[test]
fn times_that_no_calendar_holds_are_errors() {
    assert_eq!(
        timestamp(-1).map(|time| time.to_rfc3339()),
        Ok("1999-12-31T23:59:59.999999+00:00".to_owned())
    );
    for micros in [i64::MIN, i64::MAX] {
        assert_eq!(timestamp(micros), Err(DecodeError::TimestampOutOfRange));
        assert_eq!(
            decode(wire::begin(1, micros, 1)),
            Err(DecodeError::TimestampOutOfRange)
        );
    }
}

#[test]
fn relations() {
    let column = |key, name: &str, type_oid| Column {
        key,
        name: name.to_owned(),
        type_oid,
        type_modifier: -1,
    };
    assert_eq!(
        decode(wire::relation(
            16384,
            "",
            "Ünï \"t\"",
            b'd',
            &[(true, "id", 23), (false, "", 25)]
        )),
        Ok(Message::Relation(Relation {
            id: RelationId(16384),
            schema: "pg_catalog".to_owned(),
            name: "Ünï \"t\"".to_owned(),
            replica_identity: ReplicaIdentity::Default,
            columns: vec![column(true, "id", 23), column(false, "", 25)],
        }))
    );
    for (tag, expected) in [
        (b'n', ReplicaIdentity::Nothing),
        (b'f', ReplicaIdentity::Full),
        (b'i', ReplicaIdentity::Index),
    ] {
        match decode(wire::relation(1, "s", "t", tag, &[])) {
            Ok(Message::Relation(relation)) => assert_eq!(relation.replica_identity, expected),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn rows() {
    let row = [t("1"), Cell::Null, Cell::Unchanged, t("")];
    let expected = vec![
        Some("1".to_owned()),
        None,
        Some("unchanged".to_owned()),
        Some(String::new()),
    ];
    match decode(wire::insert(7, &row)) {
        Ok(Message::Insert { relation, new }) => {
            assert_eq!(relation, RelationId(7));
            assert_eq!(new.len(), 4);
            assert_eq!(columns(&new), expected);
        }
        other => panic!("{other:?}"),
    }
    for kind in [b'K', b'O'] {
        match decode(wire::update(7, Some((kind, &row[..2])), &row)) {
            Ok(Message::Update {
                old: Some(old),
                new,
                ..
            }) => {
                assert_eq!(matches!(old, OldTuple::Key(_)), kind == b'K');
                assert_eq!(Some(&*columns(old.tuple())), expected.get(..2));
                assert_eq!(columns(&new), expected);
            }
            other => panic!("{other:?}"),
        }
    }
    match decode(wire::delete(7, b'O', &row)) {
        Ok(Message::Delete { old, .. }) => assert_eq!(columns(old.tuple()), expected),
        other => panic!("{other:?}"),
    }
}

#[test]
fn truncate_and_messages() {
    assert_eq!(
        decode(wire::truncate(&[1, 2], 1)),
        Ok(Message::Truncate {
            relations: vec![RelationId(1), RelationId(2)],
            cascade: true,
            restart_identity: false,
        })
    );
    assert_eq!(
        decode(wire::message(false, 0x90, "_bemi", b"{\0}")),
        Ok(Message::LogicalMessage(LogicalMessage {
            transactional: false,
            lsn: Lsn::new(0x90),
            prefix: "_bemi".to_owned(),
            content: Bytes::from_static(b"{\0}"),
        }))
    );
}

#[test]
fn every_frame_is_decoded_whole_or_not_at_all() {
    for sample in samples() {
        assert!(decode(sample.clone()).is_ok(), "{sample:?}");
        for end in 0..sample.len() {
            assert_eq!(decode(sample.slice(..end)), END, "{sample:?} cut at {end}");
        }
        let longer = Bytes::from([&sample[..], b"\0"].concat());
        assert_eq!(decode(longer), Err(DecodeError::TrailingBytes));
    }
}

#[test]
fn what_the_protocol_does_not_have_is_an_error() {
    for (frame, what, tag) in [
        (&b"S\0\0\0\x01\x01"[..], "message", b'S'),
        (b"I\0\0\0\x01O\0\0", "kind of new row", b'O'),
        (b"U\0\0\0\x01X\0\0", "kind of old row", b'X'),
        (b"D\0\0\0\x01N\0\0", "kind of old row", b'N'),
        (b"I\0\0\0\x01N\0\x01b\0\0\0\0", "kind of column value", b'b'),
        (b"R\0\0\0\x01s\0t\0?\0\0", "replica identity", b'?'),
    ] {
        assert_eq!(
            decode(Bytes::from_static(frame)),
            Err(DecodeError::UnknownTag { what, tag })
        );
    }
    assert_eq!(
        DecodeError::UnknownTag {
            what: "message",
            tag: 0xFF
        }
        .to_string(),
        r"unknown message '\xff' in pgoutput"
    );
}

#[test]
fn lengths_and_counts_from_the_wire_are_not_trusted() {
    for frame in [
        &b"I\0\0\0\x01N\xFF\xFF"[..],
        b"I\0\0\0\x01N\0\x01t\xFF\xFF\xFF\xFF",
        b"R\0\0\0\x01s\0t\0f\xFF\xFF",
        b"T\xFF\xFF\xFF\xFF\0\0\0\0\x01",
        b"M\x01\0\0\0\0\0\0\0\0_bemi\0\xFF\xFF\xFF\xFF",
    ] {
        assert_eq!(decode(Bytes::from_static(frame)), END);
    }
}

#[test]
fn bytes_that_are_no_text_are_kept_as_text() {
    assert_eq!(text("é😀".as_bytes()), "é😀");
    assert_eq!(text(b"caf\xE9 \xF0\x9F\x98"), r"caf\xe9 \xf0\x9f\x98");
}

#[test]
fn debug_hides_values() {
    for frame in [
        wire::insert(1, &[t("secret")]),
        wire::message(true, 1, "_bemi", b"secret"),
    ] {
        let message = decode(frame).expect("a message");
        assert!(!format!("{message:?}").contains("secret"));
        assert!(!format!("{message:?}").contains("115, 101"));
    }
}

proptest! {
    #[test]
    fn any_bytes_give_a_message_or_an_error(bytes: Vec<u8>) {
        let bytes = Bytes::from(bytes);
        let _ = about(bytes.clone());
        let _ = decode(bytes);
    }

    #[test]
    fn any_damage_gives_a_message_or_an_error(
        sample in prop::sample::select(samples()),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = sample.to_vec();
        for (place, byte) in damage {
            *place.get_mut(&mut bytes) = byte;
        }
        let bytes = Bytes::from(bytes);
        let _ = about(bytes.clone());
        match decode(bytes) {
            Ok(Message::Insert { new, .. } | Message::Update { new, .. }) => {
                prop_assert_eq!(new.columns().count(), new.len());
            }
            Ok(Message::Delete { old, .. }) => {
                prop_assert_eq!(old.tuple().columns().count(), old.tuple().len());
            }
            _ => {}
        }
    }
}

#[test]
fn what_a_damaged_message_is_about() {
    let id = RelationId(7);
    let row = [t("1")];
    for (frame, operation) in [
        (wire::insert(7, &row), Operation::Create),
        (wire::update(7, Some((b'O', &row)), &row), Operation::Update),
        (wire::delete(7, b'K', &row), Operation::Delete),
    ] {
        for end in 5..frame.len() {
            assert_eq!(about(frame.slice(..end)), Some(About::Row(operation, id)));
        }
        for end in 0..5 {
            assert_eq!(about(frame.slice(..end)), None);
        }
    }
    let table = wire::relation(7, "", "t", b'?', &[]);
    let names = Some(("pg_catalog".to_owned(), "t".to_owned()));
    assert_eq!(about(table.clone()), Some(About::Relation { id, names }));
    let cut = table.slice(..6);
    assert_eq!(about(cut), Some(About::Relation { id, names: None }));
    // Which tables a TRUNCATE is of must be certain.
    let truncate = wire::truncate(&[7, 8], 0);
    let both = About::Truncate(vec![id, RelationId(8)]);
    assert_eq!(about(truncate.clone()), Some(both));
    assert_eq!(about(truncate.slice(..truncate.len() - 1)), None);
    for frame in [
        wire::begin(1, 1, 1),
        wire::commit(1, 1, 1),
        Bytes::from_static(b"?\0\0\0\x07"),
    ] {
        assert_eq!(about(frame), None);
    }
}
