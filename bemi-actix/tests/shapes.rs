//! The shapes of handlers that `#[bemi_context]` stands on: each compiles as a program of its own, runs, and
//! finds what it recorded.

#[test]
fn handlers() {
    trybuild::TestCases::new().pass("tests/shapes/*.rs");
}
