//! Lifetimes in the arguments and the result.

#[path = "support/mod.rs"]
mod support;

use actix_web::{HttpResponse, get, test::TestRequest, web::Path};
use bemi_diesel::bemi_context;

#[bemi_context(longest = a.len().max(b.len()))]
fn longer<'a, 'b: 'a>(a: &'a str, b: &'b str) -> &'a str {
    if a.len() > b.len() { a } else { b }
}

#[bemi_context(first = words.first())]
async fn first<'a>(words: &'a [&'static str]) -> Option<&'a &'static str> {
    words.first()
}

#[get("/{word}")]
async fn handler(word: Path<String>) -> HttpResponse {
    assert_eq!(longer(&word, "ab"), "abc");
    assert_eq!(first(&["x", "y"]).await, Some(&"x"));
    support::context()
}

fn main() {
    let expected = support::json!({"longest": 3, "first": "x"});
    support::check(handler, TestRequest::get().uri("/abc"), expected);
}
