//! The application's tables, as `diesel print-schema` writes them.

diesel::table! {
    todos (id) {
        id -> Int4,
        title -> Text,
        completed -> Bool,
    }
}
