//! Where changes are stored.

pub(crate) mod postgres;
pub(crate) mod store;
