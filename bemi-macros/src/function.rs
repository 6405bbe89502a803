//! The item that `#[bemi_context]` stands on.

use proc_macro2::{TokenStream, TokenTree};
use syn::parse::{ParseStream, Parser};
use syn::{Attribute, FnArg, Pat, Signature, Token, Visibility, braced, token};

use crate::mistakes::Mistakes;

/// A function with a body. The body is kept as the tokens it came in: only the compiler needs to
/// understand it, also while somebody is still typing it.
pub(crate) struct Function {
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) visibility: Visibility,
    pub(crate) signature: Signature,
    pub(crate) braces: token::Brace,
    /// `#![…]` at the start of the body; nothing may come before them.
    pub(crate) inner_attributes: Vec<Attribute>,
    pub(crate) body: TokenStream,
}

impl Function {
    /// The names that its arguments bind, destructured ones too.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let mut names = Vec::new();
        for argument in &self.signature.inputs {
            match argument {
                FnArg::Receiver(_) => names.push("self".to_owned()),
                FnArg::Typed(argument) => bound(&argument.pat, &mut names),
            }
        }
        names
    }
}

fn bound(pattern: &Pat, names: &mut Vec<String>) {
    match pattern {
        Pat::Ident(pattern) => {
            names.push(pattern.ident.to_string());
            if let Some((_, inner)) = &pattern.subpat {
                bound(inner, names);
            }
        }
        Pat::Paren(pattern) => bound(&pattern.pat, names),
        Pat::Reference(pattern) => bound(&pattern.pat, names),
        Pat::Slice(pattern) => pattern.elems.iter().for_each(|inner| bound(inner, names)),
        Pat::Struct(pattern) => pattern
            .fields
            .iter()
            .for_each(|field| bound(&field.pat, names)),
        Pat::Tuple(pattern) => pattern.elems.iter().for_each(|inner| bound(inner, names)),
        Pat::TupleStruct(pattern) => pattern.elems.iter().for_each(|inner| bound(inner, names)),
        _ => {}
    }
}

/// The function, or `None` after noting why there is none.
pub(crate) fn parse(item: TokenStream, mistakes: &mut Mistakes) -> Option<Function> {
    let parser = |input: ParseStream<'_>| {
        let function = function(input, mistakes)?;
        // After a mistake the rest of the item is of no interest.
        input.parse::<TokenStream>()?;
        Ok(function)
    };
    match parser.parse2(item) {
        Ok(function) => function,
        Err(error) => {
            mistakes.add_error(error);
            None
        }
    }
}

fn function(input: ParseStream<'_>, mistakes: &mut Mistakes) -> syn::Result<Option<Function>> {
    let attributes = input.call(Attribute::parse_outer)?;
    let visibility = input.parse()?;
    let first: TokenTree = input.fork().parse()?;
    // The compiler has parsed the item before: what is no signature here is none at all.
    let Ok(signature) = input.parse::<Signature>() else {
        mistakes.add(
            first.span(),
            "`#[bemi_context]` goes on a function",
            "put it on the function, or the method of an `impl`, that makes the changes",
        );
        return Ok(None);
    };
    if input.peek(Token![;]) {
        mistakes.add(
            input.parse::<Token![;]>()?.span,
            "`#[bemi_context]` needs a function with a body",
            "put it on the implementation",
        );
        return Ok(None);
    }
    let content;
    let braces = braced!(content in input);
    Ok(Some(Function {
        attributes,
        visibility,
        signature,
        braces,
        inner_attributes: content.call(Attribute::parse_inner)?,
        body: content.parse()?,
    }))
}
