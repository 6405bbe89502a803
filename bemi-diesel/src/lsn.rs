//! Positions in the write-ahead log, and transaction identifiers.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A position in PostgreSQL's write-ahead log: the byte offset since the cluster was made.
///
/// PostgreSQL writes it as two hexadecimal halves ([`pg_lsn`]); a `bigint` column such as
/// `changes.position` holds the same number as an integer.
///
/// ```
/// use bemi_diesel::Lsn;
///
/// let lsn: Lsn = "16/B374D848".parse()?;
/// assert_eq!(lsn.as_u64(), 0x16_B374_D848);
/// assert_eq!(lsn.to_string(), "16/B374D848");
/// # Ok::<(), bemi_diesel::ParseLsnError>(())
/// ```
///
/// [`pg_lsn`]: https://www.postgresql.org/docs/current/datatype-pg-lsn.html
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(
    any(feature = "sync", feature = "async"),
    derive(diesel::deserialize::FromSqlRow)
)]
pub struct Lsn(u64);

impl Lsn {
    /// No position: what PostgreSQL calls `InvalidXLogRecPtr`, written `0/0`.
    pub const ZERO: Self = Self(0);

    /// The position `bytes` bytes into the log.
    #[must_use]
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The byte offset.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The byte offset as a `bigint` column holds it. Positions beyond 2⁶³ (8 EiB of log) would
    /// come out negative; no cluster gets there.
    #[must_use]
    pub const fn as_i64(self) -> i64 {
        self.0.cast_signed()
    }

    /// The position that a `bigint` column holds.
    #[must_use]
    pub const fn from_i64(value: i64) -> Self {
        Self(value.cast_unsigned())
    }
}

impl From<u64> for Lsn {
    fn from(bytes: u64) -> Self {
        Self(bytes)
    }
}

impl From<Lsn> for u64 {
    fn from(lsn: Lsn) -> Self {
        lsn.0
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

impl fmt::Debug for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not of the form `X/X` with at most eight hexadecimal digits in each half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseLsnError;

impl fmt::Display for ParseLsnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "not a log sequence number: expected two hexadecimal halves such as 16/B374D848",
        )
    }
}

impl std::error::Error for ParseLsnError {}

impl FromStr for Lsn {
    type Err = ParseLsnError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let (high, low) = s.split_once('/').ok_or(ParseLsnError)?;
        let half = |digits: &str| {
            // `from_str_radix` alone would take a sign.
            match digits.as_bytes().first() {
                Some(b'+') | None => Err(ParseLsnError),
                Some(_) => u32::from_str_radix(digits, 16).map_err(|_| ParseLsnError),
            }
        };
        Ok(Self(u64::from(half(high)?) << 32 | u64::from(half(low)?)))
    }
}

/// A transaction identifier of the source, 32 bits wide as the log carries it.
///
/// It wraps around after four billion transactions; what identifies a transaction for ever is the
/// [`Lsn`] of its commit.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
#[cfg_attr(
    any(feature = "sync", feature = "async"),
    derive(diesel::deserialize::FromSqlRow)
)]
pub struct Xid(u32);

impl Xid {
    /// The transaction numbered `xid`.
    #[must_use]
    pub const fn new(xid: u32) -> Self {
        Self(xid)
    }

    /// The number.
    #[must_use]
    pub const fn as_u32(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Xid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests;
