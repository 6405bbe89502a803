//! What is missing from the trail, as an entry of its own.

use chrono::{DateTime, Utc};
use tokio_postgres::types::{PgLsn, ToSql};

use crate::error::Error;
use crate::postgres::Connection;
use crate::setup::{Publication, Server, Slot};
use crate::{Change, Lsn};

/// Why changes are missing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cause {
    pub(crate) reason: &'static str,
    /// When that was found, by the source's clock.
    pub(crate) at: DateTime<Utc>,
}

/// Moves the progress to where the slot is, if it lies before that or past the end of the log, and notes what was
/// committed in between as missing: all or nothing. No table's rows are known any more.
///
/// No commit record begins at an odd position, so an entry right before the slot stands in nobody's way.
const ACCEPT: &str = "WITH former AS (\
     SELECT flush_lsn, last_committed_at, flush_lsn NOT BETWEEN $4 AND $5 AS is_gap \
     FROM public._bemi_progress WHERE source = $1 AND database = $2 FOR UPDATE), \
 progress AS (\
     UPDATE public._bemi_progress p SET slot = $3, publication = $6, \
            flush_lsn = CASE WHEN is_gap THEN $4 ELSE p.flush_lsn END \
     FROM former WHERE source = $1 AND database = $2), \
 coverage AS (DELETE FROM public._bemi_coverage WHERE source = $1 AND database = $2), \
 partitions AS (DELETE FROM public._bemi_partitions WHERE source = $1 AND database = $2), \
 gap AS (\
     INSERT INTO public.changes (id, source, database, schema, \"table\", operation, after, committed_at, queued_at, \
                                 transaction_id, position, commit_lsn, ordinal) \
     SELECT $7, $1, $2, '', '', 'GAP', jsonb_build_object('from', flush_lsn::text, 'to', $4::text, 'reason', $8::text, \
                'since', last_committed_at), \
            $9, $9, 0, (flush_lsn - '0/0')::bigint, $10, 0 \
     FROM former WHERE is_gap ON CONFLICT DO NOTHING) \
 SELECT flush_lsn FROM former WHERE is_gap";

/// Accepts that changes are missing, and goes on from `slot`. Everything before the returned position was stored;
/// `None` if nothing is missing, or nothing was stored yet.
pub(crate) async fn accept(
    destination: &Connection,
    server: &Server,
    slot: &Slot,
    publication: &Publication,
    cause: Cause,
) -> Result<Option<Lsn>, Error> {
    let begins = slot.confirmed_flush_lsn;
    let commit_lsn = Lsn::new(begins.as_u64().saturating_sub(1));
    let id = Change::identifier(server.system_identifier, commit_lsn, 0, cause.at);
    let binds: [&(dyn ToSql + Sync); 10] = [
        &server.system_identifier,
        &server.database,
        &slot.name,
        &PgLsn::from(begins.as_u64()),
        &PgLsn::from(slot.log_end.as_u64()),
        &publication.oid,
        &id,
        &cause.reason,
        &cause.at,
        &commit_lsn.as_i64(),
    ];
    let accepting = destination.client.query_opt(ACCEPT, &binds);
    let row = destination.answer("recording a gap", accepting).await?;
    Ok(row.map(|row| Lsn::new(row.get::<_, PgLsn>(0).into())))
}
