//! The shapes of functions that the attribute stands on, and what it records there.

use std::fmt::Display;
use std::sync::atomic::{AtomicUsize, Ordering};

use bemi_diesel::{Context, bemi_context, current_context, set_context, sync_scope};
use futures_util::FutureExt;
use serde::Serialize;
use serde_json::{Value, json};

/// The members after `f` has run in a scope of its own.
fn recorded<R>(f: impl FnOnce() -> R) -> Value {
    sync_scope(Context::new(), || {
        f();
        json!(current_context())
    })
}

fn ready<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("nothing to wait for")
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Todo {
    id: i32,
    title: String,
}

struct Json<T>(T);

fn todo() -> Todo {
    Todo {
        id: 7,
        title: "milk".into(),
    }
}

#[test]
fn arguments_are_borrowed_and_stay_whole() {
    #[bemi_context(todo = todo, title = todo.title, len = todo.title.len(), "todo.id" = todo.id)]
    fn create(Json(todo): Json<Todo>) -> Todo {
        todo
    }

    let members = recorded(|| assert_eq!(create(Json(todo())), todo()));
    let expected = json!({"id": 7, "title": "milk"});
    assert_eq!(
        members,
        json!({"todo": expected, "title": "milk", "len": 4, "todo.id": 7})
    );
}

#[test]
fn members_of_objects_flags_and_what_is_left_out() {
    #[bemi_context(
        todo = todo,
        todo.by.name = "Ann",
        "bulk",
        skip(todo.title, of_the_request, not_there.at.all)
    )]
    fn create(todo: &Todo) -> i32 {
        todo.id
    }

    let members = recorded(|| {
        set_context("of_the_request", 1);
        set_context("stays", 2);
        create(&todo())
    });
    assert_eq!(
        members,
        json!({"todo": {"id": 7, "by": {"name": "Ann"}}, "bulk": true, "stays": 2})
    );
}

#[test]
fn nothing_is_evaluated_without_a_context() {
    static EVALUATED: AtomicUsize = AtomicUsize::new(0);

    #[bemi_context(n = EVALUATED.fetch_add(1, Ordering::Relaxed))]
    fn count() -> usize {
        EVALUATED.load(Ordering::Relaxed)
    }

    assert_eq!(count(), 0);
    assert_eq!(recorded(|| assert_eq!(count(), 1)), json!({"n": 0}));
}

#[test]
fn async_functions_record_when_first_polled() {
    #[expect(clippy::needless_lifetimes, reason = "a signature with them")]
    #[bemi_context(id = id, borrowed = name, awaited = std::future::ready(3).await)]
    async fn load<'a>(id: i32, name: &'a str) -> Option<&'a str> {
        Some(name)
    }

    let members = recorded(|| {
        let future = load(1, "a");
        assert_eq!(current_context(), Some(Context::new()));
        assert_eq!(ready(future), Some("a"));
    });
    assert_eq!(members, json!({"id": 1, "borrowed": "a", "awaited": 3}));
}

#[test]
fn futures_stay_send() {
    #[bemi_context(id = id, awaited = std::future::ready(3).await)]
    async fn load(id: i32) {}

    fn assert_send(future: impl Future + Send) {
        drop(future);
    }
    assert_send(load(1));
}

#[test]
fn methods_see_self() {
    struct Service<T> {
        id: T,
    }

    trait Rename {
        #[bemi_context(to = to)]
        fn rename(&self, to: &str) -> usize {
            to.len()
        }
    }

    impl<T> Rename for Service<T> {}

    impl<T: Serialize> Service<T> {
        const KIND: &'static str = "service";

        #[bemi_context(id = self.id, kind = Self::KIND)]
        async fn method(&mut self) -> &mut Self {
            self
        }

        #[bemi_context(id = self.id)]
        fn consuming(self) -> T {
            self.id
        }
    }

    let mut service = Service { id: 5 };
    assert_eq!(
        recorded(|| {
            ready(service.method());
        }),
        json!({"id": 5, "kind": "service"})
    );
    assert_eq!(recorded(|| service.rename("ab")), json!({"to": "ab"}));
    assert_eq!(recorded(|| service.consuming()), json!({"id": 5}));
}

