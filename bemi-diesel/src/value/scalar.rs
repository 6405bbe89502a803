//! Scalars. A writer returns `None` for text that is not in the form its type writes; what it has
//! appended by then is taken back.

/// Appends `text` as a JSON string.
pub(crate) fn write_string(out: &mut String, text: &str) {
    out.push('"');
    push_escaped(out, text);
    out.push('"');
}

/// The start of an object's member: `"name":`.
pub(crate) fn member_prefix(name: &str) -> Box<str> {
    let mut prefix = String::with_capacity(name.len() + 3);
    write_string(&mut prefix, name);
    prefix.push(':');
    prefix.into_boxed_str()
}

fn push_escaped(out: &mut String, text: &str) {
    let mut rest = text;
    while let Some((plain, byte, after)) = split_at_special(rest) {
        out.push_str(plain);
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            control => {
                const HEX: [char; 16] = [
                    '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
                ];
                out.push_str("\\u00");
                out.push(HEX[usize::from(control >> 4)]);
                out.push(HEX[usize::from(control & 0xF)]);
            }
        }
        rest = after;
    }
    out.push_str(rest);
}

/// Splits around the first byte that JSON wants escaped. It is ASCII, so both sides are text.
fn split_at_special(text: &str) -> Option<(&str, u8, &str)> {
    let at = text
        .bytes()
        .position(|byte| byte < 0x20 || byte == b'"' || byte == b'\\')?;
    Some((
        text.get(..at)?,
        *text.as_bytes().get(at)?,
        text.get(at + 1..)?,
    ))
}

pub(super) fn write_bool(out: &mut String, text: &str) -> Option<()> {
    out.push_str(match text {
        "t" => "true",
        "f" => "false",
        _ => return None,
    });
    Some(())
}

/// A finite number is JSON already; `NaN` and the infinities are not.
pub(super) fn write_number(out: &mut String, text: &str) -> Option<()> {
    is_json_number(text.as_bytes()).then(|| out.push_str(text))
}

fn is_json_number(text: &[u8]) -> bool {
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let (integer, mut rest) = split_digits(text);
    if integer.is_empty() || integer.len() > 1 && integer.starts_with(b"0") {
        return false;
    }
    if let Some(fraction) = rest.strip_prefix(b".") {
        let (digits, after) = split_digits(fraction);
        if digits.is_empty() {
            return false;
        }
        rest = after;
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        let unsigned = exponent.strip_prefix(b"-").or(exponent.strip_prefix(b"+"));
        let (digits, after) = split_digits(unsigned.unwrap_or(exponent));
        if digits.is_empty() {
            return false;
        }
        rest = after;
    }
    rest.is_empty()
}

fn split_digits(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text
        .iter()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at(end)
}

/// `2001-02-03 04:05:06` with or without ` BC` becomes `"2001-02-03T04:05:06"`; the infinities have
/// no space and stay text.
pub(super) fn write_timestamp(out: &mut String, text: &str) -> Option<()> {
    let (date, time) = split_date(text)?;
    out.push('"');
    out.push_str(date);
    out.push('T');
    push_escaped(out, time);
    out.push('"');
    Some(())
}

/// As [`write_timestamp`]; the zone, of which the text form leaves out minutes that are zero, gets
/// them.
pub(super) fn write_timestamptz(out: &mut String, text: &str) -> Option<()> {
    let (date, time) = split_date(text)?;
    let (time, era) = time.split_at(time.find(' ').unwrap_or(time.len()));
    let zone = time.len() - time.rfind(['+', '-'])?;
    out.push('"');
    out.push_str(date);
    out.push('T');
    push_escaped(out, time);
    if zone == "+00".len() {
        out.push_str(":00");
    }
    push_escaped(out, era);
    out.push('"');
    Some(())
}

fn split_date(text: &str) -> Option<(&str, &str)> {
    let (date, time) = text.split_once(' ')?;
    date.bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'-')
        .then_some((date, time))
}
