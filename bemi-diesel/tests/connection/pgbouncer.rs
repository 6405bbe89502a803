//! Connections that share a server's sessions, each for the length of a transaction.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use bemi_diesel::{BemiConnection, Context, sync_scope};
use bemi_tests::Cluster;
use diesel::connection::CacheSize;
use diesel::prelude::*;
use diesel::result::Error;
use diesel::sql_query;

use crate::{Database, insert, todos};

/// [`pgbouncer`](https://www.pgbouncer.org/config.html) before a database, with a few sessions for all.
struct PgBouncer {
    child: Child,
    url: String,
}

impl PgBouncer {
    fn start(database: &Database, sessions: u32) -> Self {
        let cluster = Cluster::shared().expect("a cluster");
        let (server, name) = database.url().rsplit_once('/').expect("a database");
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|free| free.local_addr())
            .expect("a port")
            .port();
        let settings = cluster
            .socket_folder()
            .join(format!("pgbouncer-{port}.ini"));
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={} user=postgres\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = any\npool_mode = transaction\ndefault_pool_size = {sessions}\n\
             ignore_startup_parameters = extra_float_digits,options\n",
            cluster.port()
        );
        fs::write(&settings, text).expect("a file");
        // Where Debian has it is not in everybody's path.
        let program = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"]
            .into_iter()
            .find(|path| fs::exists(path).unwrap_or_default())
            .unwrap_or("pgbouncer");
        let mut command = Command::new(program);
        command
            .arg("--quiet")
            .arg(settings)
            .current_dir(cluster.socket_folder());
        if rustix::process::geteuid().is_root() {
            // It refuses to run as root; this is `nobody`, as whom the server runs too.
            command.uid(65534).gid(65534);
        }
        let child = command
            .spawn()
            .expect("pgbouncer; on Debian it is the package of that name");
        let bouncer = Self {
            child,
            url: server.rsplit_once(':').expect("a port").0.to_owned() + &format!(":{port}/{name}"),
        };
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "pgbouncer does not listen");
            thread::sleep(Duration::from_millis(10));
        }
        bouncer
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

const CLIENTS: i32 = 6;

/// What is in the log, in no order, and on whichever side of its row a message is.
fn seen(database: &Database) -> Vec<String> {
    let mut log: Vec<String> = database
        .log()
        .iter()
        .map(|transaction| transaction.replace(" lead ", " - "))
        .collect();
    log.sort();
    log
}

/// What each of the clients leaves there.
fn expected(of_one: impl Fn(i32) -> Vec<String>) -> Vec<String> {
    let mut expected: Vec<String> = (0..CLIENTS).flat_map(of_one).collect();
    expected.sort();
    expected
}

#[test]
fn each_row_has_the_context_of_its_writer() {
    let database = Database::new();
    let bouncer = PgBouncer::start(&database, 2);
    thread::scope(|threads| {
        for n in 0..CLIENTS {
            let url = bouncer.url.as_str();
            threads.spawn(move || {
                let c = &mut BemiConnection::establish(url).expect("pgbouncer is ready");
                // The session that has it prepared is not the one of the next transaction.
                c.set_prepared_statement_cache_size(CacheSize::Disabled);
                sync_scope(Context::new().with("n", n), || work(c, 10 * n));
            });
        }
    });
    let of_one = |n: i32| {
        let id = 10 * n;
        vec![
            format!("INSERT {id}, context {n} - INSERT"),
            format!("UPDATE {id}, context {n} - UPDATE"),
            format!("INSERT {}, INSERT {}, context {n} - INSERT", id + 1, id + 3),
            format!("context {n} - WITH, INSERT {}", id + 4),
            format!("DELETE {id}, context {n} - DELETE"),
        ]
    };
    assert_eq!(seen(&database), expected(of_one));
}

fn work(c: &mut BemiConnection, id: i32) {
    // Asks the server, so that the first write is like the others.
    c.transaction(|c| sql_query("SELECT 1").execute(c))
        .expect("a read");
    assert_eq!(insert(c, id), Ok(1));
    let title: String = diesel::update(todos::table.find(id))
        .set(todos::title.eq("b"))
        .returning(todos::title)
        .get_result(c)
        .expect("a row");
    assert_eq!(title, "b");
    c.transaction(|c| {
        insert(c, id + 1)?;
        c.transaction::<(), _, _>(|c| {
            insert(c, id + 2)?;
            Err(Error::RollbackTransaction)
        })
        .expect_err("rolled back");
        insert(c, id + 3)
    })
    .expect("two rows");
    let enclosed = sql_query(format!(
        "WITH x AS (INSERT INTO todos VALUES ({}, 'a')) SELECT 1",
        id + 4
    ));
    assert_eq!(enclosed.execute(c), Ok(1));
    assert_eq!(diesel::delete(todos::table.find(id)).execute(c), Ok(1));
}

