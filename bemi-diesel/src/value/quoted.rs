//! Quoted elements of arrays and composites.

use std::borrow::Cow;

/// What a `"` right behind a closing `"` means.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Doubled {
    /// A `"` in the text: composites.
    Escape,
    /// A mistake: arrays, which escape by a backslash alone.
    Refuse,
}

/// The text of the quoted element that `text` starts with, without its opening quote, and what
/// comes after the closing one. `None` if there is none.
pub(super) fn split_quoted(text: &str, doubled: Doubled) -> Option<(Cow<'_, str>, &str)> {
    let mut unescaped = String::new();
    let mut rest = text;
    loop {
        let at = rest.find(['"', '\\'])?;
        let (plain, special) = rest.split_at_checked(at)?;
        if let Some(after) = special.strip_prefix('\\') {
            let escaped = after.chars().next()?;
            unescaped.push_str(plain);
            unescaped.push(escaped);
            rest = after.get(escaped.len_utf8()..)?;
            continue;
        }
        let after = special.strip_prefix('"')?;
        match after.strip_prefix('"') {
            Some(after) if doubled == Doubled::Escape => {
                unescaped.push_str(plain);
                unescaped.push('"');
                rest = after;
            }
            _ if unescaped.is_empty() => return Some((Cow::Borrowed(plain), after)),
            _ => {
                unescaped.push_str(plain);
                return Some((Cow::Owned(unescaped), after));
            }
        }
    }
}
