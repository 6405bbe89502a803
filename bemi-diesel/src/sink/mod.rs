//! Where changes are stored.
