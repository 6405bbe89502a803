//! Composites, see [composite input and output] in the manual.
//!
//! [composite input and output]: https://www.postgresql.org/docs/current/rowtypes.html#ROWTYPES-IO-SYNTAX

use super::quoted::{Doubled, split_quoted};
use super::{Field, write_json};

/// Appends the composite as an object.
pub(super) fn write(out: &mut String, fields: &[Field], text: &str) -> Option<()> {
    let mut rest = text.strip_prefix('(')?;
    let mut separator = '{';
    for field in fields {
        if separator == ',' {
            rest = rest.strip_prefix(',')?;
        }
        out.push(separator);
        separator = ',';
        out.push_str(&field.prefix);
        rest = write_field(out, field, rest)?;
    }
    if separator == '{' {
        out.push('{');
    }
    out.push('}');
    (rest == ")").then_some(())
}

/// Appends the value at the start of `text`; returns what comes after it.
fn write_field<'a>(out: &mut String, field: &Field, text: &'a str) -> Option<&'a str> {
    if let Some(quoted) = text.strip_prefix('"') {
        let (value, rest) = split_quoted(quoted, Doubled::Escape)?;
        write_json(out, &field.ty, &value);
        return Some(rest);
    }
    let (value, rest) = text.split_at(text.find([',', ')'])?);
    // Whatever needs quotes has them.
    if value.contains(['"', '\\', '(']) {
        return None;
    }
    if value.is_empty() {
        out.push_str("null");
    } else {
        write_json(out, &field.ty, value);
    }
    Some(rest)
}
