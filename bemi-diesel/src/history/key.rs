//! Primary keys as the trail holds them.

use std::fmt;

use uuid::Uuid;

/// A [primary key](crate::Change::primary_key) as text.
///
/// Keys of one column come from texts, integers, `bool` and [`Uuid`], keys of several from tuples in the
/// key's order. Any other value goes in as the text that PostgreSQL writes it as.
///
/// ```
/// use bemi_diesel::history::Key;
///
/// assert_eq!(Key::from(7).as_str(), "7");
/// assert_eq!(Key::from((7, "a")).as_str(), r#"["7","a"]"#);
/// assert_eq!(Key::from(true).as_str(), "t");
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Key(String);

impl Key {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn composite<const N: usize>(parts: [Key; N]) -> Self {
        let parts = parts.map(|Self(part)| part);
        Self(serde_json::Value::from(parts.to_vec()).to_string())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

impl From<bool> for Key {
    fn from(value: bool) -> Self {
        Self(if value { "t" } else { "f" }.to_owned())
    }
}

impl From<Key> for String {
    fn from(Key(text): Key) -> Self {
        text
    }
}

macro_rules! from_display {
    ($($ty:ty)*) => {$(
        impl From<$ty> for Key {
            fn from(value: $ty) -> Self {
                Self(value.to_string())
            }
        }

        impl From<&$ty> for Key {
            fn from(value: &$ty) -> Self {
                Self(value.to_string())
            }
        }
    )*};
}

from_display!(i16 i32 i64 u32 Uuid String chrono::NaiveDate);

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

macro_rules! from_tuple {
    ($($ty:ident $at:tt),*) => {
        impl<$($ty: Into<Key>),*> From<($($ty,)*)> for Key {
            fn from(parts: ($($ty,)*)) -> Self {
                Self::composite([$(parts.$at.into()),*])
            }
        }
    };
}

from_tuple!(A 0, B 1);
from_tuple!(A 0, B 1, C 2);
from_tuple!(A 0, B 1, C 2, D 3);
