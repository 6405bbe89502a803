//! The tables of the programs.

use diesel::prelude::*;

diesel::table! {
    authors {
        id -> Integer,
        name -> Text,
        born -> Nullable<Integer>,
        active -> Bool,
    }
}

diesel::table! {
    books {
        id -> Integer,
        author -> Integer,
        title -> Text,
        pages -> Integer,
        tags -> Array<Text>,
    }
}

diesel::joinable!(books -> authors (author));
diesel::allow_tables_to_appear_in_same_query!(authors, books);

pub(crate) const TABLES: &str = "\
CREATE TABLE authors (
    id serial PRIMARY KEY,
    name text NOT NULL CONSTRAINT named CHECK (name <> ''),
    born int,
    active bool NOT NULL DEFAULT true
);
CREATE TABLE books (
    id serial PRIMARY KEY,
    author int NOT NULL REFERENCES authors ON DELETE CASCADE DEFERRABLE,
    title text NOT NULL CONSTRAINT one_title UNIQUE,
    pages int NOT NULL DEFAULT 1 CHECK (pages > 0),
    tags text[] NOT NULL DEFAULT '{}'
);
INSERT INTO authors (name, born) VALUES ('Ada', 1815), ('Brontë', NULL), ('Čapek', 1890);
INSERT INTO books (author, title, pages, tags) VALUES
    (1, 'Notes', 66, '{science}'), (2, 'Villette', 474, '{}'), (3, 'R.U.R.', 90, '{play,robots}');";

#[derive(Clone, Debug, Insertable)]
#[diesel(table_name = authors)]
pub(crate) struct NewAuthor {
    pub(crate) name: String,
    pub(crate) born: Option<i32>,
}

#[derive(Clone, Debug, Insertable)]
#[diesel(table_name = books, treat_none_as_default_value = false)]
pub(crate) struct NewBook {
    pub(crate) author: i32,
    pub(crate) title: String,
    pub(crate) pages: i32,
    pub(crate) tags: Vec<String>,
}

#[derive(AsChangeset, Clone, Debug, Identifiable, Queryable, QueryableByName, Selectable)]
#[diesel(table_name = books)]
pub(crate) struct Book {
    pub(crate) id: i32,
    pub(crate) author: i32,
    pub(crate) title: String,
    pub(crate) pages: i32,
    pub(crate) tags: Vec<String>,
}

#[derive(AsChangeset, Clone, Debug)]
#[diesel(table_name = books)]
pub(crate) struct BookChanges {
    pub(crate) title: Option<String>,
    pub(crate) pages: Option<i32>,
}

#[derive(AsChangeset, Clone, Debug, Identifiable)]
#[diesel(table_name = authors, treat_none_as_null = true)]
pub(crate) struct AuthorChanges {
    pub(crate) id: i32,
    pub(crate) born: Option<i32>,
}

/// What an arbitrary query can give.
#[derive(Debug, QueryableByName)]
pub(crate) struct Value {
    #[diesel(sql_type = diesel::sql_types::Nullable<diesel::sql_types::Text>)]
    pub(crate) value: Option<String>,
}
