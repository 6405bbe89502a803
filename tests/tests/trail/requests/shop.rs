//! What the handlers write with, and the ways in which they do.

use actix_web::web::Data;
use bemi_diesel::{AsyncBemiConnection, BemiConnection, Context, ContextExt, scope};
use diesel::prelude::*;
use diesel::r2d2::{self, ConnectionManager};
use diesel_async::AsyncConnection;
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, deadpool};
use tokio::sync::{Barrier, Notify};

use crate::support::Trail;

diesel::table! {
    writes { id -> Integer, request -> Integer, kind -> Text, worker -> Text }
}

pub(super) const WRITES: &str = "CREATE TABLE writes (id serial PRIMARY KEY, request int NOT NULL, \
                      kind text NOT NULL, worker text NOT NULL)";

type SyncPool = r2d2::Pool<ConnectionManager<BemiConnection>>;
type AsyncPool = deadpool::Pool<AsyncBemiConnection>;

/// What the handlers share.
pub(super) struct Shop {
    pub(super) sync: SyncPool,
    pub(super) asynchronous: AsyncPool,
    pub(super) meeting: Barrier,
    pub(super) hanging: Notify,
    pub(super) cancelled: Notify,
}

impl Shop {
    pub(super) fn new(trail: &Trail, connections: u32, requests: usize) -> Data<Self> {
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

    pub(super) fn write_sync(&self, request: i32, kind: &'static str, in_transaction: bool) {
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

    pub(super) async fn write_async(&self, request: i32, kind: &'static str, in_transaction: bool) {
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

pub(super) type Row = (
    diesel::dsl::Eq<writes::request, i32>,
    diesel::dsl::Eq<writes::kind, &'static str>,
    diesel::dsl::Eq<writes::worker, String>,
);

pub(super) fn row(request: i32, kind: &'static str) -> Row {
    let worker = std::thread::current();
    (
        writes::request.eq(request),
        writes::kind.eq(kind),
        writes::worker.eq(worker.name().unwrap_or_default().to_owned()),
    )
}

/// Numbers that look like chance, and are the same in every run.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self, sides: u64) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

/// Writes once, in a way that the dice choose.
pub(super) async fn step(shop: Data<Shop>, request: i32, dice: &mut Dice) {
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
