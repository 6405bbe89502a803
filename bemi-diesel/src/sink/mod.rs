//! Where changes are stored.

mod encoding;
pub(crate) mod postgres;
pub(crate) mod store;