#[test]
fn generics_impl_trait_and_where_clauses() {
    #[bemi_context(id = id, shown = shown.to_string(), sum = N + 1, items = items.as_slice())]
    fn generic<'a, T, const N: usize>(
        id: T,
        shown: impl Display + 'a,
        items: &'a [T; N],
    ) -> impl Iterator<Item = T>
    where
        T: Serialize + Copy,
    {
        drop(shown);
        std::iter::once(id).chain(items.iter().copied())
    }

    let members = recorded(|| assert_eq!(generic(1, 'x', &[2, 3]).sum::<i32>(), 6));
    assert_eq!(
        members,
        json!({"id": 1, "shown": "x", "sum": 3, "items": [2, 3]})
    );
}

#[test]
fn a_value_may_return_early() {
    #[bemi_context(before = 1, parsed = text.parse::<i32>()?, after = 2)]
    fn parse(text: &str) -> Result<i32, std::num::ParseIntError> {
        if text == "0" {
            return Ok(-1);
        }
        Ok(text.parse::<i32>()? + 1)
    }

    assert_eq!(
        recorded(|| assert_eq!(parse("41"), Ok(42))),
        json!({"before": 1, "parsed": 41, "after": 2})
    );
    assert_eq!(
        recorded(|| assert_eq!(parse("0"), Ok(-1))),
        json!({"before": 1, "parsed": 0, "after": 2})
    );
    assert_eq!(
        recorded(|| assert!(parse("x").is_err())),
        json!({"before": 1})
    );
}

#[test]
fn later_members_replace_earlier_ones_and_attributes_stack() {
    #[bemi_context(a = 1, b = 1)]
    #[bemi_context(c = x, type = "keyword")]
    #[must_use]
    fn stacked(x: u8) -> u8 {
        set_context("a", 2);
        x
    }

    assert_eq!(
        recorded(|| stacked(3)),
        json!({"a": 2, "b": 1, "c": 3, "type": "keyword"})
    );
}

#[test]
fn bodies_of_every_form() {
    #[bemi_context(a = 1)]
    fn empty() {}

    #[bemi_context(a = 1)]
    fn literal() -> i32 {
        7
    }

    #[bemi_context(a = context)]
    fn own_names(context: i32) -> i32 {
        context
    }

    #[bemi_context(a = 1)]
    fn tuple() -> (i32, i32) {
        (1, 2)
    }

    #[bemi_context(a = 1)]
    #[expect(clippy::neg_multiply, reason = "a body that begins with an operator")]
    fn operator(x: i32) -> i32 {
        -1 * x
    }

    #[bemi_context(a = 1)]
    fn inner_attributes_and_items() -> i32 {
        #![allow(non_snake_case)]
        const ONE: i32 = 1;
        let X = ONE;
        X + ONE
    }

    #[bemi_context(a = 1)]
    extern "C" fn foreign() {}

    #[bemi_context(a = 1)]
    fn diverges() -> ! {
        panic!("on purpose")
    }

    let a = json!({"a": 1});
    assert_eq!(recorded(empty), a);
    assert_eq!(recorded(literal), a);
    assert_eq!(recorded(|| own_names(1)), a);
    assert_eq!(recorded(|| assert_eq!(tuple(), (1, 2))), a);
    assert_eq!(recorded(|| assert_eq!(operator(2), -2)), a);
    assert_eq!(recorded(inner_attributes_and_items), a);
    assert_eq!(recorded(|| foreign()), a);
    assert_eq!(
        recorded(|| std::panic::catch_unwind(|| diverges()).map_err(drop)),
        a
    );
}
