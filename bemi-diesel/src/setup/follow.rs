//! New tables become tracked by themselves.
//!
//! What setup was asked for is kept in the publication's comment. Where the role is a superuser, an event
//! trigger tracks a table in the transaction that makes it. Everywhere else, and should that fail, the
//! capture [looks](sweep) for new tables now and then. Either gives a table its replica identity first: a
//! published table without one makes the application's own UPDATE and DELETE fail.

use std::time::Duration;

use tokio_postgres::types::ToSql;

use super::selection::Tables;
use super::source::Server;
use crate::error::{Error, ErrorKind, quote_identifier, quote_literal};
use crate::postgres::Connection;
use crate::sink::store;

/// How often the capture looks for new tables.
pub(crate) const SWEEP_INTERVAL: Duration = Duration::from_secs(5);

/// How long it waits for a table, and for the publication: the application must not queue behind it. The
/// event trigger keeps out of it.
const SWEEP_LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '100ms'; SET LOCAL bemi.tracking = 'on'";

/// What comments of ours begin with.
const MARK: &str = "bemi: ";

/// The commands that make tables, or make them others.
const TAGS: &str = "'CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO', 'ALTER TABLE', 'CREATE SCHEMA', \
                    'CREATE FOREIGN TABLE', 'ALTER FOREIGN TABLE'";

/// What the event trigger runs, as its owner: `{publication}` is a literal, `{quoted}` an identifier.
///
/// The application's command must not fail for it, nor wait. What it records is made in a block that
/// catches errors, but emitted outside: in the block's subtransaction it could change places with the
/// row that is written next.
const BODY: &str = "
DECLARE
    found record;
    message bytea;
    messages bytea[];
    tracked bytea[];
    partitions bytea;
    is_empty boolean;
BEGIN
    IF current_setting('bemi.tracking', true) = 'on'
       OR NOT EXISTS (SELECT FROM pg_publication WHERE pubname = {publication}) THEN
        RETURN;
    END IF;
    PERFORM set_config('bemi.tracking', 'on', true);
    IF {ddl} THEN
        BEGIN
            messages := {messages};
        EXCEPTION WHEN OTHERS THEN
            RAISE WARNING 'bemi does not record this command: % (SQLSTATE %)', SQLERRM, SQLSTATE;
        END;
        FOREACH message IN ARRAY coalesce(messages, '{}') LOOP
            PERFORM pg_logical_emit_message(true, '_bemi_ddl', message);
        END LOOP;
    END IF;
    IF tg_event = 'ddl_command_end' THEN
        BEGIN
            FOR found IN
                {untracked}
                AND c.oid IN (SELECT part.oid FROM pg_event_trigger_ddl_commands() d,
                              LATERAL (SELECT d.objid UNION SELECT relid FROM pg_partition_tree(d.objid)) part (oid)
                              WHERE d.classid = 'pg_class'::regclass)
            LOOP
                BEGIN
                    IF found.identity IS NOT NULL THEN
                        EXECUTE 'ALTER TABLE ' || found.name || ' REPLICA IDENTITY ' || found.identity;
                    END IF;
                    IF found.addition IS NOT NULL THEN
                        EXECUTE 'ALTER PUBLICATION {quoted} ADD TABLE ' || found.addition;
                    END IF;
                    EXECUTE 'SELECT NOT EXISTS (SELECT FROM ONLY ' || found.name || ')' INTO is_empty;
                    tracked := tracked || convert_to(jsonb_build_object('schema', found.schema, 'table', found.relation,
                        'oid', found.oid::bigint, 'empty', is_empty AND found.whole)::text, 'UTF8');
                EXCEPTION WHEN OTHERS THEN
                    RAISE WARNING 'bemi does not track % yet: % (SQLSTATE %)', found.name, SQLERRM, SQLSTATE;
                END;
            END LOOP;
        EXCEPTION WHEN OTHERS THEN
            RAISE WARNING 'bemi does not look for new tables: % (SQLSTATE %)', SQLERRM, SQLSTATE;
        END;
        FOREACH message IN ARRAY coalesce(tracked, '{}') LOOP
            PERFORM pg_logical_emit_message(true, '_bemi_tracked', message);
        END LOOP;
    END IF;
    BEGIN
        partitions := {partitions};
    EXCEPTION WHEN OTHERS THEN
        RAISE WARNING 'bemi does not look at the partitions: % (SQLSTATE %)', SQLERRM, SQLSTATE;
    END;
    IF partitions IS NOT NULL THEN
        PERFORM pg_logical_emit_message(true, '_bemi_partitions', partitions);
    END IF;
    PERFORM set_config('bemi.tracking', 'off', true);
