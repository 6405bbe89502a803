use std::fmt;

use actix_web::ResponseError;

/// The request did not come through [`BemiMiddleware`](crate::BemiMiddleware), so it has no context.
///
/// A mistake of the application and not of its client: as a response it is a 500.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissingMiddleware;

impl fmt::Display for MissingMiddleware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "this request has no bemi context: wrap its app or scope in `bemi_actix::BemiMiddleware`",
        )
    }
}

impl std::error::Error for MissingMiddleware {}

impl ResponseError for MissingMiddleware {}
