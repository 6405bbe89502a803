//! Rows as the application asked for them.

use std::ops::Range;

use diesel::pg::Pg;
use diesel::row::{PartialRow, Row, RowIndex, RowSealed};

/// Whether the last column of a result is the tag's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hidden {
    Nothing,
    LastColumn,
}

impl Hidden {
    pub(super) fn row<'a, R: Row<'a, Pg>>(self, inner: R) -> VisibleRow<R> {
        let fields = match self {
            Self::Nothing => inner.field_count(),
            Self::LastColumn => inner.field_count().saturating_sub(1),
        };
        VisibleRow { inner, fields }
    }
}

/// A row without the column that the tag added.
pub struct VisibleRow<R> {
    inner: R,
    fields: usize,
}

impl<R> RowSealed for VisibleRow<R> {}

impl<R> RowIndex<usize> for VisibleRow<R> {
    fn idx(&self, idx: usize) -> Option<usize> {
        (idx < self.fields).then_some(idx)
    }
}

impl<'n, R: RowIndex<&'n str>> RowIndex<&'n str> for VisibleRow<R> {
    fn idx(&self, name: &'n str) -> Option<usize> {
        // The first of that name, so never the added column in place of another.
        self.inner.idx(name).filter(|idx| *idx < self.fields)
    }
}

impl<'a, R: Row<'a, Pg>> Row<'a, Pg> for VisibleRow<R> {
    type Field<'f>
        = R::Field<'f>
    where
        'a: 'f,
        Self: 'f;
    type InnerPartialRow = Self;

    fn field_count(&self) -> usize {
        self.fields
    }

    fn get<'b, I>(&'b self, idx: I) -> Option<Self::Field<'b>>
    where
        'a: 'b,
        Self: RowIndex<I>,
    {
        self.inner.get(self.idx(idx)?)
    }

    fn partial_row(&self, range: Range<usize>) -> PartialRow<'_, Self::InnerPartialRow> {
        PartialRow::new(self, range)
    }
}
