//! Changes into the table by COPY.

use std::borrow::Cow;
use std::pin::pin;

use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use super::{PostgresSink, STORING};
use crate::Change;
use crate::error::Error;
use crate::sink::encoding::Encoding;

/// The columns that are written.
macro_rules! columns {
    () => {
        "id, source, database, schema, \"table\", primary_key, previous_key, operation, before, after, \
         context, committed_at, queued_at, transaction_id, position, commit_lsn, ordinal"
    };
}

/// `COPY … BINARY` stores a third more rows a second than the fastest INSERT (38,000 against 28,000 on
/// one connection).
pub(super) const COPY: &str = concat!(
    "COPY public.changes (",
    columns!(),
    ") FROM STDIN (FORMAT binary)"
);

/// Stores one change.
pub(super) const INSERT: &str = concat!(
    "INSERT INTO public.changes (",
    columns!(),
    ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)"
);

const COLUMNS: [Type; 17] = [
    Type::UUID,
    Type::INT8,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::JSONB,
    Type::JSONB,
    Type::JSONB,
    Type::TIMESTAMPTZ,
    Type::TIMESTAMPTZ,
    Type::INT8,
    Type::INT8,
    Type::INT8,
    Type::INT8,
];

impl PostgresSink {
    pub(super) async fn copy(&self, changes: &[&Change]) -> Result<(), Error> {
        let beginning = self.connection.client.copy_in(&self.copy);
        let sink = self.connection.answer(STORING, beginning).await?;
        let mut writer = pin!(BinaryCopyInWriter::new(sink, &COLUMNS));
        for change in changes {
            let row = Row::of(change, &self.encoding);
            let binds = row.binds();
            let writing = writer.as_mut().write(&binds);
            self.connection.answer(STORING, writing).await?;
        }
        failpoint!("copying");
        let finishing = writer.finish();
        self.connection
            .answer(STORING, finishing)
            .await
            .map(|_rows| ())
    }
}

/// A change as its columns.
pub(super) struct Row<'a> {
    change: &'a Change,
    database: Cow<'a, str>,
    schema: Cow<'a, str>,
    table: Cow<'a, str>,
    primary_key: Option<Cow<'a, str>>,
    previous_key: Option<Cow<'a, str>>,
    operation: &'static str,
    before: Jsonb<'a>,
    after: Jsonb<'a>,
    context: Jsonb<'a>,
    transaction_id: i64,
    position: i64,
    commit_lsn: i64,
    ordinal: i64,
}

impl<'a> Row<'a> {
    /// In a form that the destination holds, as far as is known.
    pub(super) fn of(change: &'a Change, encoding: &'a Encoding) -> Self {
        let key = |key: &'a Option<String>| key.as_deref().map(|key| encoding.text(key));
        Self {
            change,
            database: encoding.text(&change.database),
            schema: encoding.text(&change.schema),
            table: encoding.text(&change.table),
            primary_key: key(&change.primary_key),
            previous_key: key(&change.previous_key),
            operation: change.operation.as_str(),
            before: Jsonb(encoding.json(&change.before)),
            after: Jsonb(encoding.json(&change.after)),
            context: Jsonb(encoding.json(&change.context)),
            transaction_id: i64::from(change.transaction_id.as_u32()),
            position: change.position.as_i64(),
            commit_lsn: change.commit_lsn.as_i64(),
            ordinal: change.ordinal.cast_signed(),
        }
    }

    pub(super) fn binds(&self) -> [&(dyn ToSql + Sync); 17] {
        [
            &self.change.id,
            &self.change.source,
            &self.database,
            &self.schema,
            &self.table,
            &self.primary_key,
            &self.previous_key,
            &self.operation,
            &self.before,
            &self.after,
            &self.context,
            &self.change.committed_at,
            &self.change.queued_at,
            &self.transaction_id,
            &self.position,
            &self.commit_lsn,
            &self.ordinal,
        ]
    }
}

/// JSON text as `jsonb` travels: a version byte, then the text.
#[derive(Debug)]
pub(in crate::sink) struct Jsonb<'a>(pub(in crate::sink) Cow<'a, str>);

impl ToSql for Jsonb<'_> {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut bytes::BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.extend_from_slice(&[1]);
        out.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::JSONB
    }

    to_sql_checked!();
}
