//! The JSON that `to_jsonb` gives for a column, from its type and its text form. Pure.
