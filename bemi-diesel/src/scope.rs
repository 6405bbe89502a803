//! The ambient context: the one that the code running right now belongs to.
//!
//! It is a thread-local that is swapped in around every poll of a future and around every call of a
//! closure, so it belongs to the task and not to the thread: interleaved requests on one worker never
//! see each other's. Code that leaves the task (`tokio::spawn`, `spawn_blocking`, a thread of its own)
//! leaves the context too, unless it takes a [`SharedContext`] along.

mod ambient;
mod carry;
#[cfg(any(feature = "sync", feature = "async"))]
mod connection;
mod scoped;

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::context::MembersJson;
use crate::{Context, Redaction};

pub use ambient::Entered;
use ambient::Restore;
pub use carry::{ContextExt, carry_context};
#[cfg(feature = "async")]
pub use carry::{spawn, spawn_blocking};
pub use scoped::Scoped;

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
///
/// `Debug` shows the keys and hides the values, as that of [`Context`] does.
#[derive(Clone)]
pub struct SharedContext {
    inner: Arc<Inner>,
}

struct Inner {
    state: Mutex<State>,
    redaction: Option<Arc<Redaction>>,
}

struct State {
    context: Context,
    /// The wire form of `context`, made by the first statement that needs it after a change.
    members_json: Option<MembersJson>,
}

impl SharedContext {
    /// A context of its own: nothing is taken over from the ambient one.
    #[must_use]
    pub fn new(context: Context) -> Self {
        Self::build(context, None)
    }

    /// As [`SharedContext::new`], but secrets never get in: whatever is set, by whom and however deep,
    /// passes `redaction` first. Scopes inside this one do the same.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use bemi_diesel::{Context, Redaction, SharedContext, current_context, set_context};
    ///
    /// let redaction = Arc::new(Redaction::default());
    /// SharedContext::with_redaction(Context::new(), redaction).in_scope(|| {
    ///     set_context("token", "abc");
    ///     assert_eq!(current_context(), Some(Context::new().with("token", "[redacted]")));
    /// });
    /// ```
    #[must_use]
    pub fn with_redaction(context: Context, redaction: Arc<Redaction>) -> Self {
        Self::build(context, Some(redaction))
    }

    fn build(mut context: Context, redaction: Option<Arc<Redaction>>) -> Self {
        if let Some(redaction) = &redaction {
            redaction.apply(&mut context);
        }
        Self {
            inner: Arc::new(Inner {
                state: Mutex::new(State {
                    context,
                    members_json: None,
                }),
                redaction,
            }),
        }
    }

    /// The ambient context, or `None` outside every scope.
    #[must_use]
    pub fn current() -> Option<Self> {
        ambient::current()
    }

    /// Sets `key` for every write from now on. See [`Context::set`].
    pub fn set(&self, key: impl Into<String>, value: impl Serialize) {
        // The value's own `Serialize` runs before the lock is taken: it may panic or come back here.
        let mut context = Context::new().with(key, value);
        self.redact(&mut context);
        self.change(|own| own.merge(context));
    }

    /// Sets a member of an object inside the context. See [`Context::set_in`].
    pub fn set_in(&self, path: &[&str], value: impl Serialize) {
        let value = Context::new().with("value", value).remove("value");
        self.update(|own| own.set_in(path, value));
    }

    /// Removes the member at the end of `path`, for every write from now on. See
    /// [`Context::remove_in`].
    pub fn remove_in(&self, path: &[&str]) {
        self.change(|own| own.remove_in(path));
    }

    /// Changes the context by `change`.
    pub fn update<R>(&self, change: impl FnOnce(&mut Context) -> R) -> R {
        self.change(|own| {
            // Also when `change` panics: what it did until then is there.
            let own = Redacting {
                shared: self,
                context: own,
            };
            change(own.context)
        })
    }

    fn change<R>(&self, change: impl FnOnce(&mut Context) -> R) -> R {
        let mut state = self.lock();
        state.members_json = None;
        change(&mut state.context)
    }

    fn redact(&self, context: &mut Context) {
        if let Some(redaction) = &self.inner.redaction {
            redaction.apply(context);
        }
    }

    /// What `read` makes of the context as it is now, without a copy of it.
    pub fn read<R>(&self, read: impl FnOnce(&Context) -> R) -> R {
        read(&self.lock().context)
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

    /// The future (or stream) `future` with this as the ambient context whenever it runs, wherever it
    /// runs, and when it is dropped.
    pub fn scope<F>(&self, future: F) -> Scoped<F> {
        Scoped::new(Some(self.clone()), future)
    }

    /// Makes this the ambient context of the thread until the guard is dropped: for code that cannot be
    /// put into a closure. The guard cannot leave its thread, and several may be dropped in any order.
    ///
    /// In asynchronous code take [`scope`](SharedContext::scope). A guard that is alive at an `.await`
    /// inside a scope ends there, so it never reaches another task; outside every scope it would stay on
    /// the thread while other tasks run on it.
    ///
    /// ```
    /// use bemi_diesel::{Context, SharedContext, current_context};
    ///
    /// let import = Context::new().with("command", "import");
    /// let entered = SharedContext::new(import.clone()).enter();
    /// assert_eq!(current_context(), Some(import));
    /// drop(entered);
    /// assert_eq!(current_context(), None);
    /// ```
    #[must_use = "the context is left again when the guard is dropped"]
    pub fn enter(&self) -> Entered {
        Entered::new(self.clone())
    }

    #[cfg_attr(
        not(any(feature = "sync", feature = "async")),
        allow(dead_code, reason = "only the connections send it")
    )]
    pub(crate) fn members_json(&self) -> MembersJson {
        let mut state = self.lock();
        let State {
            context,
            members_json,
        } = &mut *state;
        let made = members_json.get_or_insert_with(|| {
            let members = context.members_json();
            if members.cut > 0 {
                tracing::warn!(
                    members = members.cut,
                    limit = crate::MAX_CONTEXT_BYTES,
                    "a context is too long: its largest members are not recorded"
                );
            }
            members
        });
        made.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The context is whole at every point where `update`'s closure can panic.
        self.inner
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for SharedContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_tuple("SharedContext");
        match self.inner.state.try_lock() {
            Ok(state) => shown.field(&state.context),
            // It is being changed, perhaps by the very code that prints it.
            Err(_) => shown.field(&format_args!("…")),
        }
        .finish()
    }
}

/// A context that has no secrets once this is dropped.
struct Redacting<'a> {
    shared: &'a SharedContext,
    context: &'a mut Context,
}

impl Drop for Redacting<'_> {
    fn drop(&mut self) {
        self.shared.redact(self.context);
    }
}

impl From<Context> for SharedContext {
    fn from(context: Context) -> Self {
        Self::new(context)
    }
}

/// The ambient context with `context` on top: what an inner scope starts from.
fn nested(context: Context) -> SharedContext {
    let Some(outer) = SharedContext::current() else {
        return SharedContext::new(context);
    };
    let mut merged = outer.get();
    merged.merge(context);
    SharedContext::build(merged, outer.inner.redaction.clone())
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

#[cfg(test)]
mod tests;
