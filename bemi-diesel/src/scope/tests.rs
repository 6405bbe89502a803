use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context as TaskContext, Poll, Waker};

use futures_util::{FutureExt, Stream, StreamExt, stream};

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

#[test]
fn debug_hides_values_also_after_they_were_sent() {
    let shared = SharedContext::new(Context::new().with("password", "hunter2"));
    shared.members_json();
    let shown = r#"SharedContext(Context{"password"})"#;
    assert_eq!(format!("{shared:?}"), shown);
    assert_eq!(
        format!("{:?}", shared.in_scope(SharedContext::current)),
        format!("Some({shown})")
    );
    shared.update(|_| assert_eq!(format!("{shared:?}"), "SharedContext(…)"));
}

#[test]
fn guards_can_be_left_in_any_order() {
    let [a, b] = ["a", "b"].map(|key| SharedContext::new(with(key, 1)));
    let first = a.enter();
    let second = b.enter();
    assert_eq!(current_context(), Some(with("b", 1)));
    drop(first);
    assert_eq!(current_context(), Some(with("b", 1)));
    drop(second);
    assert_eq!(current_context(), None);
}

#[test]
fn a_guard_ends_with_the_scope_around_it() {
    let mut kept = None;
    sync_scope(with("a", 1), || {
        kept = Some(SharedContext::new(with("b", 2)).enter());
        assert_eq!(current_context(), Some(with("b", 2)));
    });
    assert_eq!(current_context(), None);
    sync_scope(with("c", 3), || {
        drop(kept);
        assert_eq!(current_context(), Some(with("c", 3)));
    });
}

#[test]
fn a_guard_that_is_held_over_an_await_reaches_no_other_task() {
    let mut task = pin!(scope(with("a", 1), async {
        let _entered = SharedContext::new(with("b", 2)).enter();
        let before = current_context();
        yield_once().await;
        (before, current_context())
    }));
    let mut cx = TaskContext::from_waker(Waker::noop());
    assert!(task.as_mut().poll(&mut cx).is_pending());
    assert_eq!(current_context(), None);
    assert_eq!(
        task.as_mut().poll(&mut cx),
        Poll::Ready((Some(with("b", 2)), Some(with("a", 1))))
    );
    assert_eq!(current_context(), None);
}

#[test]
fn what_is_carried_is_the_same_context_and_none_stays_none() {
    let bare = async { current_context() }.in_current_context();
    let bare_closure = carry_context(current_context);
    let (future, closure, values) = sync_scope(with("a", 1), || {
        (
            async { set_context("future", 1) }.in_current_context(),
            carry_context(|| set_context("closure", 1)),
            stream::repeat_with(current_context)
                .take(1)
                .in_current_context(),
        )
    });
    sync_scope(with("other", 1), || {
        assert_eq!(bare.now_or_never(), Some(None));
        assert_eq!(bare_closure(), None);
        assert_eq!(future.now_or_never(), Some(true));
        assert!(std::thread::spawn(closure).join().expect("no panic"));
        assert_eq!(values.size_hint(), (1, Some(1)));
        assert_eq!(
            values.collect::<Vec<_>>().now_or_never(),
            Some(vec![Some(
                with("a", 1).with("future", 1).with("closure", 1)
            )])
        );
        assert_eq!(current_context(), Some(with("other", 1)));
    });
}

#[test]
fn a_cancelled_future_ends_in_its_own_context() {
    struct Ends<'a>(&'a mut Option<Context>);

    impl Drop for Ends<'_> {
        fn drop(&mut self) {
            *self.0 = current_context();
        }
    }

    let mut seen = None;
    {
        let ends = Ends(&mut seen);
        let mut task: Pin<Box<_>> = Box::pin(scope(with("a", 1), async move {
            yield_once().await;
            drop(ends);
        }));
        assert!(task.as_mut().now_or_never().is_none());
        sync_scope(with("other", 1), || drop(task));
    }
    assert_eq!(seen, Some(with("a", 1)));
    assert_eq!(current_context(), None);
}

#[test]
fn secrets_get_in_by_no_way() {
    let redaction = std::sync::Arc::new(Redaction::default());
    let secret = || Context::new().with("token", "abc");
    let shared = SharedContext::with_redaction(secret(), redaction);
    shared.set("password", "hunter2");
    shared.set_in(&["user", "apiKey"], "abc");
    shared.set_in(&["cookie", "name"], "abc");
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        shared.update(|own| {
            own.set("secret", 1);
            panic!("on purpose")
        });
    }));
    assert!(panicked.is_err());
    let inner = shared.in_scope(|| {
        sync_scope(Context::new().with("jwt", "abc"), || {
            set_context("url", "/?otp=123");
            current_context()
        })
    });
    let expected = r#"{"cookie":"[redacted]","jwt":"[redacted]","password":"[redacted]","secret":"[redacted]","token":"[redacted]","url":"/?otp=[redacted]","user":{"apiKey":"[redacted]"}}"#;
    assert_eq!(serde_json::to_string(&inner).expect("JSON"), expected);
    // Without a redaction nothing is touched.
    assert_eq!(sync_scope(secret(), current_context), Some(secret()));
}

#[cfg(feature = "async")]
#[tokio::test]
async fn tasks_and_the_blocking_pool_have_it_along() {
    scope(with("a", 1), async {
        let task = spawn(async { set_context("task", 1) });
        let blocking = spawn_blocking(|| set_context("blocking", 1));
        assert!(task.await.expect("no panic") && blocking.await.expect("no panic"));
        assert_eq!(
            current_context(),
            Some(with("a", 1).with("task", 1).with("blocking", 1))
        );
    })
    .await;
    assert_eq!(
        spawn(async { current_context() }).await.expect("no panic"),
        None
    );
    assert_eq!(
        spawn_blocking(current_context).await.expect("no panic"),
        None
    );
}
