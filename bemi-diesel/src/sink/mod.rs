//! Where changes are stored.

#[cfg(feature = "cli")]
pub(crate) mod baseline;
mod encoding;
pub(crate) mod gap;
pub(crate) mod poison;
pub(crate) mod postgres;
pub(crate) mod store;
