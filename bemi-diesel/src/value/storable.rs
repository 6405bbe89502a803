//! JSON that `jsonb` can hold.
//!
//! The type `json` keeps any text that follows the grammar. [`jsonb`] also has to represent it, and
//! refuses some of it with an error.
//!
//! [`jsonb`]: https://www.postgresql.org/docs/current/datatype-json.html

use std::borrow::Cow;

use super::write_string;

/// Arrays and objects may be nested this deep. PostgreSQL's limit is its `max_stack_depth`: with the
/// default of 2 MiB the versions 15 and 18 take 13,000 and 14,500 objects in each other. Less than
/// half of that leaves room for the row around it and for what calls the parser.
pub(super) const MAX_DEPTH: usize = 6_000;

/// JSON nested deeper than [`MAX_DEPTH`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooDeep;

/// `json`, which is valid, in a form that `jsonb` can hold.
///
/// - The escape `\u0000` and the escape of an unpaired surrogate become the six characters they are
///   written with: `"\u0000"` becomes `"\\u0000"`.
/// - A number that `numeric` cannot hold (more than 131,072 digits before or 16,383 after the decimal
///   point, its exponent applied) becomes a string of its text.
/// - A value nested deeper than 6,000 arrays and objects becomes a string of its text.
///
/// Everything else stays as it is, the members that `jsonb` would drop for a later one of the same
/// name included.
pub(crate) fn storable_json(json: &str) -> Cow<'_, str> {
    try_storable_json(json).unwrap_or_else(|TooDeep| {
        let mut text = String::with_capacity(json.len() + json.len() / 8);
        write_string(&mut text, json);
        Cow::Owned(text)
    })
}

/// As [`storable_json`].
///
/// # Errors
///
/// When `json` is nested too deep.
pub(crate) fn try_storable_json(json: &str) -> Result<Cow<'_, str>, TooDeep> {
    let bytes = json.as_bytes();
    let mut rewritten = Rewritten::new(json);
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at = string(bytes, at + 1, &mut rewritten),
            b'-' | b'0'..=b'9' => {
                let end = end_of_number(bytes, at);
                if !fits_numeric(bytes.get(at..end).unwrap_or_default()) {
                    rewritten.insert(at, "\"");
                    rewritten.insert(end, "\"");
                }
                at = end;
            }
            b'[' | b'{' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(TooDeep);
                }
                at += 1;
            }
            b']' | b'}' => {
                depth = depth.saturating_sub(1);
                at += 1;
            }
            _ => at += 1,
        }
    }
    Ok(rewritten.finish())
}

/// The input with insertions, from first to last, which copies nothing until there is one.
pub(super) struct Rewritten<'a> {
    input: &'a str,
    output: String,
    copied: usize,
}

impl<'a> Rewritten<'a> {
    pub(super) fn new(input: &'a str) -> Self {
        Self {
            input,
            output: String::new(),
            copied: 0,
        }
    }

    pub(super) fn insert(&mut self, at: usize, text: &str) {
        self.replace(at, at, text);
    }

    pub(super) fn replace(&mut self, from: usize, to: usize, text: &str) {
        self.output
            .push_str(self.input.get(self.copied..from).unwrap_or_default());
        self.output.push_str(text);
        self.copied = to;
    }

    pub(super) fn finish(mut self) -> Cow<'a, str> {
        if self.output.is_empty() {
            return Cow::Borrowed(self.input);
        }
        self.insert(self.input.len(), "");
        Cow::Owned(self.output)
    }
}

/// Goes over a string whose text starts at `at`; returns where it ends.
fn string(bytes: &[u8], mut at: usize, rewritten: &mut Rewritten<'_>) -> usize {
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => match unicode_escape(bytes, at) {
                None => at += 2,
                Some(0xD800..=0xDBFF)
                    if matches!(unicode_escape(bytes, at + 6), Some(0xDC00..=0xDFFF)) =>
                {
                    at += 12;
                }
                Some(0 | 0xD800..=0xDFFF) => {
                    rewritten.insert(at, "\\");
                    at += 6;
                }
                Some(_) => at += 6,
            },
            _ => at += 1,
        }
    }
    at
}

/// The number in the escape `\uXXXX` at `at`; `None` if there is no such escape.
pub(super) fn unicode_escape(bytes: &[u8], at: usize) -> Option<u32> {
    let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    u32::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
}

fn end_of_number(bytes: &[u8], at: usize) -> usize {
    bytes
        .iter()
        .skip(at)
        .position(|byte| !matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'))
        .map_or(bytes.len(), |len| at + len)
}

/// Whether `numeric` holds the JSON number: the rules of its input function, which it applies to
/// zeros too, except for the digits before the point.
fn fits_numeric(number: &[u8]) -> bool {
    const MAX_INTEGER_DIGITS: i64 = 131_072;
    const MAX_SCALE: i64 = 16_383;
    const EXPONENT_LIMIT: i64 = i32::MAX as i64 / 2;

    let digits = number.strip_prefix(b"-").unwrap_or(number);
    let mantissa_len = digits.iter().position(|byte| matches!(byte, b'e' | b'E'));
    let (mantissa, exponent) = digits.split_at(mantissa_len.unwrap_or(digits.len()));
    let exponent = match exponent {
        [] => 0,
        [_, exponent @ ..] => match str::from_utf8(exponent).ok().map(str::parse::<i64>) {
            Some(Ok(exponent)) => exponent,
            _ => return false,
        },
    };
    let point = mantissa.iter().position(|byte| *byte == b'.');
    let integer_len = point.unwrap_or(mantissa.len());
    let scale = length(mantissa.len()) - length(integer_len) - i64::from(point.is_some());
    if !(1 - EXPONENT_LIMIT..EXPONENT_LIMIT).contains(&exponent) || scale - exponent > MAX_SCALE {
        return false;
    }
    let leading_zeros = mantissa
        .iter()
        .filter(|byte| **byte != b'.')
        .position(|byte| *byte != b'0');
    leading_zeros
        .is_none_or(|zeros| length(integer_len) - length(zeros) + exponent <= MAX_INTEGER_DIGITS)
}

/// Lengths of slices are at most `isize::MAX`.
fn length(len: usize) -> i64 {
    i64::try_from(len).unwrap_or(i64::MAX)
}
