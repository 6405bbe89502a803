use super::*;

fn bytes(json: &str) -> Option<Vec<u8>> {
    of_bytea(json).ok()
}

#[test]
fn numbers_are_read_digit_for_digit() {
    // A type that keeps the text, as decimal ones do.
    let digits = |json| of_text::<String>(json).ok();
    let long = "0.10000000000000000000000000000001";
    assert_eq!(digits(long).as_deref(), Some(long));
    assert_eq!(digits(r#""NaN""#).as_deref(), Some("NaN"));
    assert_eq!(digits(r#""a\u00e9""#).as_deref(), Some("aé"));
    assert_eq!(digits("true"), None);
    assert_eq!(digits("[1]"), None);
    assert_eq!(of_text::<i32>("1.5").ok(), None);
    assert_eq!(optional_of_text::<i32>("null").ok(), Some(None));
    assert_eq!(optional_of_text::<i32>("-7").ok(), Some(Some(-7)));
}

#[test]
fn bytes_are_read_from_their_hexadecimal_form() {
    assert_eq!(bytes(r#""\\x00fFa0""#), Some(vec![0, 255, 160]));
    assert_eq!(bytes(r#""\\x""#), Some(vec![]));
    for wrong in [
        r#""\\x0""#,
        r#""\\xgg""#,
        r#""00ff""#,
        r#""\\xé""#,
        "7",
        "null",
    ] {
        assert_eq!(bytes(wrong), None, "{wrong}");
    }
    assert_eq!(optional_of_bytea("null").ok(), Some(None));
}

#[test]
fn kinds_are_told_by_their_first_character() {
    let kinds = [
        ("null", Problem::Null),
        ("true", Problem::Unfit("boolean")),
        ("false", Problem::Unfit("boolean")),
        ("-1", Problem::Unfit("number")),
        (r#""""#, Problem::Unfit("string")),
        ("[]", Problem::Unfit("array")),
        ("{}", Problem::Unfit("object")),
    ];
    for (json, kind) in kinds {
        assert_eq!(Problem::of(json), kind, "{json}");
    }
}
