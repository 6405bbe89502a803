use super::{Partitions, RejectReason, parse};

#[test]
fn a_message_tells_of_several_tables() {
    let message = br#"{"exact": true, "tables": [{"oid": 7, "parts": [["public", "low", 8]]}, {"oid": 9, "parts": []}]}"#;
    let told = |oid, parts: &str| Partitions {
        oid,
        parts: parts.to_owned(),
        exact: true,
        ordinal: 3,
    };
    let expected = vec![told(7, r#"[["public","low",8]]"#), told(9, "[]")];
    assert_eq!(parse(message, 3), Ok(expected));
}

#[test]
fn what_is_no_such_message_is_rejected() {
    assert_eq!(parse(b"\xff", 0), Err(RejectReason::NotUtf8));
    for message in [
        "",
        "[]",
        r#"{"exact": true}"#,
        r#"{"exact": true, "tables": [{"oid": 7, "parts": 5}]}"#,
        r#"{"exact": true, "tables": [{"oid": 7, "parts": [["public", "low"]]}]}"#,
        r#"{"exact": true, "tables": [{"oid": -1, "parts": []}]}"#,
    ] {
        let found = parse(message.as_bytes(), 0);
        assert_eq!(found, Err(RejectReason::NotAnObject), "{message}");
    }
}
