//! Collecting what is wrong, so that one compilation shows all of it.

use std::fmt::Display;

use proc_macro2::{Span, TokenStream};

/// The mistakes found so far, in the order in which they were found.
#[derive(Default)]
pub(crate) struct Mistakes(Option<syn::Error>);

impl Mistakes {
    /// Adds one at `span`: what is wrong, and what to write instead.
    pub(crate) fn add(&mut self, span: Span, wrong: impl Display, help: impl Display) {
        self.add_error(syn::Error::new(span, format_args!("{wrong}\nhelp: {help}")));
    }

    /// Adds one that syn found.
    pub(crate) fn add_error(&mut self, error: syn::Error) {
        match &mut self.0 {
            Some(first) => first.combine(error),
            none => *none = Some(error),
        }
    }

    /// Adds those of `other` behind these.
    pub(crate) fn add_all(&mut self, other: Self) {
        if let Some(error) = other.0 {
            self.add_error(error);
        }
    }

    /// The mistakes as code that does not compile, or `None` when there are none.
    pub(crate) fn into_compile_errors(self) -> Option<TokenStream> {
        self.0.map(syn::Error::into_compile_error)
    }
}
