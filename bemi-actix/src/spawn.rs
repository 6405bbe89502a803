use actix_web::rt::{self, task::JoinHandle};
use bemi_diesel::ContextExt;

/// Spawns `future` on the current thread with the ambient context of the caller: [`actix_web::rt::spawn`]
/// for code that writes through the wrapped connections.
///
/// The context is the caller's own, not a copy of it: what is set on either side, both see. Without an
/// ambient context `future` runs without one.
///
/// ```
/// # actix_web::rt::System::new().block_on(async {
/// use bemi_diesel::{Context, current_context, scope};
///
/// let user = Context::new().with("user_id", 7);
/// scope(user.clone(), async move {
///     let seen = bemi_actix::spawn(async { current_context() }).await?;
///     assert_eq!(seen, Some(user));
///     Ok::<_, actix_web::rt::task::JoinError>(())
/// })
/// .await?;
/// # Ok::<_, actix_web::rt::task::JoinError>(())
/// # }).unwrap();
/// ```
///
/// # Panics
///
/// Outside an actix runtime, as [`actix_web::rt::spawn`] does.
#[track_caller]
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    rt::spawn(future.in_current_context())
}
