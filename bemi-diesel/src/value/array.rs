//! Arrays, see [array input and output] in the manual.
//!
//! [array input and output]: https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO

use super::quoted::{Doubled, split_quoted};
use super::{Array, ColumnType, write_json};

/// PostgreSQL's own limit.
const MAX_DIMENSIONS: usize = 6;

/// Appends the array: braces become brackets, and lower bounds (`[0:1]={…}`) are left out, as JSON
/// has none.
pub(super) fn write(out: &mut String, array: &Array, text: &str) -> Option<()> {
    let mut rest = text;
    if rest.starts_with('[') {
        rest = rest.split_once('=')?.1;
    }
    let mut depth = 0;
    loop {
        if let Some(after) = rest.strip_prefix('{') {
            depth += 1;
            if depth > MAX_DIMENSIONS {
                return None;
            }
            out.push('[');
            rest = after;
            if !rest.starts_with('}') {
                continue;
            }
        } else if depth == 0 {
            return None;
        } else {
            rest = write_element(out, array, rest)?;
        }
        while let Some(after) = rest.strip_prefix('}') {
            // More closing than opening braces.
            depth = depth.checked_sub(1)?;
            out.push(']');
            rest = after;
        }
        if depth == 0 {
            return rest.is_empty().then_some(());
        }
        rest = rest.strip_prefix(array.delimiter)?;
        out.push(',');
    }
}

/// Appends the element at the start of `text`; returns what comes after it.
fn write_element<'a>(out: &mut String, array: &Array, text: &'a str) -> Option<&'a str> {
    if let Some(quoted) = text.strip_prefix('"') {
        let (element, rest) = split_quoted(quoted, Doubled::Refuse)?;
        write_json(out, &array.element, &element);
        return Some(rest);
    }
    let (element, rest) = text.split_at(text.find(['}', array.delimiter])?);
    // Whatever needs quotes has them.
    if element.is_empty() || element.contains(['"', '\\', '{']) {
        return None;
    }
    if element.eq_ignore_ascii_case("NULL") {
        out.push_str("null");
    } else {
        write_json(out, &array.element, element);
    }
    Some(rest)
}

/// Appends an `int2vector` or `oidvector`, whose elements stand between spaces.
pub(super) fn write_vector(out: &mut String, element: &ColumnType, text: &str) {
    out.push('[');
    for (index, value) in text.split_ascii_whitespace().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write_json(out, element, value);
    }
    out.push(']');
}
