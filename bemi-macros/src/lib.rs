//! The `#[bemi_context]` attribute; use it through `bemi_diesel::bemi_context`.
