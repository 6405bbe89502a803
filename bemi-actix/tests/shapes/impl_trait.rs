//! `impl Trait` in the arguments and the result.

#[path = "support/mod.rs"]
mod support;

use std::fmt::Display;

use actix_web::{Responder, get, test::TestRequest, web::Path};
use bemi_diesel::bemi_context;

#[bemi_context(shown = shown.to_string())]
async fn show(shown: impl Display + Send + 'static) -> impl Future<Output = String> {
    async move { shown.to_string() }
}

#[get("/{id}")]
#[bemi_context(id = *id)]
async fn handler(id: Path<i32>) -> impl Responder {
    assert_eq!(show(*id).await.await, "7");
    support::context()
}

fn main() {
    support::check(
        handler,
        TestRequest::get().uri("/7"),
        support::json!({"id": 7, "shown": "7"}),
    );
}
