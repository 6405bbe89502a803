//! A query that can be sent a second time.

use diesel::pg::{Pg, PgMetadataLookup, PgQueryBuilder, PgTypeMetadata};
use diesel::query_builder::bind_collector::RawBytesBindCollector;
use diesel::query_builder::{CollectedQuery, QueryBuilder, QueryFragment};

/// The text and the parameters of a query, which itself need not be `Send` and is gone once it is sent.
pub(super) struct Again {
    sql: String,
    binds: RawBytesBindCollector<Pg>,
}

impl Again {
    /// `None` if a parameter is of a type that only the server knows, as the number of such a type is
    /// found out on the way.
    pub(super) fn new<T: QueryFragment<Pg>>(query: &T) -> Option<Self> {
        let mut sql = PgQueryBuilder::default();
        query.to_sql(&mut sql, &Pg).ok()?;
        let mut binds = RawBytesBindCollector::<Pg>::new();
        let mut lookup = BuiltIn { only: true };
        query.collect_binds(&mut binds, &mut lookup, &Pg).ok()?;
        lookup.only.then(|| Self {
            sql: sql.finish(),
            binds,
        })
    }

    /// How many parameters there are.
    pub(super) fn bound(&self) -> u32 {
        u32::try_from(self.binds.binds.len()).unwrap_or(u32::MAX - 1)
    }

    pub(super) fn query(self) -> CollectedQuery<RawBytesBindCollector<Pg>> {
        CollectedQuery::new(self.sql, false, self.binds)
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
