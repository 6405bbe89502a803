//! Text that a destination can hold whose encoding is not UTF-8.
//!
//! Such a [database] refuses a character that its encoding lacks, whether it is written as it is or, in
//! `jsonb`, as an escape.
//!
//! [database]: https://www.postgresql.org/docs/current/multibyte.html

use std::borrow::Cow;
use std::fmt::Write;

use super::storable::{Rewritten, unicode_escape};

/// `json`, which is valid, with each character beyond ASCII as itself, or if it is `lacking` as the text of
/// its escape: of an emoji in a string stays the text `\ud83d\ude00`.
///
/// No such character stays an escape, as an encoding without a conversion (`SQL_ASCII`) holds it, and
/// still refuses its escape.
pub(crate) fn encodable_json(json: &str, mut lacking: impl FnMut(char) -> bool) -> Cow<'_, str> {
    let bytes = json.as_bytes();
    let mut rewritten = Rewritten::new(json);
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        at += match byte {
            b'\\' => match escaped(bytes, at) {
                Some((character, len)) if character.is_ascii() => len,
                Some((character, len)) if lacking(character) => {
                    for unit in (at..at + len).step_by(6) {
                        rewritten.insert(unit, "\\");
                    }
                    len
                }
                Some((character, len)) => {
                    rewritten.replace(at, at + len, character.encode_utf8(&mut [0; 4]));
                    len
                }
                None => 2,
            },
            0..0x80 => 1,
            _ => beyond_ascii(json, at, "\\\\u", &mut rewritten, &mut lacking),
        };
    }
    rewritten.finish()
}

/// As [`encodable_json`], for text that is no JSON.
pub(crate) fn encodable_text(text: &str, mut lacking: impl FnMut(char) -> bool) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let mut rewritten = Rewritten::new(text);
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        at += match byte {
            0..0x80 => 1,
            _ => beyond_ascii(text, at, "\\u", &mut rewritten, &mut lacking),
        };
    }
    rewritten.finish()
}

/// Goes over the character at `at`; returns its length.
fn beyond_ascii(
    text: &str,
    at: usize,
    escape: &str,
    rewritten: &mut Rewritten<'_>,
    lacking: &mut impl FnMut(char) -> bool,
) -> usize {
    let Some(character) = text.get(at..).and_then(|rest| rest.chars().next()) else {
        return 1;
    };
    let len = character.len_utf8();
    if lacking(character) {
        let mut escapes = String::new();
        for unit in character.encode_utf16(&mut [0; 2]) {
            let _infallible = write!(escapes, "{escape}{unit:04x}");
        }
        rewritten.replace(at, at + len, &escapes);
    }
    len
}

/// The character whose escape is at `at`, and the length of that.
fn escaped(bytes: &[u8], at: usize) -> Option<(char, usize)> {
    let first = unicode_escape(bytes, at)?;
    if let Some(character) = char::from_u32(first) {
        return Some((character, 6));
    }
    let second = unicode_escape(bytes, at + 6)?;
    let code = 0x10000 + (first.checked_sub(0xD800)? << 10) + second.checked_sub(0xDC00)?;
    char::from_u32(code).map(|character| (character, 12))
}
