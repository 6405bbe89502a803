//! Reads a frame from front to back. Every read checks that the bytes are there.

use bytes::{Buf, Bytes};
use chrono::{DateTime, Utc};

use super::{DecodeError, RelationId, text, timestamp};
use crate::Lsn;

pub(super) struct Cursor {
    rest: Bytes,
}

impl Cursor {
    pub(super) fn new(frame: Bytes) -> Self {
        Self { rest: frame }
    }

    /// What has not been read yet.
    pub(super) fn rest(&self) -> &[u8] {
        &self.rest
    }

    pub(super) fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.rest.try_get_u8()?)
    }

    pub(super) fn u16(&mut self) -> Result<u16, DecodeError> {
        Ok(self.rest.try_get_u16()?)
    }

    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(self.rest.try_get_u32()?)
    }

    pub(super) fn i32(&mut self) -> Result<i32, DecodeError> {
        Ok(self.rest.try_get_i32()?)
    }

    pub(super) fn lsn(&mut self) -> Result<Lsn, DecodeError> {
        Ok(Lsn::new(self.rest.try_get_u64()?))
    }

    pub(super) fn timestamp(&mut self) -> Result<DateTime<Utc>, DecodeError> {
        timestamp(self.rest.try_get_i64()?)
    }

    pub(super) fn relation_id(&mut self) -> Result<RelationId, DecodeError> {
        self.u32().map(RelationId)
    }

    /// The text up to the next zero byte, which is skipped.
    pub(super) fn c_string(&mut self) -> Result<String, DecodeError> {
        let end = self.rest.iter().position(|byte| *byte == 0);
        let bytes = self.bytes(end.ok_or(DecodeError::UnexpectedEnd)?)?;
        self.u8()?;
        Ok(text(&bytes).into_owned())
    }

    /// The next `len` bytes, shared with the frame.
    pub(super) fn bytes(&mut self, len: usize) -> Result<Bytes, DecodeError> {
        if len > self.rest.len() {
            return Err(DecodeError::UnexpectedEnd);
        }
        Ok(self.rest.split_to(len))
    }

    /// Nothing may be left over.
    pub(super) fn finish(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::TrailingBytes)
        }
    }
}
