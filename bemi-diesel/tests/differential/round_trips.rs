//! What the wrapped connections cost in round trips: nothing.

use bemi_diesel::{AsyncBemiConnection, BemiConnection, Context, scope, sync_scope};
use bemi_tests::Database;
use diesel::prelude::{Connection, ExpressionMethods, PgConnection, QueryDsl};
use diesel::result::QueryResult;
use diesel_async::{AsyncConnection, AsyncPgConnection};

use crate::Step;
use crate::proxy::Proxy;
use crate::run::{
    World, async_bemi, async_plain, block_on, cluster, prepare, sync_bemi, sync_plain,
};
use crate::schema::{NewAuthor, authors, books};
use crate::step::{End, Mode, book, commit, first_error, rollback, sql};

/// It can be repeated: the last step removes what the others have made.
fn program() -> Vec<Step> {
    vec![
        Step::Find(2),
        Step::Books,
        Step::Count,
        Step::Insert(book("a")),
        Step::InsertReturning(book("b")),
        Step::InsertReturningColumns(book("c")),
        Step::InsertAuthor(NewAuthor {
            name: "A".to_owned(),
            born: None,
        }),
        Step::InsertMany(vec![book("d"), book("e")]),
        Step::InsertManyReturning(vec![book("f"), book("g")]),
        Step::Upsert(book("a")),
        Step::DoNothing(book("a")),
        Step::DoNothingReturning(book("a")),
        Step::Update { id: 2, pages: 700 },
        Step::Update { id: 99, pages: 700 },
        Step::UpdateReturning { id: 2, pages: 701 },
        Step::UpdateMany(100),
        Step::UpdateManyReturning(100),
        Step::Save { id: 2, pages: 702 },
        Step::Delete(99),
        Step::DeleteReturning(99),
        Step::Insert(book("a")),
        sql("UPDATE books SET pages = 60 WHERE id = 1"),
        commit([]),
        commit([Step::Find(2)]),
        commit([Step::Insert(book("h"))]),
        commit([
            Step::Find(2),
            Step::Insert(book("i")),
            Step::InsertReturning(book("j")),
            Step::UpdateMany(100),
            Step::Update { id: 2, pages: 703 },
            Step::DeleteReturning(99),
        ]),
        commit([
            Step::Insert(book("k")),
            first_error([Step::Insert(book("l"))]),
            first_error([Step::Insert(book("l"))]),
            Step::UpdateMany(100),
        ]),
        rollback([Step::Insert(book("m"))]),
        Step::Build(Mode::ReadOnly, vec![Step::Find(2)], End::Commit),
        Step::Build(
            Mode::Serializable,
            vec![Step::Update { id: 2, pages: 704 }],
            End::Commit,
        ),
        Step::DeleteMany(50),
    ]
}

/// How often each connection waits for the server: in each of the steps, time after time.
struct Counted {
    plain: Vec<Vec<usize>>,
    bemi: Vec<Vec<usize>>,
    plain_async: Vec<Vec<usize>>,
    bemi_async: Vec<Vec<usize>>,
}

fn count(steps: &[Step], times: usize) -> Counted {
    let database = Database::create_in(cluster()).expect("a database");
    let proxy = Proxy::start(cluster().port());
    let url = proxy.through(database.url());
    let context = || Context::new().with("n", 0);
    macro_rules! count {
        ($module:ident, $connection:ident $(, $await:tt)?) => {{
            prepare(&database, "");
            let mut world = World::new(&database);
            let mut c = $connection::establish(&url)$(.$await)?.expect("the server is ready");
            let mut counted = Vec::new();
            for _ in 0..times {
                let mut own = Vec::new();
                for step in steps {
                    proxy.round_trips();
                    // It says in the log how it went.
                    let _noted = $module::once(&mut c, step, &mut world)$(.$await)?;
                    own.push(proxy.round_trips());
                }
                counted.push(own);
            }
            counted
        }};
    }
    Counted {
        plain: sync_scope(context(), || count!(sync_plain, PgConnection)),
        bemi: sync_scope(context(), || count!(sync_bemi, BemiConnection)),
        plain_async: block_on(scope(context(), async {
            count!(async_plain, AsyncPgConnection, await)
        })),
        bemi_async: block_on(scope(context(), async {
            count!(async_bemi, AsyncBemiConnection, await)
        })),
    }
}

