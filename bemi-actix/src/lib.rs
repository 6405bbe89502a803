//! actix-web middleware that gives every database change its request's context.
