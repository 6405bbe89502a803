//! A real server under requests that do everything at once: every change has its own request's context.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::rt::task::JoinHandle;
use actix_web::web::{Bytes, Data, Path};
use actix_web::{App, HttpResponse, HttpServer, get};
use bemi_actix::{BemiMiddleware, Member};
use bemi_diesel::{
    AsyncBemiConnection, BemiConnection, Context, ContextExt, bemi_context, scope, set_context,
};
use diesel::prelude::*;
use diesel::r2d2::{self, ConnectionManager};
use diesel_async::AsyncConnection;
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, deadpool};
use futures_util::stream::{self, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Barrier, Notify};

use crate::support::Trail;

diesel::table! {
    writes { id -> Integer, request -> Integer, kind -> Text, worker -> Text }
}

const WRITES: &str = "CREATE TABLE writes (id serial PRIMARY KEY, request int NOT NULL, \
                      kind text NOT NULL, worker text NOT NULL)";

/// As many requests as are in flight at once.
const REQUESTS: usize = 500;
/// How often each of them writes.
const STEPS: usize = 5;

type SyncPool = r2d2::Pool<ConnectionManager<BemiConnection>>;
type AsyncPool = deadpool::Pool<AsyncBemiConnection>;

/// What the handlers share.
struct Shop {
    sync: SyncPool,
    asynchronous: AsyncPool,
    meeting: Barrier,
    hanging: Notify,
    cancelled: Notify,
}

impl Shop {
    fn new(trail: &Trail, connections: u32, requests: usize) -> Data<Self> {
        let url = trail.database.url();
        let manager = AsyncDieselConnectionManager::<AsyncBemiConnection>::new(url);
        Data::new(Self {
            sync: r2d2::Pool::builder()
                .max_size(connections)
                .build(ConnectionManager::new(url))
                .unwrap(),
            asynchronous: deadpool::Pool::builder(manager)
                .max_size(connections as usize)
                .build()
                .unwrap(),
            meeting: Barrier::new(requests),
            hanging: Notify::new(),
            cancelled: Notify::new(),
        })
    }

    fn write_sync(&self, request: i32, kind: &'static str, in_transaction: bool) {
        let connection = &mut *self.sync.get().unwrap();
        let insert = |connection: &mut BemiConnection| {
            diesel::insert_into(writes::table)
                .values(row(request, kind))
                .execute(connection)
        };
        let written = if in_transaction {
            connection.transaction(insert)
        } else {
            insert(connection)
        };
        assert_eq!(written.unwrap(), 1);
    }

    async fn write_async(&self, request: i32, kind: &'static str, in_transaction: bool) {
        let mut connection = self.asynchronous.get().await.unwrap();
        let insert = diesel::insert_into(writes::table).values(row(request, kind));
        let written = if in_transaction {
            AsyncConnection::transaction(&mut *connection, async |connection| {
                tokio::task::yield_now().await;
                diesel_async::RunQueryDsl::execute(insert, connection).await
            })
            .await
        } else {
            diesel_async::RunQueryDsl::execute(insert, &mut *connection).await
        };
        assert_eq!(written.unwrap(), 1);
    }
}

type Row = (
    diesel::dsl::Eq<writes::request, i32>,
    diesel::dsl::Eq<writes::kind, &'static str>,
    diesel::dsl::Eq<writes::worker, String>,
);

fn row(request: i32, kind: &'static str) -> Row {
    let worker = std::thread::current();
    (
        writes::request.eq(request),
        writes::kind.eq(kind),
        writes::worker.eq(worker.name().unwrap_or_default().to_owned()),
    )
}

/// Numbers that look like chance, and are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

/// Writes once, in a way that the dice choose.
async fn step(shop: Data<Shop>, request: i32, dice: &mut Dice) {
    for _ in 0..dice.roll(4) {
        tokio::task::yield_now().await;
    }
    let in_transaction = dice.roll(2) == 0;
    match dice.roll(6) {
        0 => shop.write_sync(request, "sync", in_transaction),
        1 => shop.write_async(request, "async", in_transaction).await,
        2 => bemi_actix::block(move || shop.write_sync(request, "blocking", in_transaction))
            .await
            .unwrap(),
        3 => bemi_actix::spawn(async move {
            tokio::task::yield_now().await;
            shop.write_async(request, "spawned", in_transaction).await;
        })
        .await
        .unwrap(),
        4 => tokio::task::spawn_local(
            async move { shop.write_async(request, "local", in_transaction).await }
                .in_current_context(),
        )
        .await
        .unwrap(),
        _ => {
            scope(Context::new().with("inner", true), async {
                shop.write_async(request, "nested", in_transaction).await;
            })
            .await;
        }
    }
}

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
struct Server {
    address: String,
    handle: ServerHandle,
    running: JoinHandle<std::io::Result<()>>,
}

