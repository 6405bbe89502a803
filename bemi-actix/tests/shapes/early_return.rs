//! A handler that returns early.

#[path = "support/mod.rs"]
mod support;

use actix_web::{HttpResponse, get, test::TestRequest, web::Path};
use bemi_diesel::bemi_context;

#[get("/{id}")]
#[bemi_context(id = *id)]
async fn handler(id: Path<i32>) -> HttpResponse {
    if *id < 10 {
        return support::context();
    }
    HttpResponse::NotFound().finish()
}

fn main() {
    support::check(
        handler,
        TestRequest::get().uri("/7"),
        support::json!({"id": 7}),
    );
}
