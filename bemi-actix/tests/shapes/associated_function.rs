//! An associated function as handler.

#[path = "support/mod.rs"]
mod support;

use actix_web::{HttpResponse, test::TestRequest, web};
use bemi_diesel::bemi_context;

struct Todos;

impl Todos {
    const KIND: &'static str = "todo";

    #[bemi_context(id = *id, kind = Self::KIND)]
    async fn show(id: web::Path<i32>) -> HttpResponse {
        support::context()
    }
}

fn main() {
    let service = web::resource("/{id}").to(Todos::show);
    support::check(
        service,
        TestRequest::get().uri("/7"),
        support::json!({"id": 7, "kind": "todo"}),
    );
}
