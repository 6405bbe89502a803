//! A handler that is declared inside a function, and names that the macro could have taken.

#[path = "support/mod.rs"]
mod support;

use actix_web::{HttpResponse, get, test::TestRequest, web::Path};

fn main() {
    #[get("/{context}")]
    #[bemi_diesel::bemi_context(context = *context, set = set(*context))]
    async fn handler(context: Path<i32>) -> HttpResponse {
        let current = context.into_inner();
        assert_eq!(current, 7);
        support::context()
    }

    fn set(context: i32) -> i32 {
        context + 1
    }

    support::check(
        handler,
        TestRequest::get().uri("/7"),
        support::json!({"context": 7, "set": 8}),
    );
}
