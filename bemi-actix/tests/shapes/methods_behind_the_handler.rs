//! Methods and synchronous functions that a handler calls.

#[path = "support/mod.rs"]
mod support;

use actix_web::{HttpResponse, get, test::TestRequest, web::Data};
use bemi_diesel::bemi_context;

struct Service {
    name: String,
}

impl Service {
    #[bemi_context(service = self.name)]
    async fn asynchronous(&self) -> i32 {
        self.synchronous(2)
    }

    #[bemi_context(n = n)]
    fn synchronous(&self, n: i32) -> i32 {
        n + 1
    }
}

#[get("/")]
async fn handler(service: Data<Service>) -> HttpResponse {
    assert_eq!(service.asynchronous().await, 3);
    support::context()
}

fn main() {
    let service = actix_web::web::scope("")
        .app_data(Data::new(Service {
            name: "todos".into(),
        }))
        .service(handler);
    support::check(
        service,
        TestRequest::get().uri("/"),
        support::json!({"service": "todos", "n": 2}),
    );
}
