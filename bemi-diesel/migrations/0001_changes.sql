CREATE TABLE IF NOT EXISTS public.changes (
    id uuid NOT NULL,
    source bigint NOT NULL,
    database text NOT NULL,
    schema text NOT NULL,
    "table" text NOT NULL,
    primary_key text,
    operation text NOT NULL,
    before jsonb NOT NULL DEFAULT '{}',
    after jsonb NOT NULL DEFAULT '{}',
    context jsonb NOT NULL DEFAULT '{}',
    committed_at timestamptz NOT NULL,
    queued_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    transaction_id bigint NOT NULL,
    position bigint NOT NULL,
    commit_lsn bigint NOT NULL,
    ordinal bigint NOT NULL,
    previous_key text,
    CONSTRAINT changes_pkey PRIMARY KEY (id),
    CONSTRAINT changes_identity UNIQUE (source, commit_lsn, ordinal)
);
COMMENT ON TABLE public.changes IS 'bemi: one row for every change of a tracked row';
COMMENT ON COLUMN public.changes.source IS 'system identifier of the cluster that the change was read from';
COMMENT ON COLUMN public.changes.commit_lsn IS 'position of the commit record in the log; with ordinal the order of the trail';
COMMENT ON COLUMN public.changes.ordinal IS 'place of the change in its transaction, from 0';

-- The history of one record, and its row as of an instant. With the included columns it tells without the table which
-- changes make a whole table's rows.
CREATE INDEX IF NOT EXISTS changes_record ON public.changes ("table", primary_key, commit_lsn, ordinal)
    INCLUDE (source, database, schema);
-- The same where its key was changed: nearly empty.
CREATE INDEX IF NOT EXISTS changes_previous_key ON public.changes ("table", previous_key, commit_lsn)
    WHERE previous_key IS NOT NULL;
-- What empties a table: nearly empty.
CREATE INDEX IF NOT EXISTS changes_truncate ON public.changes ("table", commit_lsn) WHERE operation = 'TRUNCATE';
-- Changes by what their context has: a user, a request, an endpoint. Optional.
CREATE INDEX IF NOT EXISTS changes_context ON public.changes USING gin (context jsonb_path_ops);
-- Changes of a time, and the last commit before an instant.
CREATE INDEX IF NOT EXISTS changes_committed_at ON public.changes (committed_at, commit_lsn);
-- Changes of a transaction, and those of a time among what another index finds. Their rows lie together, so an index of
-- ranges will do, which costs next to nothing. Optional.
CREATE INDEX IF NOT EXISTS changes_ranges ON public.changes USING brin (transaction_id, committed_at);

CREATE TABLE IF NOT EXISTS public._bemi_progress (
    source bigint NOT NULL,
    database text NOT NULL,
    slot text NOT NULL,
    publication oid NOT NULL,
    flush_lsn pg_lsn NOT NULL,
    changes bigint NOT NULL DEFAULT 0,
    transactions bigint NOT NULL DEFAULT 0,
    last_committed_at timestamptz,
    updated_at timestamptz NOT NULL DEFAULT now(),
    covered_at timestamptz,
    sampled_at timestamptz,
    sampled_lsn pg_lsn,
    CONSTRAINT _bemi_progress_pkey PRIMARY KEY (source, database)
) WITH (fillfactor = 50);
COMMENT ON TABLE public._bemi_progress IS 'bemi: how far the changes of each database are stored';
COMMENT ON COLUMN public._bemi_progress.covered_at IS 'everything committed before this time is stored';

CREATE TABLE IF NOT EXISTS public._bemi_coverage (
    source bigint NOT NULL,
    database text NOT NULL,
    schema text NOT NULL,
    "table" text NOT NULL,
    oid bigint NOT NULL,
    from_lsn bigint NOT NULL,
    from_ordinal bigint NOT NULL DEFAULT 0,
    since_lsn bigint,
    since timestamptz,
    baseline_lsn bigint,
    baseline_key jsonb,
    baseline_done boolean NOT NULL DEFAULT false,
    CONSTRAINT _bemi_coverage_pkey PRIMARY KEY (source, database, schema, "table")
);
COMMENT ON TABLE public._bemi_coverage IS 'bemi: since when the changes of a table tell all of its rows';
COMMENT ON COLUMN public._bemi_coverage.oid IS 'which table of that name, by its identifier in pg_class';
COMMENT ON COLUMN public._bemi_coverage.from_lsn IS 'changes that were committed before this do not count';
COMMENT ON COLUMN public._bemi_coverage.from_ordinal IS 'of the commit at from_lsn, changes before this do not count';
COMMENT ON COLUMN public._bemi_coverage.since_lsn IS 'from here on the changes tell all rows; without it, from a TRUNCATE on';
COMMENT ON COLUMN public._bemi_coverage.baseline_lsn IS 'where the snapshot of its rows began';
COMMENT ON COLUMN public._bemi_coverage.baseline_key IS 'the key of the last row that the snapshot has stored, column by column';
COMMENT ON COLUMN public._bemi_coverage.baseline_done IS 'the snapshot has stored all rows';

CREATE TABLE IF NOT EXISTS public._bemi_partitions (
    source bigint NOT NULL,
    database text NOT NULL,
    oid bigint NOT NULL,
    since_lsn bigint NOT NULL,
    ordinal bigint NOT NULL,
    since timestamptz NOT NULL,
    exact boolean NOT NULL,
    kept boolean NOT NULL,
    parts jsonb NOT NULL,
    CONSTRAINT _bemi_partitions_pkey PRIMARY KEY (source, database, oid, since_lsn, ordinal)
);
COMMENT ON TABLE public._bemi_partitions IS 'bemi: which tables have held the rows of a partitioned table, and since when';
COMMENT ON COLUMN public._bemi_partitions.oid IS 'the partitioned table, by its identifier in pg_class';
COMMENT ON COLUMN public._bemi_partitions.exact IS 'whether it became so at since_lsn, and not some time before';
COMMENT ON COLUMN public._bemi_partitions.kept IS 'whether no row came or went with a partition';
COMMENT ON COLUMN public._bemi_partitions.parts IS 'schema, name and identifier of each';

CREATE TABLE IF NOT EXISTS public._bemi_poison (
    source bigint NOT NULL,
    database text NOT NULL,
    commit_lsn bigint NOT NULL,
    ordinal bigint NOT NULL,
    schema text NOT NULL,
    "table" text NOT NULL,
    operation text NOT NULL,
    reason text NOT NULL,
    change bytea NOT NULL,
    late_context bytea,
    message bytea,
    relation bytea,
    description bytea,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT _bemi_poison_pkey PRIMARY KEY (source, commit_lsn, ordinal)
);
COMMENT ON TABLE public._bemi_poison IS 'bemi: changes that could not be stored; bemi replay-poison tries them again';
COMMENT ON COLUMN public._bemi_poison.change IS 'the change whole, as JSON in UTF-8; without its rows and its key where there is a message';
COMMENT ON COLUMN public._bemi_poison.late_context IS 'its context, if that came after it, as JSON in UTF-8';
COMMENT ON COLUMN public._bemi_poison.message IS 'what came of a change that could not be read, as pgoutput sent it';
COMMENT ON COLUMN public._bemi_poison.relation IS 'what came before it of its table';
COMMENT ON COLUMN public._bemi_poison.description IS 'what the catalog said of its table then, as JSON in UTF-8';
