//! Any text as a value of any type gives JSON that `jsonb` holds.

#![no_main]

use std::collections::BTreeMap;

use arbitrary::{Arbitrary, Result, Unstructured};
use bemi_diesel::__internals::{Type, ascii_json};
use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;

/// Of each way to write a value one type, and text.
const BUILTIN: [u32; 14] = [
    16, 20, 701, 1700, 25, 17, 114, 3802, 1114, 1184, 22, 30, 1007, 1020,
];

/// Deeper values are taken as they are: checking them would take the stack.
const MAX_DEPTH: usize = 100;

#[derive(Debug)]
struct Shape(Type);

impl<'a> Arbitrary<'a> for Shape {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Self> {
        any_type(input, 0).map(Self)
    }
}

fn any_type(input: &mut Unstructured<'_>, depth: usize) -> Result<Type> {
    match input.int_in_range(0..=if depth < 4 { 3_u8 } else { 1 })? {
        2 => {
            let delimiter = if input.arbitrary()? { ',' } else { ';' };
            any_type(input, depth + 1).map(|element| Type::array(element, delimiter))
        }
        3 => {
            let fields = (0..input.int_in_range(0..=3_usize)?)
                .map(|at| Ok((format!("f\"{at}"), any_type(input, depth + 1)?)))
                .collect::<Result<_>>()?;
            Ok(Type::composite(fields))
        }
        _ => input.choose(&BUILTIN).map(|oid| Type::builtin(*oid)),
    }
}

/// Whether `jsonb` holds the value: its strings are texts without zero bytes.
fn is_storable(json: &str, depth: usize) -> bool {
    let parts = |parts: Vec<&RawValue>| {
        parts
            .iter()
            .all(|part| depth >= MAX_DEPTH || is_storable(part.get(), depth + 1))
    };
    match json.as_bytes().first() {
        Some(b'"') => serde_json::from_str::<String>(json).is_ok_and(|text| !text.contains('\0')),
        Some(b'[') => serde_json::from_str(json).is_ok_and(parts),
        Some(b'{') => {
            serde_json::from_str::<BTreeMap<String, &RawValue>>(json).is_ok_and(|members| {
                members.keys().all(|name| !name.contains('\0'))
                    && parts(members.into_values().collect())
            })
        }
        Some(_) => serde_json::from_str::<&RawValue>(json).is_ok(),
        None => false,
    }
}

fuzz_target!(|input: (Shape, &str)| {
    let (Shape(ty), text) = input;
    // PostgreSQL's texts have no zero bytes.
    let text = text.replace('\0', " ");
    let mut json = String::from("[");
    ty.write_json(&mut json, &text);
    json.push(']');
    assert!(is_storable(&json, 0));
    let ascii = ascii_json(&json);
    assert!(ascii.is_ascii() && serde_json::from_str::<&RawValue>(&ascii).is_ok());

    let mut string = String::new();
    Type::builtin(25).write_json(&mut string, &text);
    assert!(serde_json::from_str::<String>(&string).is_ok_and(|read| read == text));
});
