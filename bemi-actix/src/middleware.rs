use std::fmt;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform};
use actix_web::http::header::HeaderValue;
use actix_web::{Error, HttpMessage};
use bemi_diesel::{Context, Redaction, Scoped, SharedContext, current_context};

use crate::member::{self, REQUEST_ID, REQUEST_ID_MEMBER};
use crate::{BemiMiddlewareBuilder, ContextBody, ContextSource, Member, NoSource, recorder};

/// Middleware that opens one ambient context per request.
///
/// The context starts with what the middleware knows by itself: `method`, `endpoint` (the path), `route`
/// (the pattern), `request_id`, and `trace_id` and `span_id` of a distributed trace (see [`Member`]). What
/// the closure returns comes on top and wins where both have a key; what handlers set later, with
/// [`#[bemi_context]`](bemi_diesel::bemi_context), [`set_context`](bemi_diesel::set_context) or
/// [`RequestContext`](crate::RequestContext), comes on top of that. Everything inside the middleware
/// runs in the context, the body of the response included. Secrets do not get in: whatever is set, by
/// whom and however deep, passes a [`Redaction`] first.
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
/// as in every nested scope, and the outer `endpoint` and the like too unless the closure sets them.
pub struct BemiMiddleware<C = NoSource> {
    settings: Arc<Settings<C>>,
}

/// What the builder has collected.
pub(crate) struct Settings<C> {
    pub(crate) members: Vec<Member>,
    pub(crate) body: Option<usize>,
    pub(crate) redaction: Arc<Redaction>,
    pub(crate) source: C,
}

impl BemiMiddleware {
    /// Middleware of which more is to be said than what the closure of [`new`](BemiMiddleware::new) says.
    pub fn builder() -> BemiMiddlewareBuilder {
        BemiMiddlewareBuilder::default()
    }
}

impl<F> BemiMiddleware<F>
where
    F: Fn(&ServiceRequest) -> Context + 'static,
{
    /// Middleware whose contexts hold what `context` makes of each request, beside the defaults.
    ///
    /// `context` runs before the inner service, once per request. It sees the request as the outer
    /// middleware left it. Where it takes an `await` to know, implement [`ContextSource`].
    pub fn new(context: F) -> Self {
        BemiMiddleware::builder().context(context).build()
    }
}

impl<C> BemiMiddleware<C> {
    pub(crate) fn from_settings(settings: Settings<C>) -> Self {
        Self {
            settings: Arc::new(settings),
        }
    }
}

impl Default for BemiMiddleware {
    /// Middleware whose contexts start with the defaults alone.
    fn default() -> Self {
        Self::builder().build()
    }
}

impl<C> Clone for BemiMiddleware<C> {
    fn clone(&self) -> Self {
        Self {
            settings: Arc::clone(&self.settings),
        }
    }
}

impl<C> fmt::Debug for BemiMiddleware<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BemiMiddleware").finish_non_exhaustive()
    }
}

impl<C, S, B> Transform<S, ServiceRequest> for BemiMiddleware<C>
where
    C: ContextSource,
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: 'static,
{
    type Response = ServiceResponse<ContextBody<B>>;
    type Error = Error;
    type Transform = BemiMiddlewareService<C, S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, Self::InitError>>;

    fn new_transform(&self, service: S) -> Self::Future {
        ready(Ok(BemiMiddlewareService {
            settings: Arc::clone(&self.settings),
            service: Rc::new(service),
        }))
    }
}

/// The service that [`BemiMiddleware`] makes of the one it wraps.
pub struct BemiMiddlewareService<C, S> {
    settings: Arc<Settings<C>>,
    service: Rc<S>,
}

impl<C, S> fmt::Debug for BemiMiddlewareService<C, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BemiMiddlewareService")
            .finish_non_exhaustive()
    }
}

impl<C, S, B> Service<ServiceRequest> for BemiMiddlewareService<C, S>
where
    C: ContextSource,
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: 'static,
{
    type Response = ServiceResponse<ContextBody<B>>;
    type Error = Error;
    type Future = Scoped<Pin<Box<dyn Future<Output = Result<Self::Response, Error>>>>>;

    actix_web::dev::forward_ready!(service);

    fn call(&self, mut request: ServiceRequest) -> Self::Future {
        let settings = Arc::clone(&self.settings);
        let service = Rc::clone(&self.service);
        let outer = current_context().unwrap_or_default();
        let context = SharedContext::with_redaction(
            member::context(&settings.members, &request, outer),
            Arc::clone(&settings.redaction),
        );
        request.extensions_mut().insert(context.clone());
        let shared = context.clone();
        let response = async move {
            let more = settings.source.context(&mut request).await;
            shared.update(|own| own.merge(more));
            if let Some(limit) = settings.body {
                recorder::attach(&mut request, &shared, limit);
            }
            let mut response = service.call(request).await?;
            if settings.members.contains(&Member::RequestId) {
                tell_request_id(&shared, &mut response);
            }
            Ok(response.map_body(|_head, body| ContextBody::new(shared, body)))
        };
        context.scope(Box::pin(response))
    }
}

/// The response says which request it answers, unless it does so already.
fn tell_request_id<B>(context: &SharedContext, response: &mut ServiceResponse<B>) {
    let id = context.read(|own| {
        let id = own.get(REQUEST_ID_MEMBER)?.as_str()?;
        HeaderValue::from_str(id).ok()
    });
    if let Some(id) = id
        && !response.headers().contains_key(REQUEST_ID)
    {
        response.headers_mut().insert(REQUEST_ID, id);
    }
}
