use serde_json::json;

use super::*;

fn parsed(message: &str) -> Value {
    serde_json::from_str(message).expect("a JSON object")
}

#[test]
fn message_of_an_empty_context_is_an_empty_object() {
    assert_eq!(message("", None, Lead::None), "{}");
}

#[test]
fn message_holds_members_statement_and_hint() {
    let context = Context::new().with("user_id", 7).with("tags", ["a", "b"]);
    assert_eq!(
        message(
            &context.members_json(),
            Some(&sql_member("DELETE FROM \"t\"")),
            Lead::Row
        ),
        r#"{"SQL":"DELETE FROM \"t\"","tags":["a","b"],"user_id":7,"_bemi":{"lead":true}}"#
    );
}

#[test]
fn the_reserved_member_is_not_sent() {
    let context = Context::new()
        .with("_bemi", json!({"lead": true}))
        .with("a", 1);
    assert_eq!(
        message(&context.members_json(), None, Lead::None),
        r#"{"a":1}"#
    );
}

#[test]
fn the_applications_own_sql_member_wins() {
    let context = Context::new().with("SQL", "mine");
    assert_eq!(
        parsed(&message(
            &context.members_json(),
            Some(&sql_member("SELECT 1")),
            Lead::None
        ))["SQL"],
        "mine"
    );
}

#[test]
fn hostile_text_stays_inside_its_value() {
    let text = "\"},\"_bemi\":{\"lead\":true}, ' \\ */ /*Bemi %s \0 \u{1F600}";
    let context = Context::new().with(text, text);
    assert_eq!(
        parsed(&message(&context.members_json(), None, Lead::None)),
        json!({text: text})
    );
}

#[test]
fn a_value_without_json_form_says_so() {
    let context = Context::new().with("map", std::collections::HashMap::from([((1, 2), 3)]));
    assert_eq!(
        context.get("map"),
        Some(&json!("unserializable: key must be a string"))
    );
}

