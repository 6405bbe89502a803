//! Which database, which slot, which publication: what setup, capture and the command agree on.

use crate::error::Error;
use crate::postgres::Endpoint;
use crate::stitch::{ColumnPattern, Rules};

/// The slot's and the publication's name where none is given.
pub(crate) const DEFAULT_NAME: &str = "bemi";

/// What a capture does when changes cannot be read any more: the slot was dropped, moved on or lost its log, or the
/// publication was dropped for a while.
///
/// Where the database is an older copy of the captured one, or another slot was captured from before, it stops
/// whatever the policy: that is for a person to decide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GapPolicy {
    /// It stops, with an error that says what to do.
    #[default]
    Stop,
    /// It makes the slot anew where need be, stores an entry with the operation [`Gap`](crate::Operation::Gap), which
    /// says what is missing, and goes on. The rows of an earlier time are not known any more; `bemi snapshot` stores
    /// them anew.
    Record,
}

#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) source: Endpoint,
    pub(crate) destination: Endpoint,
    pub(crate) slot: String,
    pub(crate) publication: String,
    pub(crate) rules: Rules,
    pub(crate) on_gap: GapPolicy,
    /// At how many bytes of log that the source keeps the slot is given up.
    pub(crate) give_up_at: Option<u64>,
}

impl Settings {
    pub(crate) fn new(
        source: &str,
        destination: Option<&str>,
        slot: &str,
        publication: &str,
    ) -> Result<Self, Error> {
        let source_endpoint = Endpoint::parse(source)?;
        let destination = destination
            .map(Endpoint::parse)
            .transpose()?
            .unwrap_or_else(|| source_endpoint.clone());
        let valid_slot = (1..=63).contains(&slot.len())
            && slot
                .bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
        if !valid_slot {
            return Err(Error::configuration(format!(
                "the slot name {slot:?} is not valid: PostgreSQL allows 1 to 63 lower-case letters, digits and underscores"
            )));
        }
        if !(1..=63).contains(&publication.len()) || publication.contains('\0') {
            return Err(Error::configuration(format!(
                "the publication name {publication:?} is not valid: PostgreSQL allows 1 to 63 bytes"
            )));
        }
        Ok(Self {
            source: source_endpoint,
            destination,
            slot: slot.to_owned(),
            publication: publication.to_owned(),
            rules: Rules::default(),
            on_gap: GapPolicy::default(),
            give_up_at: None,
        })
    }

    /// Leaves updates out that changed nothing but the columns that `ignore` names, and, unless
    /// `keep_unchanged`, those that changed nothing.
    pub(crate) fn with_rules<T: AsRef<str>>(
        mut self,
        ignore: impl IntoIterator<Item = T>,
        keep_unchanged: bool,
    ) -> Result<Self, Error> {
        let pattern = |text: T| {
            let text = text.as_ref();
            ColumnPattern::new(text).ok_or_else(|| {
                Error::configuration(format!(
                    "the pattern {text:?} names no column: it is `column`, `table.column` or `schema.table.column`"
                ))
            })
        };
        self.rules = Rules {
            ignore: ignore.into_iter().map(pattern).collect::<Result<_, _>>()?,
            keep_unchanged,
        };
        Ok(self)
    }
}
