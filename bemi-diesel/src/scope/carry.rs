//! Taking the ambient context along to where it would be lost.

use super::{Scoped, SharedContext};

/// Gives futures and streams the ambient context of the code that makes them.
///
/// A task or a thread of its own has no ambient context, because it may outlive what it was started
/// from. These take it along, for whatever starts one:
///
/// ```
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
/// # runtime.block_on(async {
/// use bemi_diesel::{Context, ContextExt, current_context, scope};
///
/// let user = Context::new().with("user_id", 7);
/// scope(user.clone(), async {
///     let alone = tokio::spawn(async { current_context() });
///     let along = tokio::spawn(async { current_context() }.in_current_context());
///     assert_eq!(alone.await?, None);
///     assert_eq!(along.await?, Some(user));
///     Ok::<_, tokio::task::JoinError>(())
/// })
/// .await
/// # }).expect("no panic");
/// ```
pub trait ContextExt: Sized {
    /// This future or stream with the context that is ambient *now*, at this call, whenever and wherever
    /// it runs. It is the same context and not a copy: what is set on either side, both see. Where there
    /// is none now, there is none then.
    fn in_current_context(self) -> Scoped<Self> {
        Scoped::new(SharedContext::current(), self)
    }

    /// This future or stream with `context` as its ambient one.
    fn in_context(self, context: &SharedContext) -> Scoped<Self> {
        context.scope(self)
    }
}

impl<T> ContextExt for T {}

/// The closure `f` with the context that is ambient *now*, for a thread or pool that calls it later:
/// `std::thread::spawn(carry_context(f))`, `rayon::spawn(carry_context(f))`.
///
/// As for [`ContextExt::in_current_context`] it is the same context and not a copy.
///
/// ```
/// use bemi_diesel::{Context, carry_context, current_context, sync_scope};
///
/// let context = Context::new().with("command", "import");
/// let thread = sync_scope(context.clone(), || std::thread::spawn(carry_context(current_context)));
/// assert_eq!(thread.join().expect("no panic"), Some(context));
/// ```
pub fn carry_context<F, R>(f: F) -> impl FnOnce() -> R + use<F, R>
where
    F: FnOnce() -> R,
{
    let context = SharedContext::current();
    move || {
        let _restore = super::Restore::enter(context);
        f()
    }
}

/// Spawns `future` on tokio with the ambient context of the caller: [`tokio::spawn`] for code that
/// writes through the wrapped connections.
///
/// # Panics
///
/// Outside a tokio runtime, as [`tokio::spawn`] does.
#[cfg(feature = "async")]
#[track_caller]
pub fn spawn<F>(future: F) -> tokio::task::JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    tokio::spawn(future.in_current_context())
}

/// Runs `f` in tokio's blocking pool with the ambient context of the caller:
/// [`tokio::task::spawn_blocking`] for code that writes through the wrapped connections. In an actix-web
/// handler there is `bemi_actix::block`.
///
/// # Panics
///
/// Outside a tokio runtime, as [`tokio::task::spawn_blocking`] does.
#[cfg(feature = "async")]
#[track_caller]
pub fn spawn_blocking<F, R>(f: F) -> tokio::task::JoinHandle<R>
where
    F: FnOnce() -> R + Send + 'static,
    R: Send + 'static,
{
    tokio::task::spawn_blocking(carry_context(f))
}
