use serde_json::json;

use super::*;

#[test]
fn what_is_not_complete_is_left_out() {
    for (text, expected) in [
        (r#"{"a":1,"b":[2,34"#, json!({"a": 1, "b": [2]})),
        (r#"{"a":1,"b":[2,34 "#, json!({"a": 1, "b": [2, 34]})),
        (r#"{"a":{"b":{"c":"d","#, json!({"a": {"b": {"c": "d"}}})),
        (r#"{"a":{"b":{"c":"d"#, json!({"a": {"b": {}}})),
        (r#"{"a":{"b":{"c"#, json!({"a": {"b": {}}})),
        (r#"{"a":{"b":{"c":"#, json!({"a": {"b": {}}})),
        (r#"{"a":{"b":2},"c"#, json!({"a": {"b": 2}})),
        (r#"{"a":[],"c":"#, json!({"a": []})),
        (r#"["a", "b", tru"#, json!(["a", "b"])),
        (r#"["a", null, true]"#, json!(["a", null, true])),
        (r#" { "a" : "\"}]{[" , "b": "\"#, json!({"a": "\"}]{["})),
        (r#"[{"a":1},{"a":"#, json!([{"a": 1}, {}])),
        (r#""a""#, json!("a")),
    ] {
        assert_eq!(json(text.as_bytes()), Some(expected), "{text}");
    }
}

#[test]
fn what_is_no_json_is_none() {
    for text in [
        "", " ", "12", "tru", "\"a", "]", "}{", "{]", "a=b&c=d", "[1 2,", "[\u{e9},",
    ] {
        assert_eq!(json(text.as_bytes()), None, "{text}");
    }
    assert_eq!(json(b"[\"\xff\","), None);
    assert_eq!(json("[".repeat(10_000).as_bytes()), None);
}

#[test]
fn every_beginning_of_a_value_is_a_part_of_it() {
    let whole = json!({"a": [1, 2.5, -3e7, {"b": "c\\\"é\u{1F600}"}], "d": {"e": null, "f": true}, "g": ""});
    let text = whole.to_string();
    for cut in 0..=text.len() {
        if let Some(value) = json(&text.as_bytes()[..cut]) {
            assert!(is_part(&value, &whole), "{cut}: {value}");
        }
    }
    assert_eq!(json(text.as_bytes()), Some(whole));
}

fn is_part(value: &Value, whole: &Value) -> bool {
    match (value, whole) {
        (Value::Object(members), Value::Object(all)) => members
            .iter()
            .all(|(key, value)| all.get(key).is_some_and(|whole| is_part(value, whole))),
        (Value::Array(elements), Value::Array(all)) => {
            elements.len() <= all.len()
                && elements
                    .iter()
                    .zip(all)
                    .all(|(element, whole)| is_part(element, whole))
        }
        _ => value == whole,
    }
}

#[test]
fn of_a_form_only_whole_parameters() {
    assert_eq!(form(b"a=1&b=2&passw"), Some(&b"a=1&b=2"[..]));
    assert_eq!(form(b"a=1&"), Some(&b"a=1"[..]));
    assert_eq!(form(b"a=1"), None);
}
