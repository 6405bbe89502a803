//! A table with a type that only the server knows the number of.

use std::io::Write;

use diesel::ExpressionMethods;
use diesel::expression::AsExpression;
use diesel::pg::Pg;
use diesel::query_builder::QueryId;
use diesel::serialize::{IsNull, Output, Result, ToSql};
use diesel::sql_types::SqlType;

pub(crate) const TABLES: &str =
    "CREATE TYPE mood AS ENUM ('fine'); CREATE TABLE moods (id mood PRIMARY KEY)";

#[derive(SqlType, QueryId)]
#[diesel(postgres_type(name = "mood"))]
pub struct MoodType;

#[derive(Debug, AsExpression)]
#[diesel(sql_type = MoodType)]
pub(crate) struct Fine;

impl ToSql<MoodType, Pg> for Fine {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> Result {
        out.write_all(b"fine")?;
        Ok(IsNull::No)
    }
}

diesel::table! {
    use super::MoodType;
    moods { id -> MoodType }
}

/// A row to insert.
pub(crate) fn fine() -> diesel::dsl::Eq<moods::id, Fine> {
    moods::id.eq(Fine)
}