mod asynchronous {
    use bemi_diesel::{AsyncBemiConnection, Context, scope};
    use diesel::connection::CacheSize;
    use diesel::{ExpressionMethods, QueryDsl, sql_query};
    use diesel_async::{AsyncConnection, RunQueryDsl};

    use super::{CLIENTS, PgBouncer, expected, seen};
    use crate::{Database, todo, todos};

    fn context(n: i32) -> Context {
        Context::new().with("n", n)
    }

    /// Inserts the row `id` and updates it.
    async fn work(c: &mut AsyncBemiConnection, id: i32) {
        c.transaction(async |c| {
            diesel::insert_into(todos::table)
                .values(todo(id))
                .execute(c)
                .await?;
            diesel::update(todos::table.find(id))
                .set(todos::title.eq("b"))
                .execute(c)
                .await
        })
        .await
        .expect("a row");
    }

    /// In a transaction only: tokio-postgres prepares even what is not kept in a round trip of its own,
    /// after which pgbouncer may have given the session to somebody else. The plain connection fails there
    /// as well, and so while it is set up.
    #[tokio::test]
    async fn transactions() {
        let database = Database::new();
        let bouncer = PgBouncer::start(&database, 2);
        let mut clients = Vec::new();
        for n in 0..CLIENTS {
            let mut c = AsyncBemiConnection::establish(&bouncer.url)
                .await
                .expect("pgbouncer is ready");
            c.set_prepared_statement_cache_size(CacheSize::Disabled);
            scope(context(n), work(&mut c, 10 * n)).await;
            clients.push(c);
        }
        let at_once = (0..).zip(&mut clients).map(|(n, c)| {
            scope(context(n), async move {
                for id in 10 * n + 1..10 * n + 5 {
                    work(c, id).await;
                }
            })
        });
        futures_util::future::join_all(at_once).await;
        let of_one = |n: i32| {
            (10 * n..10 * n + 5)
                .map(|id| format!("INSERT {id}, UPDATE {id}, context {n} - -"))
                .collect()
        };
        assert_eq!(seen(&database), expected(of_one));
    }

    /// Outside of one, where every session knows every statement, as `max_prepared_statements` has it since
    /// pgbouncer 1.21. Here that is so as there is only one, and as tokio-postgres gives every statement of a
    /// process another name; between two messages of one client the others still come and go.
    #[tokio::test]
    async fn outside_a_transaction() {
        let database = Database::new();
        let bouncer = PgBouncer::start(&database, 1);
        let clients = (0..CLIENTS).map(|n| {
            let url = bouncer.url.as_str();
            scope(context(n), async move {
                let c = &mut AsyncBemiConnection::establish(url)
                    .await
                    .expect("pgbouncer is ready");
                for id in 10 * n..10 * n + 4 {
                    let inserted = diesel::insert_into(todos::table).values(todo(id));
                    assert_eq!(inserted.execute(c).await, Ok(1));
                    let title: Result<String, _> = diesel::update(todos::table.find(id))
                        .set(todos::title.eq("b"))
                        .returning(todos::title)
                        .get_result(c)
                        .await;
                    assert_eq!(title, Ok("b".to_owned()));
                }
                let (first, second) = (10 * n, 10 * n + 5);
                let enclosed = format!("WITH x AS (DELETE FROM todos WHERE id = {first}) SELECT 1");
                assert_eq!(sql_query(enclosed).execute(c).await, Ok(1));
                work(c, second).await;
                let deleted = diesel::delete(todos::table.find(second));
                assert_eq!(deleted.execute(c).await, Ok(1));
            })
        });
        futures_util::future::join_all(clients).await;
        let of_one = |n: i32| {
            let (first, fourth, second) = (10 * n, 10 * n + 3, 10 * n + 5);
            let mut all: Vec<String> = (first..fourth)
                .map(|id| format!("INSERT {id}, context {n} - INSERT"))
                .collect();
            // By then it is known that the message may stand among the values.
            all.push(format!("context {n} - INSERT, INSERT {fourth}"));
            all.extend((first..=fourth).map(|id| format!("UPDATE {id}, context {n} - UPDATE")));
            all.push(format!("context {n} - WITH, DELETE {first}"));
            all.push(format!("INSERT {second}, UPDATE {second}, context {n} - -"));
            all.push(format!("DELETE {second}, context {n} - DELETE"));
            all
        };
        assert_eq!(seen(&database), expected(of_one));
    }
}