impl Server {
    fn start(shop: &Data<Shop>) -> Self {
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

    async fn stop(self) {
        self.handle.stop(false).await;
        self.running.await.unwrap().unwrap();
    }
}

/// A test that waits for what never comes fails.
async fn in_time<T>(signal: impl Future<Output = T>) -> T {
    let in_time = tokio::time::timeout(Duration::from_secs(60), signal).await;
    in_time.expect("the signal comes")
}

/// Sends a request, and gives the connection on which its answer will come.
async fn send(address: &str, id: i32, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "GET {path}?of={id} HTTP/1.1\r\nhost: shop\r\nx-request-id: request-{id}\r\n\
         connection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// The answer's first line; empty where the server gives none.
async fn status(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    // A handler that panics takes the connection along.
    let _ends = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer)
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// Every change as its row and its context, without the statement.
async fn changes(trail: &Trail) -> Vec<(Value, Value)> {
    trail
        .changes()
        .await
        .into_iter()
        .map(|change| {
            let mut context = change[5].clone();
            context.as_object_mut().unwrap().remove("SQL");
            (change[4].clone(), context)
        })
        .collect()
}

#[actix_web::test]
async fn every_change_of_500_requests_at_once_has_its_own_requests_context() {
    let trail = Trail::start(WRITES).await;
    let shop = Shop::new(&trail, 12, REQUESTS);
    let server = Server::start(&shop);
    let address: Arc<str> = server.address.as_str().into();
    let clients = (0..i32::try_from(REQUESTS).unwrap()).map(|id| {
        let address = Arc::clone(&address);
        actix_web::rt::spawn(async move {
            status(send(&address, id, &format!("/writes/{id}")).await).await
        })
    });
    let answers = in_time(futures_util::future::join_all(clients.collect::<Vec<_>>())).await;
    for answer in answers {
        assert_eq!(answer.unwrap(), "HTTP/1.1 200 OK");
    }
    server.stop().await;

    let changes = changes(&trail).await;
    assert_eq!(changes.len(), REQUESTS * STEPS);
    let mut kinds = HashSet::new();
    let mut requests = HashSet::new();
    for (row, context) in &changes {
        let id = &row["request"];
        let kind = row["kind"].as_str().unwrap();
        let mut expected = json!({
            "id": id,
            "request_id": format!("request-{id}"),
            "query": format!("of={id}"),
        });
        match kind {
            "nested" => expected["inner"] = json!(true),
            "streamed" => expected["returned"] = json!(true),
            _ => {}
        }
        assert_eq!(context, &expected, "{row}");
        kinds.insert(kind);
        requests.insert(id.as_i64());
    }
    assert_eq!(requests.len(), REQUESTS);
    let all = [
        "sync", "async", "blocking", "spawned", "local", "nested", "streamed",
    ];
    assert_eq!(kinds, HashSet::from(all));
    let workers: HashSet<&str> = changes
        .iter()
        .filter(|(row, _)| row["kind"] == "async")
        .map(|(row, _)| row["worker"].as_str().unwrap())
        .collect();
    assert_eq!(workers.len(), 2, "{workers:?}");
}

#[actix_web::test]
async fn requests_that_end_badly_leave_no_context_to_the_next() {
    let trail = Trail::start(WRITES).await;
    // One connection for each half, so that whatever is left behind on it meets the next request.
    let shop = Shop::new(&trail, 1, 1);
    let server = Server::start(&shop);
    let mut expected = Vec::new();
    let mut id = 0;
    for round in 0..8 {
        id += 1;
        match round % 4 {
            0 => {
                for in_transaction in [false, true] {
                    let path = format!("/{id}/panics/{in_transaction}");
                    let answer = status(send(&server.address, id, &path).await).await;
                    assert_eq!(answer, "", "the connection ends");
                }
                expected.push((id, "before a panic"));
            }
            1 => {
                let path = format!("/{id}/panics-in-the-pool");
                let answer = status(send(&server.address, id, &path).await).await;
                assert_eq!(answer, "HTTP/1.1 200 OK");
            }
            2 => {
                let stream = send(&server.address, id, &format!("/{id}/hangs")).await;
                in_time(shop.hanging.notified()).await;
                // Gone without a farewell.
                stream.set_zero_linger().unwrap();
                drop(stream);
                in_time(shop.cancelled.notified()).await;
            }
            _ => {
                let path = format!("/{id}/times-out");
                let answer = status(send(&server.address, id, &path).await).await;
                assert_eq!(answer, "HTTP/1.1 504 Gateway Timeout");
            }
        }
        // On both workers, one after the other.
        for _ in 0..2 {
            id += 1;
            let answer = status(send(&server.address, id, &format!("/{id}/writes")).await).await;
            assert_eq!(answer, "HTTP/1.1 200 OK");
            expected.extend([(id, "async"), (id, "async"), (id, "sync"), (id, "sync")]);
        }
    }
    server.stop().await;

    let changes = changes(&trail).await;
    let written: Vec<(i64, &str)> = changes
        .iter()
        .map(|(row, _)| {
            (
                row["request"].as_i64().unwrap(),
                row["kind"].as_str().unwrap(),
            )
        })
        .collect();
    let expected: Vec<(i64, &str)> = expected
        .into_iter()
        .map(|(id, kind)| (i64::from(id), kind))
        .collect();
    assert_eq!(written, expected);
    for (row, context) in &changes {
        let id = &row["request"];
        assert_eq!(
            context,
            &json!({"id": id, "request_id": format!("request-{id}"), "query": format!("of={id}")}),
            "{row}"
        );
    }
}
