//! Methods of traits: provided, implemented, asynchronous, and behind `dyn`.

#[path = "support/mod.rs"]
mod support;

use actix_web::{HttpResponse, get, test::TestRequest};
use bemi_diesel::bemi_context;

trait Store {
    #[bemi_context(provided = id)]
    fn provided(&self, id: i32) -> i32 {
        self.required(id)
    }

    fn required(&self, id: i32) -> i32;
}

trait AsyncStore {
    async fn load(&self, id: i32) -> i32;
}

struct Memory;

impl Store for Memory {
    #[bemi_context(required = id)]
    fn required(&self, id: i32) -> i32 {
        id
    }
}

impl AsyncStore for Memory {
    #[bemi_context(loaded = id)]
    async fn load(&self, id: i32) -> i32 {
        id
    }
}

#[get("/")]
async fn handler() -> HttpResponse {
    let store: &dyn Store = &Memory;
    store.provided(1);
    Memory.load(2).await;
    support::context()
}

fn main() {
    let expected = support::json!({"provided": 1, "required": 1, "loaded": 2});
    support::check(handler, TestRequest::get().uri("/"), expected);
}
