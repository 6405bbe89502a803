use std::fmt;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};

use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform};
use actix_web::{Error, HttpMessage};
use bemi_diesel::{Context, SharedContext, current_context};
use pin_project_lite::pin_project;

use crate::ContextBody;

/// The default member: the path of the request, without its query.
const ENDPOINT: &str = "endpoint";

/// Middleware that opens one ambient context per request.
///
/// The context starts with the path of the request as `endpoint`. What the closure returns comes on
/// top and wins where both have a key; what handlers set later, with
/// [`#[bemi_context]`](bemi_diesel::bemi_context), [`set_context`](bemi_diesel::set_context) or
/// [`RequestContext`](crate::RequestContext), comes on top of that. Everything inside the middleware
/// runs in the context, the body of the response included.
///
/// Wrap it **inside** the middleware whose results the closure reads (a session, an identity): the one
/// wrapped last runs first.
///
/// ```
/// use actix_web::{App, HttpMessage};
/// use bemi_actix::BemiMiddleware;
/// use bemi_diesel::Context;
///
/// #[derive(Clone)]
/// struct UserId(i32);
///
/// let app = App::new().wrap(BemiMiddleware::new(|request| {
///     let user = request.extensions().get::<UserId>().map(|user| user.0);
///     Context::new().with("user_id", user)
/// }));
/// # drop(app);
/// ```
///
/// Inside another [`scope`](bemi_diesel::scope), or another `BemiMiddleware`, the outer members stay,
/// as in every nested scope, and the outer `endpoint` too unless the closure sets it.
pub struct BemiMiddleware<F = fn(&ServiceRequest) -> Context> {
    context: Arc<F>,
}

impl<F> BemiMiddleware<F>
where
    F: Fn(&ServiceRequest) -> Context + 'static,
{
    /// Middleware whose contexts hold what `context` makes of each request.
    ///
    /// `context` runs before the inner service, once per request. It sees the request as the outer
    /// middleware left it; the body is not to be read here.
    pub fn new(context: F) -> Self {
        Self {
            context: Arc::new(context),
        }
    }
}

impl Default for BemiMiddleware {
    /// Middleware whose contexts start with `endpoint` alone.
    fn default() -> Self {
        Self::new(|_request| Context::new())
    }
}

impl<F> Clone for BemiMiddleware<F> {
    fn clone(&self) -> Self {
        Self {
            context: Arc::clone(&self.context),
        }
    }
}

impl<F> fmt::Debug for BemiMiddleware<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BemiMiddleware").finish_non_exhaustive()
    }
}

impl<F, S, B> Transform<S, ServiceRequest> for BemiMiddleware<F>
where
    F: Fn(&ServiceRequest) -> Context + 'static,
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
{
    type Response = ServiceResponse<ContextBody<B>>;
    type Error = Error;
    type Transform = BemiMiddlewareService<F, S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, Self::InitError>>;

    fn new_transform(&self, service: S) -> Self::Future {
        ready(Ok(BemiMiddlewareService {
            context: Arc::clone(&self.context),
            service,
        }))
    }
}

/// The service that [`BemiMiddleware`] makes of the one it wraps.
pub struct BemiMiddlewareService<F, S> {
    context: Arc<F>,
    service: S,
}

impl<F, S> fmt::Debug for BemiMiddlewareService<F, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BemiMiddlewareService")
            .finish_non_exhaustive()
    }
}

impl<F, S> BemiMiddlewareService<F, S>
where
    F: Fn(&ServiceRequest) -> Context,
{
    fn open(&self, request: &ServiceRequest) -> SharedContext {
        let mut context = Context::new().with(ENDPOINT, request.path());
        context.merge(current_context().unwrap_or_default());
        context.merge((self.context)(request));
        SharedContext::new(context)
    }
}

impl<F, S, B> Service<ServiceRequest> for BemiMiddlewareService<F, S>
where
    F: Fn(&ServiceRequest) -> Context,
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
{
    type Response = ServiceResponse<ContextBody<B>>;
    type Error = Error;
    type Future = ContextResponse<S::Future>;

    actix_web::dev::forward_ready!(service);

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let context = self.open(&request);
        request.extensions_mut().insert(context.clone());
        // The call itself is code of the application too: a synchronous part of the inner middleware.
        let response = context.in_scope(|| self.service.call(request));
        ContextResponse { context, response }
    }
}

pin_project! {
    /// The response to come of a [`BemiMiddlewareService`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct ContextResponse<R> {
        context: SharedContext,
        #[pin]
        response: R,
    }
}

impl<R, B> Future for ContextResponse<R>
where
    R: Future<Output = Result<ServiceResponse<B>, Error>>,
{
    type Output = Result<ServiceResponse<ContextBody<B>>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        this.context
            .in_scope(|| this.response.poll(cx))
            .map_ok(|response| {
                response.map_body(|_head, body| ContextBody::new(this.context.clone(), body))
            })
    }
}
