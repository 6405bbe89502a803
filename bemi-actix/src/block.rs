use std::future::Future;

use actix_web::error::BlockingError;
use actix_web::web;
use bemi_diesel::carry_context;

/// Runs `f` in the blocking pool with the ambient context of the caller: [`actix_web::web::block`] for
/// code that writes through the wrapped connections.
///
/// The context is the caller's own, not a copy of it: what is set on either side, both see. Without an
/// ambient context `f` runs without one.
///
/// ```
/// # actix_web::rt::System::new().block_on(async {
/// use bemi_diesel::{Context, current_context, scope};
///
/// let user = Context::new().with("user_id", 7);
/// scope(user.clone(), async move {
///     let seen = bemi_actix::block(current_context).await?;
///     assert_eq!(seen, Some(user));
///     Ok::<_, actix_web::error::BlockingError>(())
/// })
/// .await?;
/// # Ok::<_, actix_web::error::BlockingError>(())
/// # }).unwrap();
/// ```
///
/// # Errors
///
/// [`BlockingError`] when `f` panics or the pool shuts down, as for [`actix_web::web::block`].
pub fn block<F, R>(f: F) -> impl Future<Output = Result<R, BlockingError>>
where
    F: FnOnce() -> R + Send + 'static,
    R: Send + 'static,
{
    // Taken here, where the caller runs, and not where the future is polled first.
    web::block(carry_context(f))
}
