//! Above a route macro.

#[path = "support/mod.rs"]
mod support;

use actix_web::{HttpResponse, post, test::TestRequest, web::Path};
use bemi_diesel::bemi_context;

#[bemi_context(id = *id)]
#[post("/{id}")]
async fn handler(id: Path<i32>) -> HttpResponse {
    let _id = id.into_inner();
    support::context()
}

fn main() {
    support::check(
        handler,
        TestRequest::post().uri("/7"),
        support::json!({"id": 7}),
    );
}
