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
            Some("DELETE FROM \"t\""),
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
            Some("SELECT 1"),
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
