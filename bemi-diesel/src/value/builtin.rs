//! The types that come with PostgreSQL.

use std::sync::Arc;

use postgres_types::{Kind, Type};

use super::ColumnType;

/// The built-in type with the object identifier `oid`; `None` if it is not one of them, so that the
/// source's catalog has to be asked.
pub(crate) fn builtin(oid: u32) -> Option<ColumnType> {
    let ty = Type::from_oid(oid)?;
    Some(match ty {
        Type::BOOL => ColumnType::Bool,
        Type::INT2 | Type::INT4 | Type::INT8 | Type::FLOAT4 | Type::FLOAT8 | Type::NUMERIC => {
            ColumnType::Number
        }
        Type::JSON | Type::JSONB => ColumnType::Json,
        Type::TIMESTAMP => ColumnType::Timestamp,
        Type::TIMESTAMPTZ => ColumnType::TimestampTz,
        Type::INT2_VECTOR => ColumnType::Vector(Arc::new(ColumnType::Number)),
        Type::OID_VECTOR => ColumnType::Vector(Arc::new(ColumnType::Text)),
        _ => match ty.kind() {
            Kind::Array(element) => ColumnType::array(builtin(element.oid())?, delimiter(element)),
            _ => ColumnType::Text,
        },
    })
}

fn delimiter(element: &Type) -> char {
    // Its own text is full of commas.
    if *element == Type::BOX { ';' } else { ',' }
}