END
";

/// What is recorded of a command: of the tables that it made, altered or dropped, but for temporary ones,
/// those of extensions, and ours.
const MESSAGES: &str = "(
                SELECT array_agg(convert_to(jsonb_build_object('command', left(current_query(), 100000),
                    'tag', tg_tag, 'object', o.identity, 'schema', o.schema, 'table', o.name)::text, 'UTF8'))
                FROM ({objects}) o (identity, schema, name)
            )";

const ALTERED: &str = "SELECT DISTINCT format('%I.%I', n.nspname, c.relname), n.nspname::text, c.relname::text
                    FROM pg_event_trigger_ddl_commands() d JOIN pg_class c ON c.oid = d.objid
                    JOIN pg_namespace n ON n.oid = c.relnamespace
                    WHERE d.classid = 'pg_class'::regclass
                      AND c.relkind IN ('r', 'p', 'f') AND c.relpersistence <> 't' AND NOT d.in_extension
                      AND NOT {is_ours}";

const DROPPED: &str =
    "SELECT object_identity, schema_name, object_name FROM pg_event_trigger_dropped_objects()
                    WHERE object_type IN ('table', 'foreign table') AND NOT is_temporary
                      AND NOT (schema_name = 'public' AND object_name IN ({our_names}))";

/// The partitioned tables that a command may have made others.
const TOUCHED: &str = "whole.oid IN (
                SELECT above.relid FROM pg_event_trigger_ddl_commands() d, LATERAL pg_partition_ancestors(d.objid) above
                WHERE d.classid = 'pg_class'::regclass)";

/// Of a table that was dropped nothing tells what it was part of.
const DROPPED_ANY: &str = "EXISTS (
                SELECT FROM pg_event_trigger_dropped_objects() WHERE object_type = 'table' AND NOT is_temporary)";

/// The comment of a publication that follows `tables`.
pub(super) fn comment(tables: &Tables, ddl: bool) -> String {
    format!("{MARK}{}", tables.to_json(ddl))
}

/// Whether a comment may be replaced by one of ours.
pub(super) fn is_replaceable(comment: Option<&str>) -> bool {
    comment.is_none_or(|comment| comment.starts_with(MARK))
}

/// What a comment of ours says: the tables, and whether commands are recorded.
pub(super) fn read(comment: Option<&str>) -> Option<(Tables, bool)> {
    Tables::from_json(comment?.strip_prefix(MARK)?)
}

/// The name of the event trigger and of its function.
pub(super) fn trigger(publication: &str) -> String {
    limited(format!("_bemi_{publication}"))
}

fn drop_trigger(publication: &str) -> String {
    limited(format!("_bemi_drop_{publication}"))
}

/// An identifier is at most 63 bytes long.
fn limited(mut name: String) -> String {
    name.truncate(name.floor_char_boundary(63));
    name
}

