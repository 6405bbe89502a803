//! The struct, with what diesel's attributes and our own say of it.

use proc_macro2::{Ident, Span};
use quote::format_ident;
use syn::ext::IdentExt;
use syn::meta::ParseNestedMeta;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{
    Attribute, Data, DeriveInput, Expr, Generics, LitStr, Member, Path, Token, Type, parenthesized,
    parse_quote, token,
};

use super::parts::of_diesel;
use crate::mistakes::Mistakes;

/// A struct that is a row of a table.
pub(crate) struct Model {
    pub(crate) name: Ident,
    pub(crate) generics: Generics,
    pub(crate) table: Path,
    /// The schema of a table for which diesel knows none.
    pub(crate) schema: LitStr,
    pub(crate) former_names: Vec<LitStr>,
    pub(crate) fields: Vec<Field>,
    /// The key's columns, each with its field.
    pub(crate) key: Vec<(Ident, Member)>,
}

/// A field, which is a column unless it is skipped.
pub(crate) struct Field {
    pub(crate) member: Member,
    pub(crate) ty: Type,
    pub(crate) column: Ident,
    pub(crate) options: Options,
}

/// What `#[tracked(…)]` says of a field.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) aliases: Vec<LitStr>,
    /// The expression of the value where there is none.
    pub(crate) default: Option<Expr>,
    pub(crate) deserialize_with: Option<Path>,
    pub(crate) skip: bool,
}

/// The model, or `None` after noting why there is none.
pub(crate) fn parse(item: &DeriveInput, mistakes: &mut Mistakes) -> Option<Model> {
    let data = match &item.data {
        Data::Struct(data) if !data.fields.is_empty() => data,
        _ => {
            mistakes.add(
                item.ident.span(),
                "`Tracked` is derived for a struct with a field for each column",
                "put it on the model that is `Selectable` from the table",
            );
            return None;
        }
    };
    let (schema, former_names) = of_table(&item.attrs, mistakes);
    let mut table = Path::from(inferred_table(&item.ident));
    let mut key = vec![Ident::new("id", item.ident.span())];
    for part in of_diesel(&item.attrs) {
        if part.name == "table_name" {
            table = part.path().unwrap_or(table);
        } else if part.name == "primary_key" {
            let idents = syn::parse::Parser::parse2(
                Punctuated::<Ident, Token![,]>::parse_terminated,
                part.value,
            );
            key = idents.map_or(key, |idents| idents.into_iter().collect());
        }
    }
    let fields: Vec<Field> = data
        .fields
        .iter()
        .zip(data.fields.members())
        .filter_map(|(field, member)| of_field(field, member, mistakes))
        .collect();
    let key = key
        .into_iter()
        .filter_map(|column| match field_of(&column, &fields) {
            Some(field) => Some((column, field.member.clone())),
            None => {
                mistakes.add(
                    column.span(),
                    format_args!("no field is the key's column `{column}`"),
                    "the whole primary key is needed: `#[diesel(primary_key(…))]` names its columns",
                );
                None
            }
        })
        .collect();
    Some(Model {
        name: item.ident.clone(),
        generics: item.generics.clone(),
        table,
        schema: schema.unwrap_or_else(|| LitStr::new("public", Span::call_site())),
        former_names,
        fields,
        key,
    })
}

fn field_of<'a>(column: &Ident, fields: &'a [Field]) -> Option<&'a Field> {
    fields
        .iter()
        .find(|field| !field.options.skip && field.column.unraw() == column.unraw())
}

/// As diesel infers it.
fn inferred_table(model: &Ident) -> Ident {
    let mut name = String::new();
    for (at, character) in model.unraw().to_string().char_indices() {
        if character.is_uppercase() && at > 0 {
            name.push('_');
        }
        name.extend(character.to_lowercase());
    }
    format_ident!("{name}s", span = model.span())
}

/// The schema and the former names of the table.
fn of_table(attributes: &[Attribute], mistakes: &mut Mistakes) -> (Option<LitStr>, Vec<LitStr>) {
    let (mut schema, mut former_names) = (None, Vec::new());
    of_tracked(attributes, mistakes, |option, meta, mistakes| {
        match option {
            "schema" => {
                schema = text(meta, "the schema: `schema = \"app\"`", mistakes)?;
            }
            "alias" => {
                former_names.extend(text(
                    meta,
                    "the former name: `alias = \"tasks\"`",
                    mistakes,
                )?);
            }
            _ => return Ok(false),
        }
        Ok(true)
    });
    (schema, former_names)
}

