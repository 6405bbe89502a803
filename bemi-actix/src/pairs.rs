use serde_json::{Map, Value};

/// The parameters of a query string or form as an object: one value is a text, several are an array.
pub(crate) fn pairs(encoded: &[u8]) -> Map<String, Value> {
    let mut members = Map::new();
    for (key, value) in form_urlencoded::parse(encoded) {
        let value = Value::from(value.into_owned());
        match members.get_mut(&*key) {
            None => {
                members.insert(key.into_owned(), value);
            }
            Some(Value::Array(values)) => values.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
        }
    }
    members
}
