use super::*;

#[test]
fn identifiers_are_uuid_v7_of_the_commit_time_in_the_order_of_the_trail() {
    let at = DateTime::from_timestamp_micros(1_700_000_000_123_456).expect("in range");
    let id = |commit_lsn, ordinal, at| Change::identifier(7, Lsn::new(commit_lsn), ordinal, at);
    let first = id(1, 0, at);
    assert_eq!(first.get_version_num(), 7);
    assert_eq!(first.get_variant(), uuid::Variant::RFC4122);
    assert_eq!(
        first.get_timestamp().map(|time| time.to_unix().0),
        Some(1_700_000_000)
    );
    assert_eq!(
        first,
        id(1, 0, at),
        "the same change has the same identifier"
    );
    assert_ne!(first, id(2, 0, at));
    assert_ne!(first, id(1, 1 << 30, at));
    assert!(first < id(1, 1, at));
    assert!(id(1, 1, at) < id(0, 0, at + chrono::TimeDelta::microseconds(1)));
}

#[test]
fn operations_have_a_text() {
    for operation in Operation::ALL {
        assert_eq!(operation.as_str().to_lowercase().parse(), Ok(operation));
        assert_eq!(
            serde_json::to_value(operation).expect("a text"),
            operation.as_str()
        );
    }
    assert_eq!("INSERT".parse::<Operation>(), Err(ParseOperationError));
}

fn differences(before: &str, after: &str) -> Vec<String> {
    let object = |text: &str| text.parse().expect("an object");
    let change = Change {
        id: Uuid::nil(),
        source: 1,
        database: "d".into(),
        schema: "s".into(),
        table: "t".into(),
        primary_key: None,
        previous_key: None,
        operation: Operation::Update,
        before: object(before),
        after: object(after),
        context: JsonObject::empty(),
        committed_at: DateTime::UNIX_EPOCH,
        queued_at: DateTime::UNIX_EPOCH,
        created_at: None,
        transaction_id: Xid::new(1),
        position: Lsn::ZERO,
        commit_lsn: Lsn::ZERO,
        ordinal: 0,
    };
    change.diff().iter().map(ToString::to_string).collect()
}

#[test]
fn a_diff_tells_old_and_new_of_what_changed() {
    assert_eq!(
        differences(
            r#"{"id": 1, "gone": null, "title": "a", "n": 0.10}"#,
            r#"{"id": 1, "title": "b", "n": 0.1, "new": [1]}"#
        ),
        [
            "gone: null → ∅",
            r#"title: "a" → "b""#,
            "n: 0.10 → 0.1",
            "new: ∅ → [1]"
        ]
    );
    assert_eq!(differences("{}", r#"{"id": 1}"#), ["id: ∅ → 1"]);
    assert_eq!(differences("{}", "{}"), [""; 0]);
}

#[test]
fn a_diff_looks_into_objects_and_not_at_their_form() {
    assert_eq!(
        differences(
            r#"{"s": {"theme": {"dark": true, "n": 1}, "tags": [1, 2]}, "o": {"a": 1}}"#,
            r#"{"s": {"tags": [1, 3], "theme": {"n": 1, "dark": false}}, "o": 5}"#
        ),
        [
            "s.theme.dark: true → false",
            "s.tags: [1, 2] → [1, 3]",
            r#"o: {"a": 1} → 5"#
        ]
    );
    assert_eq!(
        differences(
            r#"{"s": {"a": [{"x": "\u00e9"}], "b": 100000000000000000000.5}}"#,
            r#"{"s":{"b":100000000000000000000.5,"a":[{"x":"é"}]}}"#
        ),
        [""; 0]
    );
    assert_eq!(
        differences(r#"{"n": 9007199254740993}"#, r#"{"n": 9007199254740992}"#),
        ["n: 9007199254740993 → 9007199254740992"]
    );
}
