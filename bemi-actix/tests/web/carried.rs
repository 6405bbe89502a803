//! Where the ambient context goes with the code, and where it does not: the table of the guide, line by
//! line. A version of actix-web or tokio that changes one of them fails here.

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use actix_web::dev::Service;
use actix_web::rt;
use actix_web::web::{self, Bytes};
use actix_web::{App, HttpResponse, guard};
use bemi_diesel::{
    Context, ContextExt, SharedContext, carry_context, current_context, scope, set_context,
};
use futures_util::stream::{self, FuturesUnordered, StreamExt};
use futures_util::{FutureExt, future};
use serde_json::json;
use tokio::sync::oneshot;

use crate::support::{endpoint_only, get};

fn own() -> Context {
    Context::new().with("a", 1)
}

/// Pending once, so that what comes after it runs at another poll.
async fn here() -> Option<Context> {
    tokio::task::yield_now().await;
    current_context()
}

/// Runs `place` in a scope, and asserts whether code there has its context.
async fn assert_there(
    name: &str,
    place: impl Future<Output = Option<Context>>,
    expected: Option<Context>,
) {
    assert_eq!(scope(own(), place).await, expected, "{name}");
    assert_eq!(current_context(), None, "{name} leaves nothing behind");
}

macro_rules! kept {
    ($($name:literal: $place:expr;)*) => {
        $(assert_there($name, async { $place }, Some(own())).await;)*
    };
}

macro_rules! lost {
    ($($name:literal: $place:expr;)*) => {
        $(assert_there($name, async { $place }, None).await;)*
    };
}

#[actix_web::test]
async fn kept_by_whatever_runs_in_the_same_task() {
    kept! {
        "await": here().await;
        "join": future::join(here(), here()).await.1;
        "tokio::join!": tokio::join!(here(), here()).0;
        "tokio::select!": tokio::select! { seen = here() => seen };
        "timeout": tokio::time::timeout(Duration::from_secs(60), here()).await.expect("in time");
        "buffer_unordered": stream::iter([here(), here()]).buffer_unordered(2).next().await.flatten();
        "FuturesUnordered": FuturesUnordered::from_iter([here()]).next().await.flatten();
        "boxed": here().boxed_local().await;
        "shared": here().shared().await;
        "catch_unwind": std::panic::AssertUnwindSafe(here()).catch_unwind().await.expect("no panic");
    }
}

#[actix_web::test]
async fn lost_by_whatever_starts_a_task_or_a_thread() {
    lost! {
        "actix_web::rt::spawn": rt::spawn(here()).await.expect("no panic");
        "tokio::spawn": tokio::spawn(here()).await.expect("no panic");
        "tokio::task::spawn_local": tokio::task::spawn_local(here()).await.expect("no panic");
        "JoinSet": {
            let mut set = tokio::task::JoinSet::new();
            set.spawn_local(here());
            set.join_next().await.expect("one").expect("no panic")
        };
        "web::block": web::block(current_context).await.expect("no panic");
        "rt::task::spawn_blocking": rt::task::spawn_blocking(current_context).await.expect("no panic");
        "std::thread::spawn": std::thread::spawn(current_context).join().expect("no panic");
        "std::thread::scope": std::thread::scope(|threads| {
            threads.spawn(current_context).join().expect("no panic")
        });
    }
}

#[actix_web::test]
async fn carried_there_by_one_word() {
    kept! {
        "bemi_actix::spawn": bemi_actix::spawn(here()).await.expect("no panic");
        "bemi_actix::block": bemi_actix::block(current_context).await.expect("no panic");
        "actix_web::rt::spawn": rt::spawn(here().in_current_context()).await.expect("no panic");
        "tokio::spawn": tokio::spawn(here().in_current_context()).await.expect("no panic");
        "tokio::task::spawn_local": {
            tokio::task::spawn_local(here().in_current_context()).await.expect("no panic")
        };
        "JoinSet": {
            let mut set = tokio::task::JoinSet::new();
            set.spawn_local(here().in_current_context());
            set.join_next().await.expect("one").expect("no panic")
        };
        "web::block": web::block(carry_context(current_context)).await.expect("no panic");
        "std::thread::spawn": {
            std::thread::spawn(carry_context(current_context)).join().expect("no panic")
        };
        "threads that share one": {
            let context = SharedContext::current().expect("in a scope");
            std::thread::scope(|threads| {
                let there = || context.in_scope(current_context);
                let both = [threads.spawn(there), threads.spawn(there)];
                let [first, second] = both.map(|thread| thread.join().expect("no panic"));
                assert_eq!(first, second);
                first
            })
        };
        "an actor's loop": {
            // What one request sends is not done in that request's context unless it travels along.
            let (send, mut receive) = tokio::sync::mpsc::channel::<(SharedContext, _)>(1);
            rt::spawn(async move {
                while let Some((context, answer)) = receive.recv().await {
                    let answer: oneshot::Sender<_> = answer;
                    let _asked = answer.send(here().in_context(&context).await);
                }
            });
            let (answer, answered) = oneshot::channel();
            let context = SharedContext::current().expect("in a scope");
            send.send((context, answer)).await.expect("it listens");
            answered.await.expect("it answers")
        };
    }
}

#[actix_web::test]
async fn a_request_is_one_task_from_the_middleware_to_the_last_byte() {
    let app = App::new()
        .service(
            web::resource("/a")
                .guard(guard::fn_guard(|_| set_context("guard", true)))
                .wrap_fn(|request, service| {
                    set_context("inner_middleware", true);
                    service.call(request)
                })
                .route(web::get().to(async |(): ()| {
                    HttpResponse::Ok().streaming(stream::once(async {
                        tokio::task::yield_now().await;
                        Ok::<_, Infallible>(Bytes::from(json!(current_context()).to_string()))
                    }))
                })),
        )
        .wrap(endpoint_only())
        .wrap_fn(|request, service| {
            let called = set_context("outer_middleware", true);
            let response = service.call(request);
            async move {
                let response = response.await;
                assert!(!called && !set_context("outer_middleware", true));
                response
            }
        });
    assert_eq!(
        get!(app, "/a"),
        json!({"endpoint": "/a", "guard": true, "inner_middleware": true})
    );
}

#[actix_web::test]
async fn a_body_that_is_dropped_half_way_ends_in_its_own_context() {
    struct Ends(std::rc::Rc<std::cell::RefCell<Option<Context>>>);

    impl Drop for Ends {
        fn drop(&mut self) {
            *self.0.borrow_mut() = current_context();
        }
    }

    let seen = std::rc::Rc::default();
    let ends = std::rc::Rc::clone(&seen);
    let app = actix_web::test::init_service(App::new().wrap(endpoint_only()).route(
        "/a",
        web::get().to(move || {
            let ends = Ends(std::rc::Rc::clone(&ends));
            async move {
                HttpResponse::Ok().streaming(
                    stream::pending::<Result<Bytes, Infallible>>().inspect(move |_| {
                        let _ends = &ends;
                    }),
                )
            }
        }),
    ))
    .await;
    let request = actix_web::test::TestRequest::with_uri("/a").to_request();
    let response = app.call(request).await.expect("an answer");
    drop(response);
    assert_eq!(*seen.borrow(), Some(Context::new().with("endpoint", "/a")));
    assert_eq!(current_context(), None);
}
