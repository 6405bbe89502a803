use actix_web::{App, HttpResponse, web};
use bemi_diesel::{Context, SharedContext, current_context, set_context, sync_scope};
use serde_json::json;

use crate::support::{endpoint_and, get, query};

#[actix_web::test]
async fn the_blocking_pool_has_the_callers_context() {
    async fn handler() -> HttpResponse {
        let there = bemi_actix::block(|| {
            set_context("set", "there");
            current_context()
        })
        .await
        .expect("the closure returns");
        HttpResponse::Ok().json([there, current_context()])
    }

    let app = App::new()
        .wrap(endpoint_and(query))
        .route("/a", web::get().to(handler));
    let expected = json!({"endpoint": "/a", "query": "1", "set": "there"});
    assert_eq!(get!(app, "/a?1"), json!([expected, expected]));
}

#[actix_web::test]
async fn the_context_is_the_one_where_block_is_called() {
    let context = Context::new().with("a", 1);
    let blocking = sync_scope(context.clone(), || bemi_actix::block(current_context));
    let seen = blocking.await.expect("the closure returns");
    assert_eq!(seen, Some(context));
}

#[actix_web::test]
async fn without_a_context_there_is_none_there_either() {
    let seen = bemi_actix::block(current_context).await;
    assert_eq!(seen.expect("the closure returns"), None);
}

#[actix_web::test]
async fn a_panic_is_a_blocking_error_and_its_thread_stays_clean() {
    let panicked = SharedContext::new(Context::new().with("a", 1))
        .in_scope(|| bemi_actix::block(|| panic!("on purpose")))
        .await;
    assert!(panicked.is_err());
    let seen = bemi_actix::block(current_context).await;
    assert_eq!(seen.expect("the closure returns"), None);
}
