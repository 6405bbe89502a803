//! Types built on those of the server, and values of both as SQL.

use std::collections::HashSet;

use proptest::prelude::*;

use crate::base::{BASES, Base, Restores, text};
use crate::random::Random;
use crate::source::{literal, quote};

/// The type of a column, an attribute or an element.
#[derive(Clone, Debug)]
pub(crate) enum Ty {
    Base(&'static Base),
    /// One of the schema's own, counted round; where there is none yet, `text`.
    Own(usize),
    Array(Box<Ty>),
}

/// A type that a schema defines. It is made of those before it.
#[derive(Clone, Debug)]
pub(crate) enum OwnType {
    Enum,
    Composite(Vec<Ty>),
    Domain(Ty),
    /// A range, with the multirange that comes along.
    Range(&'static str, bool),
}

pub(crate) fn any_type() -> impl Strategy<Value = Ty> {
    let leaf = prop_oneof![
        4 => prop::sample::select((0..BASES.len()).collect::<Vec<_>>()).prop_map(|at| Ty::Base(&BASES[at])),
        1 => any::<u8>().no_shrink().prop_map(|own| Ty::Own(own.into())),
    ];
    prop_oneof![3 => leaf.clone().boxed(), 1 => leaf.prop_map(|element| Ty::Array(Box::new(element))).boxed()]
}

pub(crate) fn any_own_type() -> impl Strategy<Value = OwnType> {
    prop_oneof![
        1 => Just(OwnType::Enum),
        3 => prop::collection::vec(any_type(), 0..5).prop_map(OwnType::Composite),
        2 => any_type().prop_map(OwnType::Domain),
        1 => (prop::sample::select(vec!["float8", "text", "inet"]), any::<bool>())
            .prop_map(|(of, multi)| OwnType::Range(of, multi)),
    ]
}

/// The types of one schema on one server.
#[derive(Debug)]
pub(crate) struct Types {
    pub(crate) schema: String,
    pub(crate) own: Vec<OwnType>,
    /// The labels that enums begin with.
    labels: Vec<String>,
    /// Labels that came later, each with the name of its enum.
    pub(crate) added: Vec<(String, String)>,
    /// What [`Base::needs`] can be had.
    pub(crate) available: HashSet<String>,
}

impl Types {
    pub(crate) fn new(schema: String, own: Vec<OwnType>, available: HashSet<String>) -> Self {
        let labels = ["ok", "so so", "it's \"(quoted)\"", "a,b", "é\\", "{}"]
            .map(str::to_owned)
            .to_vec();
        Self {
            schema,
            own,
            labels,
            added: Vec::new(),
            available,
        }
    }

    /// The statements that make them.
    pub(crate) fn create(&self) -> Vec<String> {
        let create = |(at, own): (usize, &OwnType)| {
            let name = self.own_name(at);
            match own {
                OwnType::Enum => {
                    let labels: Vec<String> =
                        self.labels.iter().map(|label| literal(label)).collect();
                    format!("CREATE TYPE {name} AS ENUM ({})", labels.join(", "))
                }
                OwnType::Composite(attributes) => {
                    let attributes: Vec<String> = attributes
                        .iter()
                        .enumerate()
                        .map(|(place, ty)| {
                            let attribute = quote(["a", "B \"q\"", "c,d", "é", "e\\"][place % 5]);
                            format!("{attribute} {}", self.sql(self.inner(ty), at))
                        })
                        .collect();
                    format!("CREATE TYPE {name} AS ({})", attributes.join(", "))
                }
                OwnType::Domain(of) => {
                    format!("CREATE DOMAIN {name} AS {}", self.sql(self.base_of(of), at))
                }
                OwnType::Range(of, _) => format!("CREATE TYPE {name} AS RANGE (subtype = {of})"),
            }
        };
        self.own.iter().enumerate().map(create).collect()
    }

    /// The name of the first enum, and how many labels came later.
    pub(crate) fn first_enum(&self) -> Option<(String, usize)> {
        let at = self
            .own
            .iter()
            .position(|own| matches!(own, OwnType::Enum))?;
        Some((self.own_name(at), self.added.len()))
    }

