//! A function that is routed by `web::to`.

#[path = "support/mod.rs"]
mod support;

use actix_web::{HttpResponse, test::TestRequest, web};
use bemi_diesel::bemi_context;

#[bemi_context(id = *id)]
async fn handler(id: web::Path<i32>) -> HttpResponse {
    support::context()
}

fn main() {
    let service = web::resource("/{id}").to(handler);
    support::check(
        service,
        TestRequest::get().uri("/7"),
        support::json!({"id": 7}),
    );
}
