//! Text from the wire.

use std::borrow::Cow;
use std::fmt::Write;

/// The text in `bytes`; a byte that is not part of UTF-8 becomes the four characters `\xNN`.
///
/// The session asks for UTF-8, and the server converts to it from every encoding but `SQL_ASCII`, under which it
/// stores whatever bytes a client wrote, and sends them as they are if asked for no encoding. They must neither be lost nor stop
/// the capture.
pub(crate) fn text(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        escaped.push_str(chunk.valid());
        for byte in chunk.invalid() {
            // Writing into a `String` cannot fail.
            let _ = write!(escaped, "\\x{byte:02x}");
        }
    }
    Cow::Owned(escaped)
}