    fn own_name(&self, at: usize) -> String {
        format!(
            "{}.{}",
            quote(&self.schema),
            quote(&format!("own type {at}"))
        )
    }

    /// `ty` as a part of something else.
    fn inner<'a>(&self, ty: &'a Ty) -> &'a Ty {
        match ty {
            Ty::Base(base) if base.only_columns => TEXT,
            Ty::Array(element) if matches!(**element, Ty::Base(base) if base.only_columns) => TEXT,
            ty => ty,
        }
    }

    /// `ty` as the base of a domain.
    fn base_of<'a>(&self, ty: &'a Ty) -> &'a Ty {
        match self.inner(ty) {
            Ty::Base(base) if base.no_domains => TEXT,
            ty => ty,
        }
    }

    fn base(&self, base: &'static Base) -> &'static Base {
        if base
            .needs
            .is_none_or(|needs| self.available.contains(needs))
        {
            base
        } else {
            &TEXT_BASE
        }
    }

    /// The own type that `Own(at)` means for a type defined at `before`, or for a column.
    fn own(&self, at: usize, before: usize) -> Option<(usize, &OwnType)> {
        let at = at.checked_rem(before)?;
        self.own.get(at).map(|own| (at, own))
    }

    /// The name of the type, for a column.
    pub(crate) fn column_sql(&self, ty: &Ty) -> String {
        match ty {
            Ty::Array(_) => self.sql(self.inner(ty), self.own.len()),
            ty => self.sql(ty, self.own.len()),
        }
    }

    fn sql(&self, ty: &Ty, before: usize) -> String {
        match ty {
            Ty::Base(base) => self.base(base).sql.to_owned(),
            Ty::Own(at) => match self.own(*at, before) {
                None => "text".to_owned(),
                Some((at, OwnType::Range(_, true))) => {
                    format!(
                        "{}.{}",
                        quote(&self.schema),
                        quote(&format!("own type {at}_multirange"))
                    )
                }
                Some((at, _)) => self.own_name(at),
            },
            Ty::Array(element) => format!("{}[]", self.sql(self.inner(element), before)),
        }
    }

    /// An expression of the type, for a column; one in eight is NULL.
    pub(crate) fn value(&self, ty: &Ty, random: &mut Random) -> String {
        let ty = match ty {
            Ty::Array(_) => self.inner(ty),
            ty => ty,
        };
        self.expression(ty, self.own.len(), random)
    }

    fn expression(&self, ty: &Ty, before: usize, random: &mut Random) -> String {
        let sql = self.sql(ty, before);
        if random.one_in(8) {
            return format!("NULL::{sql}");
        }
        match ty {
            Ty::Base(base) => format!("{}::{sql}", literal(&(self.base(base).value)(random))),
            Ty::Own(at) => match self.own(*at, before) {
                None => literal(&text(random)),
                Some((_, OwnType::Enum)) => {
                    let added = self
                        .added
                        .iter()
                        .filter(|(own, _)| *own == sql)
                        .map(|(_, label)| label);
                    let labels: Vec<&str> = self
                        .labels
                        .iter()
                        .chain(added)
                        .map(String::as_str)
                        .collect();
                    format!("{}::{sql}", literal(random.pick(&labels)))
                }
                Some((at, OwnType::Composite(attributes))) => {
                    let values: Vec<String> = attributes
                        .iter()
                        .map(|ty| self.expression(self.inner(ty), at, random))
                        .collect();
                    format!("ROW({})::{sql}", values.join(", "))
                }
                Some((at, OwnType::Domain(of))) => {
                    format!("({})::{sql}", self.expression(self.base_of(of), at, random))
                }
                Some((_, OwnType::Range(of, multi))) => {
                    let range = range(of, random);
                    let range = if *multi {
                        format!("{{{range}}}")
                    } else {
                        range
                    };
                    format!("{}::{sql}", literal(&range))
                }
            },
            Ty::Array(element) => self.array(self.inner(element), &sql, before, random),
        }
    }

    fn array(&self, element: &Ty, sql: &str, before: usize, random: &mut Random) -> String {
        let shape = random.below(5);
        let mut elements = |count: usize| {
            let elements: Vec<String> = (0..count)
                .map(|_| self.expression(element, before, random))
                .collect();
            format!("ARRAY[{}]::{sql}", elements.join(", "))
        };
        match shape {
            0 => format!("'{{}}'::{sql}"),
            1 | 2 => elements(3),
            // An array of equal arrays has one dimension more.
            3 => format!("ARRAY[{}, {}]", elements(2), elements(2)),
            _ => format!("('[-2:-1]=' || ({})::text)::{sql}", elements(2)),
        }
    }

    /// What `jsonb_populate_record` makes of the JSON of a value.
    pub(crate) fn restores(&self, ty: &Ty) -> Restores {
        let ty = match ty {
            Ty::Array(_) => self.inner(ty),
            ty => ty,
        };
        self.restores_part(ty, self.own.len())
    }

    fn restores_part(&self, ty: &Ty, before: usize) -> Restores {
        let part = |ty| match self.restores_part(self.inner(ty), before) {
            Restores::Nothing => Restores::Nothing,
            _ => Restores::SameJson,
        };
        match ty {
            Ty::Base(base) => self.base(base).restores,
            Ty::Own(at) => match self.own(*at, before) {
                Some((at, OwnType::Composite(attributes))) => {
                    let parts = attributes.iter();
                    let mut parts = parts.map(|ty| self.restores_part(self.inner(ty), at));
                    if parts.any(|part| part == Restores::Nothing) {
                        Restores::Nothing
                    } else {
                        Restores::SameJson
                    }
                }
                Some((at, OwnType::Domain(of))) => match self.restores_part(self.base_of(of), at) {
                    Restores::Nothing => Restores::Nothing,
                    _ => Restores::SameJson,
                },
                _ => Restores::Exactly,
            },
            // PostgreSQL cannot tell an array of arrays from one of two dimensions.
            Ty::Array(element) if self.is_array(self.inner(element), before) => Restores::Nothing,
            Ty::Array(element) => part(element),
        }
    }

    /// Whether the JSON of a value can be an array.
    fn is_array(&self, ty: &Ty, before: usize) -> bool {
        match ty {
            Ty::Base(base) => matches!(base.sql, "json" | "jsonb"),
            Ty::Array(_) => true,
            Ty::Own(at) => match self.own(*at, before) {
                Some((at, OwnType::Domain(of))) => self.is_array(self.base_of(of), at),
                _ => false,
            },
        }
    }

    /// What the trail has for the column in place of its value.
    pub(crate) fn documented(&self, ty: &Ty) -> Documented {
        match ty {
            Ty::Base(base) if !base.only_columns => Documented::Value,
            Ty::Base(base) => match self.base(base).sql {
                "public.hstore" => Documented::Text,
                "json" => Documented::EscapedZeroes,
                _ => Documented::Value,
            },
            _ => Documented::Value,
        }
    }
}

/// How the trail holds a column, as the documentation of the values says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Documented {
    /// As `to_jsonb`.
    Value,
    /// As its text.
    Text,
    /// As JSON whose zero bytes are escaped.
    EscapedZeroes,
}

const TEXT: &Ty = &Ty::Base(&TEXT_BASE);

static TEXT_BASE: Base = Base {
    sql: "text",
    value: text,
    restores: Restores::Exactly,
    only_columns: false,
    no_domains: false,
    needs: None,
};

fn range(of: &str, random: &mut Random) -> String {
    match of {
        "float8" => random.pick(&["empty", "[-Infinity,1.5)", "(-0,1e300]", "(,)"]),
        "text" => random.pick(&["empty", r#"["a,b","c"")")"#, r#"("",z]"#, "[NULL,z\\\\)"]),
        _ => random.pick(&["empty", "[10.0.0.1,10.0.0.9]", "(::1,)"]),
    }
    .to_owned()
}
