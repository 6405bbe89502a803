//! A query that has been taken apart, so that it can be sent a second time, or prepared.

use std::sync::Arc;

use diesel::pg::{Pg, PgMetadataLookup, PgTypeMetadata};
use diesel::query_builder::{CollectedQuery, QueryFragment};

use crate::connection::tagged::Binds;

/// The parameters that are bound to `query`. `None` if one is of a type that only the server knows, as the
/// number of such a type is found out on the way.
pub(super) fn collected<T: QueryFragment<Pg>>(query: &T) -> Option<Binds> {
    let mut binds = Binds::new();
    let mut lookup = BuiltIn { only: true };
    query.collect_binds(&mut binds, &mut lookup, &Pg).ok()?;
    lookup.only.then_some(binds)
}

/// The text and the parameters of a query, which itself need not be `Send` and is gone once it is sent.
///
/// It is seldom needed, so the parameters lie one behind the other, which spares an allocation for each.
pub(super) struct Kept {
    sql: Arc<str>,
    parameters: Vec<Parameter>,
    values: Vec<u8>,
}

struct Parameter {
    oid: u32,
    array_oid: u32,
    /// `None` is NULL.
    length: Option<usize>,
}

impl Kept {
    /// `None` if the number of a type is not known.
    pub(super) fn new(sql: &Arc<str>, binds: &Binds) -> Option<Self> {
        let parameter = |(metadata, value): (&PgTypeMetadata, &Option<Vec<u8>>)| {
            Some(Parameter {
                oid: metadata.oid().ok()?,
                array_oid: metadata.array_oid().ok()?,
                length: value.as_ref().map(Vec::len),
            })
        };
        let parameters = binds.metadata.iter().zip(&binds.binds);
        let mut values = Vec::with_capacity(binds.binds.iter().flatten().map(Vec::len).sum());
        for value in binds.binds.iter().flatten() {
            values.extend_from_slice(value);
        }
        Some(Self {
            sql: Arc::clone(sql),
            parameters: parameters.map(parameter).collect::<Option<_>>()?,
            values,
        })
    }

    /// The query, to be `prepared` under a name or not.
    pub(super) fn query(&self, prepared: bool) -> CollectedQuery<Binds> {
        let mut binds = Binds::new();
        let mut rest = self.values.as_slice();
        for parameter in &self.parameters {
            let metadata = PgTypeMetadata::new(parameter.oid, parameter.array_oid);
            binds.metadata.push(metadata);
            binds.binds.push(parameter.length.map(|length| {
                let (value, behind) = rest.split_at(length);
                rest = behind;
                value.to_vec()
            }));
        }
        CollectedQuery::new(self.sql.as_ref().to_owned(), prepared, binds)
    }
}

/// Knows no type but those that are the same in every server.
struct BuiltIn {
    only: bool,
}

impl PgMetadataLookup for BuiltIn {
    fn lookup_type(&mut self, _type_name: &str, _schema: Option<&str>) -> PgTypeMetadata {
        self.only = false;
        PgTypeMetadata::new(0, 0)
    }
}