/// A query for those of `tables` that are to be tracked and are not: quoted `name`, whether `owned`, the
/// replica `identity` if it is to be another, and the `addition` to the publication if it is not in it.
fn untracked(tables: &Tables, publication: &str) -> String {
    let publication = quote_literal(publication);
    let cases = tables.conditions.iter().map(|condition| {
        let sql = quote_literal(&format!(" WHERE ({}\n)", condition.condition));
        format!("WHEN {} THEN {sql}", condition.table.matches("c.oid"))
    });
    let condition = cases.collect::<Vec<_>>().join(" ");
    let condition = if condition.is_empty() {
        "''".to_owned()
    } else {
        format!("CASE {condition} ELSE '' END")
    };
    format!(
        "SELECT format('%I.%I', n.nspname, c.relname) AS name, \
                pg_has_role(current_user, c.relowner, 'USAGE') AS owned, \
                CASE WHEN is_virtual AND relreplident NOT IN ('d', 'i') THEN 'DEFAULT' \
                     WHEN NOT is_virtual AND relreplident <> 'f' THEN 'FULL' END AS identity, \
                CASE WHEN NOT (itself OR otherwise) THEN format('ONLY %I.%I', n.nspname, c.relname) || {condition} \
                     END AS addition, \
                n.nspname AS schema, c.relname AS relation, c.oid AS oid, {condition} = '' AS whole \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_publication p ON p.pubname = {publication}, \
         LATERAL (SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = c.oid AND attgenerated = 'v' AND NOT attisdropped), \
                         EXISTS (SELECT FROM pg_index WHERE indrelid = c.oid AND indisprimary), \
                         EXISTS (SELECT FROM pg_publication_rel WHERE prpubid = p.oid AND prrelid = c.oid), \
                         p.puballtables OR EXISTS (SELECT FROM pg_publication_rel, pg_partition_ancestors(c.oid) \
                             WHERE prpubid = p.oid AND prrelid = relid AND relid <> c.oid)) \
             facts (is_virtual, keyed, itself, otherwise) \
         WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' \
           AND (keyed OR NOT is_virtual) \
           AND (NOT itself AND (NOT otherwise OR relreplident <> 'f' AND NOT is_virtual) OR is_virtual AND relreplident = 'f') \
           AND NOT {} AND {}",
        store::is_ours("c.oid"),
        tables.selects("c.oid")
    )
}

/// A query for the identifiers of the partitioned tables for which the SQL `condition` on `whole` holds, and for the
/// tables that hold their rows, as [`Holding::parts`](store::Holding::parts).
pub(super) fn partitions(condition: &str) -> String {
    format!(
        "SELECT whole.oid AS oid, coalesce((SELECT jsonb_agg(jsonb_build_array(n.nspname, c.relname, c.oid::bigint) ORDER BY c.oid) \
             FROM pg_partition_tree(whole.oid) JOIN pg_class c ON c.oid = relid JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relkind <> 'p'), '[]')::text AS parts \
         FROM pg_class whole WHERE whole.relkind = 'p' AND whole.relpersistence <> 't' AND NOT {} AND {condition}",
        store::is_ours("whole.oid")
    )
}

/// SQL that gives the message of them; `NULL` if there are none.
fn partitions_message(condition: &str, exact: bool) -> String {
    format!(
        "(SELECT convert_to(jsonb_build_object('exact', {exact}, \
             'tables', jsonb_agg(jsonb_build_object('oid', oid::bigint, 'parts', parts::jsonb)))::text, 'UTF8') \
          FROM ({}) told HAVING count(*) > 0)",
        partitions(condition)
    )
}

/// The event trigger's function.
fn body(tables: &Tables, ddl: bool, publication: &str) -> String {
    // Of the two functions each may only be called by its event.
    let messages = format!(
        "CASE tg_event WHEN 'sql_drop' THEN {} ELSE {} END",
        MESSAGES.replace(
            "{objects}",
            &DROPPED.replace("{our_names}", &store::names())
        ),
        MESSAGES.replace(
            "{objects}",
            &ALTERED.replace("{is_ours}", &store::is_ours("c.oid"))
        ),
    );
    let partitions = format!(
        "CASE tg_event WHEN 'sql_drop' THEN {} ELSE {} END",
        partitions_message(DROPPED_ANY, true),
        partitions_message(TOUCHED, true)
    );
    BODY.replace("{partitions}", &partitions)
        .replace("{ddl}", if ddl { "true" } else { "false" })
        .replace("{messages}", &messages)
        .replace(
            "{quoted}",
            &quote_identifier(publication).replace('\'', "''"),
        )
        .replace("{untracked}", &untracked(tables, publication))
        .replace("{publication}", &quote_literal(publication))
}

