//! What must be known about the server before a message is sent to it.

use diesel::prelude::*;
use diesel::sql_types::{Array, Bool, Text};

/// One query per connection, the first time that it writes under a context.
///
/// `EXECUTE` on the function can be [revoked]. A relation whose [`INSTEAD` rule] rewrites the write
/// may refuse a `RETURNING`; as views stack, every view is suspect once one relation has such a rule.
///
/// [revoked]: https://www.postgresql.org/docs/current/ddl-priv.html
/// [`INSTEAD` rule]: https://www.postgresql.org/docs/current/rules-update.html
pub(super) const PROBE: &str = "\
SELECT EXISTS (SELECT FROM pg_catalog.pg_proc
    WHERE pronamespace = 'pg_catalog'::pg_catalog.regnamespace AND proname = 'pg_logical_emit_message'
    AND proargtypes[2] = 'pg_catalog.text'::pg_catalog.regtype
    AND pg_catalog.has_function_privilege(oid, 'EXECUTE')) AS granted,
ARRAY (WITH ruled AS (SELECT DISTINCT ev_class FROM pg_catalog.pg_rewrite WHERE is_instead AND ev_type IN ('2', '3', '4')),
    own AS (SELECT oid, relname, relkind FROM pg_catalog.pg_class WHERE relnamespace NOT IN
        ('pg_catalog'::pg_catalog.regnamespace, 'information_schema'::pg_catalog.regnamespace))
    SELECT relname::pg_catalog.text FROM pg_catalog.pg_class WHERE oid IN (SELECT ev_class FROM ruled)
    UNION SELECT relname::pg_catalog.text FROM own WHERE relkind = 'v'
        AND EXISTS (SELECT FROM own JOIN ruled ON ruled.ev_class = own.oid)) AS ruled";

/// The answer to [`PROBE`].
#[derive(Clone, Debug, Default, PartialEq, Eq, QueryableByName)]
pub(super) struct Facts {
    /// Whether the user may execute the function. If not, nothing is ever sent.
    #[diesel(sql_type = Bool)]
    pub(super) granted: bool,
    /// The names of the relations that may refuse a `RETURNING`.
    #[diesel(sql_type = Array<Text>)]
    pub(super) ruled: Vec<String>,
}
