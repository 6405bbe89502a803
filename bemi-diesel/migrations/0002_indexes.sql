-- A table that was made with another index of this name.
DROP INDEX public.changes_record;
CREATE INDEX changes_record ON public.changes ("table", primary_key, commit_lsn, ordinal) INCLUDE (source, database, schema);
CREATE INDEX IF NOT EXISTS changes_context ON public.changes USING gin (context jsonb_path_ops);