/// What is missing of the event trigger, as statements; none if all is there.
pub(super) async fn missing_trigger(
    source: &Connection,
    tables: &Tables,
    ddl: bool,
    publication: &str,
) -> Result<Vec<String>, Error> {
    let body = body(tables, ddl, publication);
    let (name, drop_name) = (trigger(publication), drop_trigger(publication));
    let binds: [&(dyn ToSql + Sync); 3] = [&name, &body, &drop_name];
    let reading = source.client.query_one(
        "SELECT EXISTS (SELECT FROM pg_event_trigger t JOIN pg_proc f ON f.oid = t.evtfoid \
                        JOIN pg_roles o ON o.oid = f.proowner \
                        WHERE evtname = $1 AND evtevent = 'ddl_command_end' AND evtenabled <> 'D' AND f.prosrc = $2 \
                          AND o.rolsuper) \
                AND EXISTS (SELECT FROM pg_event_trigger t JOIN pg_proc f ON f.oid = t.evtfoid \
                                 WHERE evtname = $3 AND evtevent = 'sql_drop' AND evtenabled <> 'D' AND f.prosrc = $2)",
        &binds,
    );
    let row = source.answer("reading the event triggers", reading).await?;
    if row.get(0) {
        return Ok(Vec::new());
    }
    let mut statements = drop_statements(publication);
    let (name, drop_name) = (quote_identifier(&name), quote_identifier(&drop_name));
    let body = quote_literal(&body);
    // Never replaced: another role could have made it first, and would own what runs as its owner.
    statements.push(format!(
        "CREATE FUNCTION public.{name}() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER \
         SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on SET lock_timeout = '500ms' AS {body}"
    ));
    statements.push(format!(
        "CREATE EVENT TRIGGER {name} ON ddl_command_end WHEN TAG IN ({TAGS}) EXECUTE FUNCTION public.{name}()"
    ));
    statements.push(format!(
        "CREATE EVENT TRIGGER {drop_name} ON sql_drop EXECUTE FUNCTION public.{name}()"
    ));
    Ok(statements)
}

/// Whether there is an event trigger of ours.
#[cfg(feature = "cli")]
pub(super) async fn has_trigger(source: &Connection, publication: &str) -> Result<bool, Error> {
    let names = [trigger(publication), drop_trigger(publication)];
    let binds: [&(dyn ToSql + Sync); 1] = [&names.as_slice()];
    let reading = source.client.query_one(
        "SELECT EXISTS (SELECT FROM pg_event_trigger WHERE evtname = ANY ($1))",
        &binds,
    );
    let row = source.answer("reading the event triggers", reading).await?;
    Ok(row.get(0))
}

/// What removes the event trigger.
pub(super) fn drop_statements(publication: &str) -> Vec<String> {
    let (name, drop_name) = (trigger(publication), drop_trigger(publication));
    let (name, drop_name) = (quote_identifier(&name), quote_identifier(&drop_name));
    vec![
        format!("DROP EVENT TRIGGER IF EXISTS {name}"),
        format!("DROP EVENT TRIGGER IF EXISTS {drop_name}"),
        format!("DROP FUNCTION IF EXISTS public.{name}()"),
    ]
}

/// Whether an event trigger can be made.
pub(super) async fn can_trigger(source: &Connection, server: &Server) -> Result<bool, Error> {
    if !server.is_superuser {
        return Ok(false);
    }
    let reading = source
        .client
        .query_one("SELECT to_regnamespace('public') IS NOT NULL", &[]);
    let row = source
        .answer("looking for the schema public", reading)
        .await?;
    Ok(row.get(0))
}

/// What a look for new tables found.
#[derive(Debug, Default)]
pub(crate) struct Swept {
    /// Tables that are tracked from now on.
    pub(crate) tracked: Vec<String>,
    /// Tables that should be and are not, and why.
    pub(crate) refused: Vec<(String, String)>,
}

