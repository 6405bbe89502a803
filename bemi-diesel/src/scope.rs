//! The ambient context: the one that the code running right now belongs to.
//!
//! It is a thread-local that is swapped in around every poll of a future and around every call of a
//! closure, so it belongs to the task and not to the thread: interleaved requests on one worker never
//! see each other's. Code that leaves the task (`tokio::spawn`, `spawn_blocking`, a thread of its own)
//! leaves the context too, unless it takes a [`SharedContext`] along.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context as TaskContext, Poll};

use pin_project_lite::pin_project;
use serde::Serialize;

use crate::Context;

thread_local! {
    static CURRENT: RefCell<Option<SharedContext>> = const { RefCell::new(None) };
}

/// One [`Context`] shared by everything that works for the same request or job.
///
/// Clones are handles to the same context: what one of them [sets](SharedContext::set), all of them
/// see, and so does every write made after that.
///
/// ```
/// use bemi_diesel::{Context, SharedContext, current_context};
///
/// let request = SharedContext::new(Context::new().with("request", 1));
/// let handle = request.clone();
/// std::thread::spawn(move || {
///     handle.in_scope(|| {
///         assert_eq!(current_context(), Some(Context::new().with("request", 1)));
///     });
/// })
/// .join()
/// .expect("the thread ends well");
/// ```
#[derive(Clone, Debug)]
pub struct SharedContext {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    context: Context,
    /// The wire form of `context`, made by the first statement that needs it after a change.
    members_json: Option<Arc<str>>,
}

impl SharedContext {
    /// A context of its own: nothing is taken over from the ambient one.
    #[must_use]
    pub fn new(context: Context) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                context,
                members_json: None,
            })),
        }
    }

    /// The ambient context, or `None` outside every scope.
    #[must_use]
    pub fn current() -> Option<Self> {
        // A destructor of another thread-local may ask while this thread ends: there is none then.
        CURRENT
            .try_with(|current| current.borrow().clone())
            .ok()
            .flatten()
    }

    /// Sets `key` for every write from now on. See [`Context::set`].
    pub fn set(&self, key: impl Into<String>, value: impl Serialize) {
        // The value's own `Serialize` runs before the lock is taken: it may panic or come back here.
        let context = Context::new().with(key, value);
        self.update(|own| own.merge(context));
    }

    /// Changes the context by `change`.
    pub fn update<R>(&self, change: impl FnOnce(&mut Context) -> R) -> R {
        let mut state = self.lock();
        state.members_json = None;
        change(&mut state.context)
    }

    /// The context as it is now.
    #[must_use]
    pub fn get(&self) -> Context {
        self.lock().context.clone()
    }

    /// Runs `f` with this as the ambient context; the previous one is back when `f` returns or panics.
    pub fn in_scope<R>(&self, f: impl FnOnce() -> R) -> R {
        let _restore = Restore::enter(Some(self.clone()));
        f()
    }

    /// The future `future` with this as the ambient context whenever it runs, wherever it runs.
    pub fn scope<F: Future>(&self, future: F) -> Scoped<F> {
        Scoped {
            shared: self.clone(),
            future,
        }
    }

    #[cfg_attr(
        not(any(feature = "sync", feature = "async")),
        allow(dead_code, reason = "only the connections send it")
    )]
    pub(crate) fn members_json(&self) -> Arc<str> {
        let mut state = self.lock();
        let State {
            context,
            members_json,
        } = &mut *state;
        Arc::clone(members_json.get_or_insert_with(|| context.members_json().into()))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The context is whole at every point where `update`'s closure can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<Context> for SharedContext {
    fn from(context: Context) -> Self {
        Self::new(context)
    }
}

/// The ambient context with `context` on top: what an inner scope starts from.
fn nested(context: Context) -> SharedContext {
    let mut merged = current_context().unwrap_or_default();
    merged.merge(context);
    SharedContext::new(merged)
}

/// Runs `future` with `context` as its ambient context.
///
/// Inside another scope the members of the outer one stay, `context` wins where both have a key, and
/// what is set inside does not reach the outer one.
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use bemi_diesel::{Context, current_context, scope};
///
/// scope(Context::new().with("job", "nightly"), async {
///     scope(Context::new().with("step", 1), async {
///         assert_eq!(current_context(), Some(Context::new().with("job", "nightly").with("step", 1)));
///     })
///     .await;
/// })
/// .await;
/// assert_eq!(current_context(), None);
/// # });
/// ```
pub fn scope<F: Future>(context: Context, future: F) -> Scoped<F> {
    nested(context).scope(future)
}

/// Runs `f` with `context` as its ambient context. Nests like [`scope`].
///
/// ```
/// use bemi_diesel::{Context, current_context, sync_scope};
///
/// sync_scope(Context::new().with("command", "import"), || {
///     assert_eq!(current_context(), Some(Context::new().with("command", "import")));
/// });
/// ```
pub fn sync_scope<R>(context: Context, f: impl FnOnce() -> R) -> R {
    nested(context).in_scope(f)
}

/// Sets `key` in the ambient context for every write from now on, and returns whether there is one.
///
/// ```
/// use bemi_diesel::{Context, current_context, set_context, sync_scope};
///
/// assert!(!set_context("user_id", 7));
/// sync_scope(Context::new(), || {
///     assert!(set_context("user_id", 7));
///     assert_eq!(current_context(), Some(Context::new().with("user_id", 7)));
/// });
/// ```
pub fn set_context(key: impl Into<String>, value: impl Serialize) -> bool {
    let current = SharedContext::current();
    if let Some(current) = &current {
        current.set(key, value);
    }
    current.is_some()
}

/// The ambient context as it is now, or `None` outside every scope.
#[must_use]
pub fn current_context() -> Option<Context> {
    SharedContext::current().map(|current| current.get())
}

pin_project! {
    /// A future that has an ambient context whenever it is polled. Made by [`scope`] and
    /// [`SharedContext::scope`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct Scoped<F> {
        shared: SharedContext,
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for Scoped<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _restore = Restore::enter(Some(this.shared.clone()));
        this.future.poll(cx)
    }
}

/// Puts the previous ambient context back when dropped, so also while a panic unwinds.
struct Restore {
    previous: Option<SharedContext>,
}

impl Restore {
    fn enter(shared: Option<SharedContext>) -> Self {
        Self {
            previous: CURRENT.with(|current| current.replace(shared)),
        }
    }
}

impl Drop for Restore {
    fn drop(&mut self) {
        let previous = self.previous.take();
        // Dropped outside the borrow: the last handle's destructor may come back here.
        let _left = CURRENT.try_with(|current| current.replace(previous));
    }
}

#[cfg(test)]
mod tests;
