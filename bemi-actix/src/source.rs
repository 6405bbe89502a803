use std::future::ready;

use actix_web::dev::ServiceRequest;
use bemi_diesel::Context;

/// Says what the context of a request holds beyond the defaults: who the user is, above all.
///
/// A closure from `&ServiceRequest` to [`Context`] is one. Implement the trait where it takes an `await`,
/// or an extractor such as `Identity` or `Session`.
///
/// ```
/// use actix_web::App;
/// use actix_web::dev::ServiceRequest;
/// use actix_web::web::ReqData;
/// use bemi_actix::{BemiMiddleware, ContextSource};
/// use bemi_diesel::Context;
///
/// #[derive(Clone)]
/// struct UserId(i32);
///
/// struct Author;
///
/// impl ContextSource for Author {
///     async fn context(&self, request: &mut ServiceRequest) -> Context {
///         // Any extractor that leaves the body alone.
///         let user = request.extract::<ReqData<UserId>>().await;
///         Context::new().with("user_id", user.ok().map(|user| user.0))
///     }
/// }
///
/// let app = App::new().wrap(BemiMiddleware::builder().source(Author).build());
/// # drop(app);
/// ```
pub trait ContextSource: 'static {
    /// The members to add to the context of `request`, which they replace where both have a key.
    ///
    /// It runs before the inner service, once per request, and in the request's context. It sees the
    /// request as the outer middleware left it. The body is the handler's: what is read of it here, the
    /// handler does not get.
    fn context(&self, request: &mut ServiceRequest) -> impl Future<Output = Context>;
}

impl<F> ContextSource for F
where
    F: Fn(&ServiceRequest) -> Context + 'static,
{
    fn context(&self, request: &mut ServiceRequest) -> impl Future<Output = Context> {
        ready(self(request))
    }
}

/// Adds nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSource;

impl ContextSource for NoSource {
    async fn context(&self, _request: &mut ServiceRequest) -> Context {
        Context::new()
    }
}
