//! Pages to read.

#[doc = include_str!("../docs/direct_sql.md")]
pub mod direct_sql {}

#[doc = include_str!("../docs/faults.md")]
pub mod faults {}

#[doc = include_str!("../docs/observability.md")]
pub mod observability {}

#[doc = include_str!("../docs/protocol.md")]
pub mod protocol {}
