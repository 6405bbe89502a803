//! `#[diesel(…)]`, of which only some parts matter here.

use proc_macro2::{Delimiter, Ident, TokenStream, TokenTree};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::{Attribute, LitStr, Meta, Path};

/// `name = value` or `name(value)`, or `name` with an empty value.
pub(crate) struct Part {
    pub(crate) name: Ident,
    pub(crate) value: TokenStream,
}

/// The parts of every `#[diesel(…)]`. What is wrong with them, diesel's own derives tell.
pub(crate) fn of_diesel(attributes: &[Attribute]) -> Vec<Part> {
    let mut parts = Vec::new();
    for attribute in attributes {
        let Meta::List(list) = &attribute.meta else {
            continue;
        };
        if !list.path.is_ident("diesel") {
            continue;
        }
        let tokens: Vec<TokenTree> = list.tokens.clone().into_iter().collect();
        let comma =
            |token: &TokenTree| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ',');
        parts.extend(tokens.split(comma).filter_map(part));
    }
    parts
}

fn part(tokens: &[TokenTree]) -> Option<Part> {
    let [TokenTree::Ident(name), value @ ..] = tokens else {
        return None;
    };
    let value = match value {
        [TokenTree::Punct(equals), value @ ..] if equals.as_char() == '=' => {
            value.iter().map(ToTokens::to_token_stream).collect()
        }
        [TokenTree::Group(group)] if group.delimiter() == Delimiter::Parenthesis => group.stream(),
        _ => TokenStream::new(),
    };
    Some(Part {
        name: name.clone(),
        value,
    })
}

impl Part {
    /// A path, also one in quotes.
    pub(crate) fn path(&self) -> Option<Path> {
        let value = || self.value.clone();
        let quoted = || syn::parse2::<LitStr>(value()).ok()?.parse().ok();
        syn::parse2(value()).ok().or_else(quoted)
    }

    /// A name, also one in quotes.
    pub(crate) fn ident(&self) -> Option<Ident> {
        let value = || self.value.clone();
        let quoted = || {
            let text: LitStr = syn::parse2(value()).ok()?;
            text.parse_with(Ident::parse_any).ok()
        };
        syn::parse2(value()).ok().or_else(quoted)
    }
}