fn compare(name: &str, steps: &[Step], plain: &[usize], wrapped: &[usize]) {
    for ((step, plain), wrapped) in steps.iter().zip(plain).zip(wrapped) {
        assert!(
            wrapped <= plain,
            "{name}: {wrapped} round trips instead of {plain} for {step:?}"
        );
    }
}

#[test]
fn none_is_added() {
    const WARM: usize = 5;
    let steps = program();
    let counted = count(&steps, WARM + 2);
    // Until then either connection prepares statements, each its own ones, and the wrapped one asks about the
    // tables that are written again and again.
    for time in WARM..WARM + 2 {
        let (plain, bemi) = (&counted.plain[time], &counted.bemi[time]);
        compare("BemiConnection", &steps, plain, bemi);
        let (plain, bemi) = (&counted.plain_async[time], &counted.bemi_async[time]);
        compare("AsyncBemiConnection", &steps, plain, bemi);
    }
}

#[test]
fn the_count_is_right() {
    let steps = [
        Step::Find(2),
        Step::Insert(book("a")),
        commit([]),
        commit([Step::Find(2), Step::Find(2)]),
        Step::DeleteMany(50),
    ];
    let counted = count(&steps, 2);
    assert_eq!(counted.plain[1], [1, 1, 2, 4, 1]);
    // An UPDATE is prepared anew each time.
    let counted = count(&[Step::Find(2), Step::Update { id: 2, pages: 1 }], 2);
    assert_eq!(counted.plain_async[1], [1, 2]);
}

#[test]
fn the_first_write_of_a_connection_adds_none() {
    let counted = count(&[Step::Insert(book("a"))], 1);
    assert_eq!(counted.bemi, counted.plain);
    assert_eq!(counted.bemi_async, counted.plain_async);
}

#[test]
fn a_scope_around_nothing_but_the_call_adds_none() {
    use diesel_async::RunQueryDsl;

    let database = Database::create_in(cluster()).expect("a database");
    prepare(&database, "");
    let proxy = Proxy::start(cluster().port());
    let url = proxy.through(database.url());
    let own = |n: usize| Context::new().with("n", n);
    macro_rules! count {
        ($connection:ident) => {
            block_on(async {
                let c = &mut $connection::establish(&url)
                    .await
                    .expect("the server is ready");
                let mut counted = Vec::new();
                for n in 0..8 {
                    let title = |kind: &str| format!("{}, {kind} {n}", stringify!($connection));
                    let insert =
                        |kind| diesel::insert_into(books::table).values(book(&title(kind)));
                    let author = diesel::insert_into(authors::table);
                    let update = diesel::update(books::table.find(1)).set(books::pages.eq(1));
                    proxy.round_trips();
                    let inserted = scope(own(n), insert("a").execute(c)).await;
                    let first = proxy.round_trips();
                    let returned = insert("b").returning(books::pages);
                    let returned: QueryResult<i32> = scope(own(n), returned.get_result(c)).await;
                    let second = proxy.round_trips();
                    let named = author.values(authors::name.eq(title("c"))).execute(c);
                    let named = scope(own(n), named).await;
                    let third = proxy.round_trips();
                    let updated = scope(own(n), update.execute(c)).await;
                    assert_eq!(
                        (inserted, returned, named, updated),
                        (Ok(1), Ok(10), Ok(1), Ok(1))
                    );
                    counted.push([first, second, third, proxy.round_trips()]);
                }
                counted
            })
        };
    }
    let (plain, wrapped) = (count!(AsyncPgConnection), count!(AsyncBemiConnection));
    // By then either has prepared what it prepares.
    assert_eq!(plain[6..], [[1, 1, 1, 2]; 2]);
    assert_eq!(wrapped[6..], [[1, 1, 1, 1]; 2]);
}
