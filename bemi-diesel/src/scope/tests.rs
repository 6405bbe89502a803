use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

use futures_util::FutureExt;

use super::*;

fn with(key: &str, value: i32) -> Context {
    Context::new().with(key, value)
}

/// Pending at its first poll.
async fn yield_once() {
    let mut yielded = false;
    std::future::poll_fn(|_| {
        if std::mem::replace(&mut yielded, true) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

#[test]
fn interleaved_futures_keep_their_own() {
    let task = |n: i32| {
        Box::pin(scope(with("n", n), async move {
            for step in 0..3 {
                let mut expected = with("n", n);
                if step > 0 {
                    expected.set("step", step - 1);
                }
                assert_eq!(current_context(), Some(expected));
                set_context("step", step);
                yield_once().await;
            }
            current_context()
        }))
    };
    let mut tasks: Vec<_> = (0..10).map(task).collect();
    let mut cx = TaskContext::from_waker(Waker::noop());
    let mut results = vec![None; 10];
    while results.iter().any(Option::is_none) {
        for (task, result) in tasks.iter_mut().zip(&mut results) {
            if result.is_none()
                && let Poll::Ready(context) = task.as_mut().poll(&mut cx)
            {
                *result = Some(context);
            }
        }
        assert_eq!(current_context(), None);
    }
    for (n, result) in (0..).zip(results) {
        assert_eq!(result, Some(Some(with("n", n).with("step", 2))));
    }
}

#[test]
fn a_panic_leaves_nothing_behind() {
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        sync_scope(with("a", 1), || panic!("on purpose"))
    }));
    assert!(panicked.is_err());
    assert_eq!(current_context(), None);
    let panicked =
        catch_unwind(|| scope(with("a", 1), async { panic!("on purpose") }).now_or_never());
    assert!(panicked.is_err());
    assert_eq!(current_context(), None);
}

#[test]
fn nested_scopes_merge_and_do_not_leak_outwards() {
    sync_scope(with("a", 1), || {
        sync_scope(with("b", 2), || {
            set_context("c", 3);
            assert_eq!(
                current_context(),
                Some(with("a", 1).with("b", 2).with("c", 3))
            );
        });
        assert_eq!(current_context(), Some(with("a", 1)));
        SharedContext::new(with("z", 9))
            .in_scope(|| assert_eq!(current_context(), Some(with("z", 9))));
    });
}

#[test]
fn the_wire_form_follows_every_change() {
    let shared = SharedContext::new(with("a", 1));
    assert_eq!(&*shared.members_json(), r#""a":1"#);
    shared.clone().set("a", 2);
    assert_eq!(&*shared.members_json(), r#""a":2"#);
}