#[test]
fn debug_hides_values() {
    let context = Context::new().with("password", "hunter2");
    assert_eq!(format!("{context:?}"), r#"Context{"password"}"#);
}

#[test]
fn merge_lets_the_other_win() {
    let mut context = Context::new().with("a", 1).with("b", 1);
    context.merge(Context::new().with("b", 2).with("c", 2));
    assert_eq!(context, Context::from_iter([("a", 1), ("b", 2), ("c", 2)]));
}

#[test]
fn members_of_members() {
    let mut context = Context::new()
        .with_in(&["user", "id"], 7)
        .with_in(&["user", "name"], "Ann")
        .with("page", 2);
    context.set_in(&["page", "size"], 10);
    context.set_in(&[], "nowhere");
    assert_eq!(
        json!(context),
        json!({"user": {"id": 7, "name": "Ann"}, "page": {"size": 10}})
    );
    assert_eq!(context.get_in(&["user", "id"]), Some(&json!(7)));
    assert_eq!(context.get_in(&["user", "id", "more"]), None);
    assert_eq!(context.get_in(&[]), None);
    assert_eq!(context.remove_in(&["user", "name"]), Some(json!("Ann")));
    assert_eq!(context.remove_in(&["user", "name"]), None);
    assert_eq!(context.remove_in(&["nobody", "name"]), None);
    assert_eq!(
        json!(context),
        json!({"user": {"id": 7}, "page": {"size": 10}})
    );
}

#[test]
fn it_serialises_as_the_object_that_it_is() {
    let context = Context::new().with("user", json!({"id": 7}));
    let text = serde_json::to_string(&context).expect("JSON");
    assert_eq!(text, r#"{"user":{"id":7}}"#);
    assert_eq!(
        serde_json::from_str::<Context>(&text).expect("an object"),
        context
    );
    assert!(serde_json::from_str::<Context>("[1]").is_err());
}

#[test]
fn the_wire_is_ascii_in_keys_values_and_statement() {
    let text = "é \u{1F600}\u{fffd} \0 \u{7f} \" \\ Ω";
    let context = Context::new().with(text, json!({text: [text]}));
    let wire = message(&context.members_json(), Some(&sql_member(text)), Lead::Row);
    assert!(wire.is_ascii(), "{wire}");
    assert!(wire.contains(r"\u00e9 \ud83d\ude00\ufffd \u0000"), "{wire}");
    assert_eq!(
        parsed(&wire),
        json!({"SQL": text, text: {text: [text]}, "_bemi": {"lead": true}})
    );
}

/// A context whose only member fills all that a context may take.
fn full() -> Context {
    Context::new().with("a", "x".repeat(MAX_CONTEXT_BYTES - r#""a":"","#.len()))
}

#[test]
fn a_context_as_long_as_it_may_be_is_sent_whole() {
    let members = full().members_json();
    assert_eq!((members.len() + 1, members.cut), (MAX_CONTEXT_BYTES, 0));
    // Even with the longest statement that the connections add, however it is escaped.
    let statement = "\u{1}".repeat(1024) + "…";
    let wire = message(&members, Some(&sql_member(&statement)), Lead::Row);
    assert!(wire.len() <= MAX_MESSAGE_BYTES);
}

#[test]
fn a_text_that_has_no_room_beside_the_context_is_left_out() {
    let members = full().members_json();
    let longest = MAX_MESSAGE_BYTES - members.len() - r#"{"SQL":"",,}"#.len();
    for (length, fits) in [(longest, true), (longest + 1, false)] {
        let wire = message(&members, Some(&sql_member(&"x".repeat(length))), Lead::None);
        assert!(wire.len() <= MAX_MESSAGE_BYTES, "{length}");
        assert_eq!(wire.starts_with(r#"{"SQL":"#), fits, "{length}");
    }
}

#[test]
fn of_a_context_that_is_too_long_the_largest_members_are_cut() {
    let context = full()
        .with("b", "y".repeat(600_000))
        .with("é", "é".repeat(50_000))
        .with("user_id", 7);
    let members = context.members_json();
    assert_eq!(members.cut, 1);
    assert_eq!(
        parsed(&message(&members, None, Lead::None))["a"],
        format!("oversized: {} bytes", MAX_CONTEXT_BYTES - 1)
    );
    // The text is cut at what it takes on the wire.
    let context = Context::new()
        .with("é", "é".repeat(MAX_CONTEXT_BYTES / 6))
        .with("user_id", 7);
    assert_eq!(
        parsed(&message(&context.members_json(), None, Lead::None)),
        json!({"é": format!("oversized: {} bytes", MAX_CONTEXT_BYTES / 6 * 6 + 11), "user_id": 7})
    );
}

#[test]
fn keys_can_be_too_long_and_members_too_many() {
    let context = Context::new()
        .with("k".repeat(MAX_CONTEXT_BYTES), 1)
        .with("user_id", 7);
    let members = context.members_json();
    assert_eq!((&*members, members.cut), (r#""user_id":7"#, 1));

    let many: Context = (0..100_000).map(|n| (format!("key {n:06}"), n)).collect();
    let members = many.members_json();
    let left = parsed(&message(&members, None, Lead::None));
    let left = left.as_object().expect("an object").len();
    assert!(members.len() <= MAX_CONTEXT_BYTES);
    assert_eq!(left + members.cut, 100_000);
}

#[test]
fn secrets_are_found_by_the_words_of_their_keys() {
    let redaction = Redaction::default().with_key("Tax-ID").with_key("--");
    for key in [
        "password",
        "PASSWORD",
        "user_password",
        "passwordConfirmation",
        "new-password",
        "password2",
        "user[password]",
        "X-Api-Key",
        "apiKey",
        "APIKey",
        "apikey",
        "HTTPAuthorization",
        "access_token",
        "oauth2Token",
        "csrf.token",
        "client secret",
        "Set-Cookie",
        "taxId",
        "tax_id",
        "my.taxID",
    ] {
        assert!(redaction.is_secret(key), "{key}");
    }
    for key in [
        "user",
        "secretary",
        "tokenizer",
        "passwordless",
        "keyboard",
        "key",
        "author",
        "id",
        "",
        "_",
        "tax",
        "compassword",
        "é",
    ] {
        assert!(!redaction.is_secret(key), "{key}");
    }
    assert!(!Redaction::none().is_secret("password"));
}

#[test]
fn secrets_are_taken_out_of_query_strings() {
    let redaction = Redaction::default();
    for (text, expected) in [
        ("password=a", "password=[redacted]"),
        (
            "/a?page=2&token=b&c=d#otp=5",
            "/a?page=2&token=[redacted]&c=d#otp=[redacted]",
        ),
        (
            "https://h/?user%5Bpass%77ord%5D=a=b;c",
            "https://h/?user%5Bpass%77ord%5D=[redacted];c",
        ),
        ("token=&token=b", "token=&token=[redacted]"),
        ("/a?page=2", "/a?page=2"),
        ("token", "token"),
        ("=a", "=a"),
        (
            "UPDATE t SET password = 'a'",
            "UPDATE t SET password =[redacted]",
        ),
        ("a lost password, ticket=7", "a lost password, ticket=7"),
        ("é?token=é&é", "é?token=[redacted]&é"),
        ("", ""),
    ] {
        assert_eq!(redaction.query(text), expected);
        // Once is enough.
        assert_eq!(redaction.query(expected), expected);
    }
}
