//! Between documentation, conditions, lints and a second attribute of the same name.

#![deny(warnings, clippy::all)]

#[path = "support/mod.rs"]
mod support;

use actix_web::{HttpResponse, get, test::TestRequest, web::Path};
use bemi_diesel::bemi_context;

/// Documented.
#[cfg_attr(all(), get("/{id}"))]
#[bemi_context(id = *id)]
#[allow(clippy::unused_async)]
#[bemi_context(twice = *id * 2)]
#[cfg(not(any()))]
#[must_use]
#[inline]
pub async fn handler(id: Path<i32>) -> HttpResponse {
    #![allow(unused_variables)]
    let unused = 1;
    support::context()
}

fn main() {
    support::check(
        handler,
        TestRequest::get().uri("/7"),
        support::json!({"id": 7, "twice": 14}),
    );
}