fn of_field(field: &syn::Field, member: Member, mistakes: &mut Mistakes) -> Option<Field> {
    let mut options = Options::default();
    let ty = &field.ty;
    of_tracked(&field.attrs, mistakes, |option, meta, mistakes| {
        match option {
            "alias" => {
                let alias = text(meta, "the former name: `alias = \"titel\"`", mistakes)?;
                options.aliases.extend(alias);
            }
            "default" if meta.input.peek(Token![=]) => {
                options.default = Some(meta.value()?.parse()?);
            }
            "default" => {
                options.default = Some(parse_quote!(<#ty as ::core::default::Default>::default()));
            }
            "deserialize_with" => options.deserialize_with = Some(meta.value()?.parse()?),
            "skip" => options.skip = true,
            _ => return Ok(false),
        }
        Ok(true)
    });
    let mut column = match &member {
        Member::Named(name) => Some(name.clone()),
        Member::Unnamed(_) => None,
    };
    for part in of_diesel(&field.attrs) {
        if part.name == "column_name" {
            column = part.ident();
        } else if (part.name == "embed" || part.name == "select_expression") && !options.skip {
            mistakes.add(
                part.name.span(),
                format_args!("a field with `{}` is no column of the table", part.name),
                "`#[tracked(skip)]` leaves it at its `Default`",
            );
            return None;
        }
    }
    if column.is_none() && !options.skip {
        mistakes.add(
            ty.span(),
            "this field has no name, so its column is not known",
            "name it: `#[diesel(column_name = title)]`",
        );
        return None;
    }
    Some(Field {
        member,
        ty: ty.clone(),
        column: column.unwrap_or_else(|| Ident::new("_", ty.span())),
        options,
    })
}

/// Hands each option in `#[tracked(…)]` to `known`, which tells whether it knows that.
fn of_tracked(
    attributes: &[Attribute],
    mistakes: &mut Mistakes,
    mut known: impl FnMut(&str, &ParseNestedMeta<'_>, &mut Mistakes) -> syn::Result<bool>,
) {
    for attribute in attributes {
        if !attribute.path().is_ident("tracked") {
            continue;
        }
        let parsed = attribute.parse_nested_meta(|meta| {
            let name = meta.path.get_ident().map(Ident::to_string);
            if known(name.as_deref().unwrap_or_default(), &meta, mistakes)? {
                return Ok(());
            }
            mistakes.add(
                meta.path.span(),
                "there is no such option here",
                "valid are `schema = \"…\"` and `alias = \"…\"` on the struct, and on a field \
                 `default`, `default = …`, `alias = \"…\"`, `deserialize_with = …` and `skip`",
            );
            skip_value(&meta)
        });
        if let Err(error) = parsed {
            mistakes.add_error(error);
        }
    }
}

fn skip_value(meta: &ParseNestedMeta<'_>) -> syn::Result<()> {
    if meta.input.peek(Token![=]) {
        meta.value()?.parse::<Expr>()?;
    } else if meta.input.peek(token::Paren) {
        let content;
        parenthesized!(content in meta.input);
        content.parse::<proc_macro2::TokenStream>()?;
    }
    Ok(())
}

/// The text behind the `=`, or `None` after noting that there is none.
fn text(
    meta: &ParseNestedMeta<'_>,
    help: &str,
    mistakes: &mut Mistakes,
) -> syn::Result<Option<LitStr>> {
    if meta.input.peek(Token![=]) {
        let value = meta.value()?;
        if value.peek(LitStr) {
            return value.parse().map(Some);
        }
        let other: Expr = value.parse()?;
        mistakes.add(
            other.span(),
            "expected a string",
            format_args!("give {help}"),
        );
        return Ok(None);
    }
    mistakes.add(
        meta.path.span(),
        "this option has no value",
        format_args!("give {help}"),
    );
    skip_value(meta)?;
    Ok(None)
}
