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
