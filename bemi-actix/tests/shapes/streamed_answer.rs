//! A handler whose answer is still being written when it has returned.

#[path = "support/mod.rs"]
mod support;

use std::convert::Infallible;

use actix_web::{HttpResponse, get, test::TestRequest, web::Bytes, web::Path};
use bemi_diesel::{bemi_context, current_context, set_context};
use futures_util::stream;

#[get("/{id}")]
#[bemi_context(id = *id)]
async fn handler(id: Path<i32>) -> HttpResponse {
    HttpResponse::Ok().streaming(stream::once(async {
        set_context("streamed", true);
        Ok::<_, Infallible>(Bytes::from(support::json!(current_context()).to_string()))
    }))
}

fn main() {
    support::check(
        handler,
        TestRequest::get().uri("/7"),
        support::json!({"id": 7, "streamed": true}),
    );
}
