//! A server whose handlers write at random, or end badly.

use std::convert::Infallible;

use actix_web::dev::ServerHandle;
use actix_web::rt::task::JoinHandle;
use actix_web::web::{Bytes, Data, Path};
use actix_web::{App, HttpResponse, HttpServer, get};
use bemi_actix::{BemiMiddleware, Member};
use bemi_diesel::{Context, bemi_context, set_context};
use diesel::prelude::*;
use diesel_async::AsyncConnection;
use futures_util::stream::{self, StreamExt};

use super::STEPS;
use super::shop::{Dice, Shop, row, step, writes};

#[get("/writes/{id}")]
#[bemi_context(id = *id)]
async fn writes_at_random(shop: Data<Shop>, id: Path<i32>) -> HttpResponse {
    let id = *id;
    // All of them are here before the first one goes on.
    shop.meeting.wait().await;
    let mut dice = Dice(u64::try_from(id).unwrap());
    for _ in 1..STEPS {
        step(shop.clone(), id, &mut dice).await;
    }
    set_context("returned", true);
    let body = stream::iter(0..2).then(move |chunk| {
        let shop = shop.clone();
        async move {
            if chunk == 0 {
                tokio::task::yield_now().await;
            } else {
                shop.write_async(id, "streamed", id % 2 == 0).await;
            }
            Ok::<_, Infallible>(Bytes::from_static(b"."))
        }
    });
    HttpResponse::Ok().streaming(body)
}

/// Notified when a handler is dropped before it has returned.
struct Cancelled(Data<Shop>);

impl Drop for Cancelled {
    fn drop(&mut self) {
        self.0.cancelled.notify_one();
    }
}

#[get("/{id}/panics/{transaction}")]
#[bemi_context(id = path.0)]
async fn panics(shop: Data<Shop>, path: Path<(i32, bool)>) -> HttpResponse {
    let (id, in_transaction) = path.into_inner();
    if in_transaction {
        let mut connection = shop.asynchronous.get().await.unwrap();
        let _never: QueryResult<()> =
            AsyncConnection::transaction(&mut *connection, async |connection| {
                let insert = diesel::insert_into(writes::table).values(row(id, "rolled back"));
                diesel_async::RunQueryDsl::execute(insert, connection).await?;
                panic!("on purpose")
            })
            .await;
    }
    shop.write_async(id, "before a panic", false).await;
    panic!("on purpose")
}

#[get("/{id}/panics-in-the-pool")]
#[bemi_context(id = *id)]
async fn panics_in_the_pool(shop: Data<Shop>, id: Path<i32>) -> HttpResponse {
    let id = *id;
    let panicked = bemi_actix::block(move || {
        let connection = &mut *shop.sync.get().unwrap();
        let _never: QueryResult<()> = connection.transaction(|connection| {
            diesel::insert_into(writes::table)
                .values(row(id, "rolled back"))
                .execute(connection)?;
            panic!("on purpose")
        });
    })
    .await;
    assert!(panicked.is_err());
    HttpResponse::Ok().finish()
}

#[get("/{id}/hangs")]
#[bemi_context(id = *id)]
async fn hangs(shop: Data<Shop>, id: Path<i32>) -> HttpResponse {
    let _cancelled = Cancelled(shop.clone());
    let mut connection = shop.asynchronous.get().await.unwrap();
    let _never: QueryResult<()> =
        AsyncConnection::transaction(&mut *connection, async |connection| {
            let insert = diesel::insert_into(writes::table).values(row(*id, "rolled back"));
            diesel_async::RunQueryDsl::execute(insert, connection).await?;
            shop.hanging.notify_one();
            std::future::pending().await
        })
        .await;
    HttpResponse::Ok().finish()
}

#[get("/{id}/times-out")]
#[bemi_context(id = *id)]
async fn times_out(shop: Data<Shop>, id: Path<i32>) -> HttpResponse {
    let work = async {
        let mut connection = shop.asynchronous.get().await.unwrap();
        AsyncConnection::transaction(&mut *connection, async |connection| {
            let insert = diesel::insert_into(writes::table).values(row(*id, "rolled back"));
            diesel_async::RunQueryDsl::execute(insert, connection).await?;
            std::future::pending::<QueryResult<()>>().await
        })
        .await
    };
    // A timeout that needs no time: the work has been polled for as long as something was to be done.
    let out_of_time = async {
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        _never = work => HttpResponse::Ok().finish(),
        () = out_of_time => HttpResponse::GatewayTimeout().finish(),
    }
}

#[get("/{id}/writes")]
#[bemi_context(id = *id)]
async fn writes_plainly(shop: Data<Shop>, id: Path<i32>) -> HttpResponse {
    let id = *id;
    shop.write_async(id, "async", false).await;
    shop.write_async(id, "async", true).await;
    bemi_actix::block(move || {
        shop.write_sync(id, "sync", false);
        shop.write_sync(id, "sync", true);
    })
    .await
    .unwrap();
    HttpResponse::Ok().finish()
}

/// A server of two workers on a port of its own.
pub(super) struct Server {
    pub(super) address: String,
    handle: ServerHandle,
    running: JoinHandle<std::io::Result<()>>,
}

impl Server {
    pub(super) fn start(shop: &Data<Shop>) -> Self {
        let shop = shop.clone();
        let bemi = BemiMiddleware::builder()
            .members([Member::RequestId])
            .context(|request| Context::new().with("query", request.query_string()))
            .build();
        let server = HttpServer::new(move || {
            App::new()
                .app_data(shop.clone())
                .wrap(bemi.clone())
                .service(writes_at_random)
                .service(panics)
                .service(panics_in_the_pool)
                .service(hangs)
                .service(times_out)
                .service(writes_plainly)
        })
        .workers(2)
        .disable_signals()
        .bind(("127.0.0.1", 0))
        .unwrap();
        let address = server.addrs()[0].to_string();
        let server = server.run();
        Self {
            address,
            handle: server.handle(),
            running: actix_web::rt::spawn(server),
        }
    }

    pub(super) async fn stop(self) {
        self.handle.stop(false).await;
        self.running.await.unwrap().unwrap();
    }
}
