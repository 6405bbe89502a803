//! Where a page of changes ends.

use std::fmt;
use std::str::FromStr;

use crate::{Change, Lsn};

/// The place of a change in the trail, to go on from: what identifies it.
///
/// As text it is short and fit for a URL.
///
/// ```
/// use bemi_diesel::history::Cursor;
///
/// let cursor: Cursor = "7-16B374D848-2".parse()?;
/// assert_eq!((cursor.source, cursor.commit_lsn.to_string().as_str(), cursor.ordinal), (7, "16/B374D848", 2));
/// assert_eq!(cursor.to_string(), "7-16B374D848-2");
/// # Ok::<(), bemi_diesel::history::ParseCursorError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor {
    /// See [`Change::source`].
    pub source: i64,
    /// See [`Change::commit_lsn`].
    pub commit_lsn: Lsn,
    /// See [`Change::ordinal`].
    pub ordinal: u64,
}

impl From<&Change> for Cursor {
    fn from(change: &Change) -> Self {
        Self {
            source: change.source,
            commit_lsn: change.commit_lsn,
            ordinal: change.ordinal,
        }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lsn = self.commit_lsn.as_u64();
        write!(f, "{}-{lsn:X}-{}", self.source, self.ordinal)
    }
}

/// The text is no [`Cursor`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseCursorError;

impl fmt::Display for ParseCursorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a place in the trail: expected a text such as 7-16B374D848-2")
    }
}

impl std::error::Error for ParseCursorError {}

impl FromStr for Cursor {
    type Err = ParseCursorError;

    fn from_str(text: &str) -> Result<Self, ParseCursorError> {
        // From the right, as a source can be negative.
        let mut parts = text.rsplitn(3, '-');
        let mut part = || parts.next().ok_or(ParseCursorError);
        let (ordinal, lsn, source) = (part()?, part()?, part()?);
        Ok(Self {
            source: source.parse().map_err(|_| ParseCursorError)?,
            commit_lsn: Lsn::new(u64::from_str_radix(lsn, 16).map_err(|_| ParseCursorError)?),
            ordinal: ordinal.parse().map_err(|_| ParseCursorError)?,
        })
    }
}
