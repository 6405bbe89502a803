-- A table that was made with other indexes.
DROP INDEX public.changes_record;
CREATE INDEX changes_record ON public.changes ("table", primary_key, commit_lsn, ordinal) INCLUDE (source, database, schema);
CREATE INDEX IF NOT EXISTS changes_context ON public.changes USING gin (context jsonb_path_ops);
DROP INDEX IF EXISTS public.changes_transaction;
CREATE INDEX IF NOT EXISTS changes_ranges ON public.changes USING brin (transaction_id, committed_at);
