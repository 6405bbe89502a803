//! The `bemi` command.
fn main() {}
