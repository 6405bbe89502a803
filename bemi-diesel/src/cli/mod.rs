//! The `bemi` command.
