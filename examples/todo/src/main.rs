//! A to-do list with an audit trail.
fn main() {}
