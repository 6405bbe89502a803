mod expansion;

use quote::quote;

use super::*;

fn parsed(attribute: TokenStream) -> attr::Attribute {
    let mut mistakes = mistakes::Mistakes::default();
    let attribute = attr::parse(attribute, &[], &mut mistakes);
    assert!(mistakes.into_compile_errors().is_none());
    attribute
}

fn segments(key: &attr::Key) -> String {
    let segments: Vec<String> = key.segments.iter().map(syn::LitStr::value).collect();
    segments.join("/")
}

fn keys(attribute: TokenStream) -> Vec<(String, String)> {
    parsed(attribute)
        .members
        .iter()
        .map(|member| {
            let value = &member.value;
            (segments(&member.key), quote!(#value).to_string())
        })
        .collect()
}

#[test]
fn keys_are_names_paths_or_strings() {
    let members = keys(quote!(
        user_id = 7,
        type = a,
        r#match = b,
        "user.name" = c,
        user.type.r#ref = d,
        skip = e,
        "bulk import",
    ));
    let expected = [
        ("user_id", "7"),
        ("type", "a"),
        ("match", "b"),
        ("user.name", "c"),
        ("user/type/ref", "d"),
        ("skip", "e"),
        ("bulk import", "true"),
    ];
    assert_eq!(
        members,
        expected.map(|(key, value)| (key.into(), value.into()))
    );
}

#[test]
fn what_is_skipped_are_keys() {
    let attribute = parsed(quote!(skip(a, user.id, "user.name",), b = 1, skip(type)));
    let skipped: Vec<String> = attribute.skipped.iter().map(segments).collect();
    assert_eq!(skipped, ["a", "user/id", "user.name", "type"]);
    assert_eq!(attribute.members.len(), 1);
}

#[test]
fn arguments_are_the_names_that_the_patterns_bind() {
    let item = quote!(
        fn f(
            &self,
            mut a: A,
            Json(b): Json<B>,
            (c, [d, ..]): (C, D),
            User { id, name: e, .. }: User,
            all @ Some(_): Option<u8>,
            &f: &u8,
        ) {
        }
    );
    let mut mistakes = mistakes::Mistakes::default();
    let function = function::parse(item, &mut mistakes).expect("a function");
    assert_eq!(
        function.arguments(),
        ["self", "a", "b", "c", "d", "id", "e", "all", "f"]
    );
}

#[test]
fn commas_inside_a_value_belong_to_it() {
    let members = keys(quote!(
        a = f::<A, B>(x, y),
        b = |x, y| x + y,
        c = if x { 1 } else { 2 }
    ));
    assert_eq!(
        members.iter().map(|(key, _)| &**key).collect::<Vec<_>>(),
        ["a", "b", "c"]
    );
}

#[test]
fn the_function_stays_token_for_token() {
    let rewritten = rewrite(
        quote!(key = *a),
        quote! {
            /// Docs.
            #[inline]
            pub(crate) async fn f<'a, T: Copy>(&self, a: &'a T, (b, _): (u8, u8)) -> impl Sized + use<'a, T>
            where
                T: Send,
            {
                #![allow(unused)]
                use std::fmt;
                b?
            }
        },
    );
    let expected = quote! {
        #[doc = r" Docs."]
        #[inline]
        pub(crate) async fn f<'a, T: Copy>(&self, a: &'a T, (b, _): (u8, u8)) -> impl Sized + use<'a, T>
        where
            T: Send,
        {
            #![allow(unused)]
            if let ::core::option::Option::Some(context) =
                ::bemi_diesel::__private::SharedContext::current()
            {
                context.set("key", &(*a));
            }
            {
                use std::fmt;
                b?
            }
        }
    };
    assert_eq!(rewritten.to_string(), expected.to_string());
}

#[test]
fn a_body_that_is_still_being_typed_is_no_concern_of_the_macro() {
    let rewritten = rewrite(quote!(a = b), quote!(fn f(b: u8) { b. })).to_string();
    assert!(rewritten.contains("b ."));
    assert!(!rewritten.contains("compile_error"));
}

#[test]
fn mistakes_leave_the_item_as_it_was_and_all_are_told() {
    let item = quote!(
        pub const fn f(a: u8) -> u8 {
            a
        }
    );
    let rewritten = rewrite(
        quote!(a, _bemi = 1, b = 1, b = 2, 5 = 1, c = 1 d),
        item.clone(),
    );
    let rewritten = rewritten.to_string();
    assert!(rewritten.starts_with(&item.to_string()));
    assert_eq!(rewritten.matches("compile_error").count(), 6);
}
