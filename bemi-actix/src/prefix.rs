//! What can be read of the beginning of a body.

use serde_json::Value;

/// The JSON value that begins with `text`, without what is not complete in it: of `{"a":1,"b":[2,34` it
/// is `{"a":1,"b":[2]}`, as the 34 may be a 345.
///
/// `None` where nothing is complete, or the text is no JSON.
pub(crate) fn json(text: &[u8]) -> Option<Value> {
    // Behind the last value that is complete no bracket is opened or closed, so those that are open at
    // the end of the text are those that are open there.
    let mut open = Vec::new();
    let mut complete = 0;
    let mut key_follows = false;
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        at = match byte {
            b'{' | b'[' => {
                key_follows = *byte == b'{';
                open.push(if key_follows { b'}' } else { b']' });
                complete = at + 1;
                complete
            }
            b'}' | b']' => {
                open.pop();
                complete = at + 1;
                complete
            }
            b',' => {
                key_follows = open.last() == Some(&b'}');
                at + 1
            }
            b':' => {
                key_follows = false;
                at + 1
            }
            b' ' | b'\t' | b'\r' | b'\n' => at + 1,
            _ => {
                let end = if *byte == b'"' {
                    end_of_string(text, at + 1)
                } else {
                    end_of_word(text, at)
                };
                let Some(end) = end else { break };
                if !key_follows {
                    complete = end;
                }
                end
            }
        };
    }
    let mut whole = text.get(..complete)?.to_vec();
    whole.extend(open.iter().rev());
    serde_json::from_slice(&whole).ok()
}

/// Behind the quote that ends the string.
fn end_of_string(text: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// Where a number, `true`, `false` or `null` ends, if it does.
fn end_of_word(text: &[u8], at: usize) -> Option<usize> {
    let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\r' | b'\n');
    Some(at + text.get(at..)?.iter().position(ends)?)
}

/// The parameters of a form that are complete in `text`.
pub(crate) fn form(text: &[u8]) -> Option<&[u8]> {
    let last = text.iter().rposition(|byte| *byte == b'&')?;
    text.get(..last)
}

#[cfg(test)]
mod tests;