/// Whether the role may write messages: without, what it tracks is not known to be whole.
async fn may_emit(source: &Connection) -> Result<bool, Error> {
    let sql = "SELECT bool_and(has_function_privilege(oid, 'EXECUTE')) FROM pg_proc \
               WHERE proname = 'pg_logical_emit_message' AND pronamespace = 'pg_catalog'::regnamespace";
    let row = source
        .answer("looking for new tables", source.client.query_one(sql, &[]))
        .await?;
    Ok(row.get(0))
}

/// Looks for new tables of the publication's selection, and tracks them.
pub(crate) async fn sweep(source: &Connection, publication: &str) -> Result<Swept, Error> {
    let doing = "looking for new tables";
    let mut swept = Swept::default();
    let binds: [&(dyn ToSql + Sync); 1] = [&publication];
    let reading = source.client.query_opt(
        "SELECT obj_description(oid, 'pg_publication') FROM pg_publication WHERE pubname = $1 AND NOT pg_is_in_recovery()",
        &binds,
    );
    let comment = source.answer(doing, reading).await?;
    let comment: Option<String> = comment.and_then(|row| row.get(0));
    let Some((tables, _)) = read(comment.as_deref()) else {
        return Ok(swept);
    };
    let sql = untracked(&tables, publication);
    let rows = source.answer(doing, source.client.query(&sql, &[])).await?;
    let emits = !rows.is_empty() && may_emit(source).await?;
    for row in rows {
        let (name, owned): (String, bool) = (row.get(0), row.get(1));
        if !owned {
            let reason = "the capture's role does not own it: let its owner run `bemi setup`";
            swept.refused.push((name, reason.to_owned()));
            continue;
        }
        let (identity, addition): (Option<String>, Option<String>) = (row.get(2), row.get(3));
        let mut statements = vec![SWEEP_LOCK_TIMEOUT.to_owned()];
        statements.extend(
            identity.map(|identity| format!("ALTER TABLE {name} REPLICA IDENTITY {identity}")),
        );
        let publication = quote_identifier(publication);
        // With a new replica identity nobody else is writing to it.
        let (alone, whole) = (statements.len() > 1, row.get::<_, bool>(7));
        statements.extend(
            addition
                .map(|addition| format!("ALTER PUBLICATION {publication} ADD TABLE {addition}")),
        );
        if emits {
            let (schema, relation): (String, String) = (row.get(4), row.get(5));
            statements.push(format!(
                "SELECT pg_logical_emit_message(true, '_bemi_tracked', convert_to(jsonb_build_object('schema', {}::text, \
                 'table', {}::text, 'oid', {}, 'empty', {} AND NOT EXISTS (SELECT FROM ONLY {name}))::text, 'UTF8'))",
                quote_literal(&schema),
                quote_literal(&relation),
                row.get::<_, u32>(6),
                alone && whole
            ));
        }
        let statements = statements.join("; ");
        let tracking = source.client.batch_execute(&statements);
        match source.answer("tracking a new table", tracking).await {
            Ok(()) => swept.tracked.push(name),
            Err(error) => match error.kind() {
                // Somebody is at work on it: it has a next time.
                ErrorKind::Server { error, .. } if error.sqlstate == "55P03" => {}
                ErrorKind::Server { .. } => swept.refused.push((name, error.to_string())),
                _ => return Err(error),
            },
        }
    }
    Ok(swept)
}

/// Tells what has become of the partitioned tables, if they are not as `known` any more, which they are afterwards.
pub(crate) async fn tell_partitions(
    source: &Connection,
    known: &mut Option<Vec<(u32, String)>>,
) -> Result<(), Error> {
    let doing = "looking at the partitions";
    let sql = partitions("NOT pg_is_in_recovery() ORDER BY whole.oid");
    let rows = source.answer(doing, source.client.query(&sql, &[])).await?;
    let now: Vec<_> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    if known.as_ref() == Some(&now) || now.is_empty() || !may_emit(source).await? {
        return Ok(());
    }
    let message = partitions_message("true", false);
    let tell = format!("SELECT pg_logical_emit_message(true, '_bemi_partitions', {message})");
    let telling = source.client.batch_execute(&tell);
    source.answer("telling of the partitions", telling).await?;
    *known = Some(now);
    Ok(())
}
