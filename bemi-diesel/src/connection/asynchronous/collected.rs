//! A query that has been taken apart, so that it can be sent a second time, or prepared.

use std::sync::Arc;

use diesel::pg::{Pg, PgMetadataLookup, PgTypeMetadata};
use diesel::query_builder::{CollectedQuery, QueryFragment};

use crate::connection::tagged::Binds;

/// The text and the parameters of a query, which itself need not be `Send` and is gone once it is sent.
pub(super) struct Collected {
    sql: Arc<str>,
    pub(super) binds: Binds,
}

impl Collected {
    /// `None` if a parameter is of a type that only the server knows, as the number of such a type is
    /// found out on the way.
    pub(super) fn new<T: QueryFragment<Pg>>(sql: &Arc<str>, query: &T) -> Option<Self> {
        let mut binds = Binds::new();
        let mut lookup = BuiltIn { only: true };
        query.collect_binds(&mut binds, &mut lookup, &Pg).ok()?;
        lookup.only.then(|| Self {
            sql: Arc::clone(sql),
            binds,
        })
    }

    /// The query, to be `prepared` under a name or not.
    pub(super) fn query(self, prepared: bool) -> CollectedQuery<Binds> {
        CollectedQuery::new(self.sql.as_ref().to_owned(), prepared, self.binds)
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
