//! The implementation of the trait.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{GenericArgument, PathArguments, Type};

use super::model::{Field, Model};

pub(crate) fn expand(model: &Model) -> TokenStream {
    let Model {
        name,
        generics,
        table,
        schema,
        former_names,
        fields,
        key,
    } = model;
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();
    let values = fields.iter().map(|field| value(model, field));
    // The same `self` as that of the signature.
    let this = quote!(self);
    let parts = key.iter().map(|(_, member)| {
        let span = generated_at(member.span());
        quote_spanned!(span=> <::bemi_diesel::__private::Key as ::core::convert::From<_>>::from(&#this.#member))
    });
    let key_columns = key
        .iter()
        .map(|(column, _)| quote!(#table::columns::#column));
    let key_columns = match key.as_slice() {
        [_] => quote!(#(#key_columns)*),
        _ => quote!((#(#key_columns),*)),
    };
    let span = key
        .first()
        .map_or_else(Span::call_site, |(column, _)| column.span());
    // The compiler compares the key with the one that the table has, in the order of its columns.
    let check = quote_spanned! {generated_at(span)=>
        const _: fn(
            <#table::table as ::bemi_diesel::__private::Table>::PrimaryKey,
        ) -> #key_columns = |key| key;
    };
    quote! {
        #[automatically_derived]
        impl #impl_generics ::bemi_diesel::__private::Tracked for #name #type_generics #where_clause {
            fn table() -> ::bemi_diesel::__private::TrackedTable {
                ::bemi_diesel::__private::table(&#table::table, #schema, &[#(#former_names),*])
            }

            fn primary_key(&self) -> ::bemi_diesel::__private::Key {
                ::bemi_diesel::__private::key([#(#parts),*])
            }

            fn from_row(
                row: &::bemi_diesel::__private::JsonObject,
            ) -> ::core::result::Result<Self, ::bemi_diesel::__private::MisfitError> {
                let columns = ::bemi_diesel::__private::Columns::of(row);
                ::core::result::Result::Ok(Self { #(#values),* })
            }
        }
        #check
    }
}

/// `member: its value`.
fn value(model: &Model, field: &Field) -> TokenStream {
    let Field {
        member,
        ty,
        column,
        options,
    } = field;
    // What the compiler says of a type that cannot be read belongs at that type.
    let span = generated_at(ty.span());
    if options.skip {
        return quote_spanned!(span=> #member: <#ty as ::core::default::Default>::default());
    }
    let table = &model.table;
    let (aliases, expected) = (&options.aliases, written(ty));
    let read = match &options.deserialize_with {
        Some(path) => {
            quote_spanned!(generated_at(path.span())=> |json| #path(&mut ::bemi_diesel::__private::deserializer(json)))
        }
        None => reader(ty, span),
    };
    let default = match &options.default {
        Some(default) => {
            quote_spanned!(generated_at(default.span())=> ::core::option::Option::Some(|| #default))
        }
        None => quote!(::core::option::Option::None),
    };
    let name = quote_spanned! {generated_at(column.span())=>
        <#table::columns::#column as ::bemi_diesel::__private::DieselColumn>::NAME
    };
    quote! {
        #member: columns.read::<Self, #ty>(
            ::bemi_diesel::__private::Column {
                name: #name,
                aliases: &[#(#aliases),*],
                expected: #expected,
            },
            #read,
            #default,
        )?
    }
}

/// The function that reads a `ty`. The `Deserialize` of decimal types rounds a number to 64 bits, and that of
/// `Vec<u8>` knows no `bytea`.
fn reader(ty: &Type, span: Span) -> TokenStream {
    let inner = argument(ty, "Option");
    let plain = inner.unwrap_or(ty);
    let decimal = matches!(
        last_segment(plain).as_deref(),
        Some("BigDecimal" | "Decimal")
    );
    let bytes =
        argument(plain, "Vec").is_some_and(|item| last_segment(item).as_deref() == Some("u8"));
    match (decimal, bytes, inner.is_some()) {
        (true, _, false) => quote_spanned!(span=> ::bemi_diesel::__private::of_text),
        (true, _, true) => quote_spanned!(span=> ::bemi_diesel::__private::optional_of_text),
        (_, true, false) => quote_spanned!(span=> ::bemi_diesel::__private::of_bytea),
        (_, true, true) => quote_spanned!(span=> ::bemi_diesel::__private::optional_of_bytea),
        _ => quote_spanned!(span=> ::bemi_diesel::__private::serde::<#ty>),
    }
}

/// The `T` of a type that is written `name<T>`.
fn argument<'a>(ty: &'a Type, name: &str) -> Option<&'a Type> {
    let Type::Path(path) = ty else {
        return None;
    };
    let segment = path
        .path
        .segments
        .last()
        .filter(|segment| segment.ident == name)?;
    let PathArguments::AngleBracketed(arguments) = &segment.arguments else {
        return None;
    };
    match arguments.args.first() {
        Some(GenericArgument::Type(ty)) => Some(ty),
        _ => None,
    }
}

fn last_segment(ty: &Type) -> Option<String> {
    match ty {
        Type::Path(path) => path
            .path
            .segments
            .last()
            .map(|segment| segment.ident.to_string()),
        _ => None,
    }
}

/// The type as people write it.
fn written(ty: &Type) -> String {
    let tokens = quote!(#ty).to_string();
    let mut text = String::new();
    let word = |character: char| character.is_alphanumeric() || character == '_';
    for part in tokens.split(' ') {
        let apart = text.ends_with(word) && part.starts_with(|first| word(first) || first == '\'');
        if apart || text.ends_with([',', ';']) {
            text.push(' ');
        }
        text.push_str(part);
    }
    text
}

/// The place of `span`, for code that nobody wrote there: no lint asks to tidy it up.
fn generated_at(span: Span) -> Span {
    Span::mixed_site().located_at(span)
}
