//! What the macros make of an item, to be read by people. `cargo insta review` shows what a change
//! of the macro does to it; without that tool `INSTA_UPDATE=always cargo test` writes it anew.

use proc_macro2::TokenStream;
use quote::quote;

use super::rewrite;

/// The function with its attribute, and what becomes of it.
fn expansion(attribute: TokenStream, item: TokenStream) -> String {
    let before = quote!(#[bemi_context(#attribute)] #item);
    let after = rewrite(attribute, item);
    [before, after]
        .map(|tokens| {
            let file = syn::parse2(tokens).expect("items");
            prettyplease::unparse(&file)
        })
        .join("\n// becomes\n\n")
}

macro_rules! snapshots {
    ($($name:ident: ($($attribute:tt)*) { $($item:tt)* })*) => {$(
        #[test]
        fn $name() {
            insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
                insta::assert_snapshot!(
                    stringify!($name),
                    expansion(quote!($($attribute)*), quote!($($item)*))
                );
            });
        }
    )*};
}

snapshots! {
    handler: (user.id = *id, "todo.title" = todo.title, "bulk", skip(params.iban)) {
        #[post("/todos/{id}")]
        pub(crate) async fn create(id: Path<i32>, Json(todo): Json<Todo>) -> Result<HttpResponse> {
            let todo = save(todo)?;
            Ok(HttpResponse::Ok().json(todo))
        }
    }
    method: (id = self.id, kind = Self::KIND) {
        fn rename<'a, T: Serialize>(&'a mut self, to: T) -> impl Iterator<Item = T> + use<'a, T>
        where
            T: Clone,
        {
            #![allow(unused)]
            const ONE: usize = 1;
            std::iter::repeat_n(to, ONE)
        }
    }
    only_skip: (skip(body, "user.email")) {
        unsafe extern "C" fn f() {}
    }
    mistake: (id, skp(a), user.id = 1, user = 2) {
        async fn f(id: u8) {}
    }
}

#[test]
fn model() {
    let item = quote! {
        #[derive(Tracked)]
        #[diesel(table_name = crate::schema::todos, primary_key(id, list_id), check_for_backend(Pg))]
        #[tracked(alias = "tasks")]
        struct Todo<T> where T: DeserializeOwned {
            id: i32,
            #[diesel(column_name = list_id)]
            list: T,
            #[tracked(alias = "titel")]
            title: Option<String>,
            #[tracked(default = 3)]
            priority: std::collections::HashMap<String, &'static [u8; 4]>,
            price: Option<BigDecimal>,
            photo: Vec<u8>,
            #[tracked(deserialize_with = hours)]
            hours: f64,
            #[tracked(skip)]
            open: bool,
        }
    };
    let item: syn::DeriveInput = syn::parse2(item).expect("a struct");
    let written = crate::tracked::derive(quote!(#item));
    let file = syn::parse2(written).expect("items");
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("model", prettyplease::unparse(&file));
    });
}
