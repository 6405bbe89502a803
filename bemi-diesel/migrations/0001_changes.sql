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
    CONSTRAINT changes_pkey PRIMARY KEY (id),
    CONSTRAINT changes_identity UNIQUE (source, commit_lsn, ordinal)
);
COMMENT ON TABLE public.changes IS 'bemi: one row for every change of a tracked row';
COMMENT ON COLUMN public.changes.source IS 'system identifier of the cluster that the change was read from';
COMMENT ON COLUMN public.changes.commit_lsn IS 'position of the commit record in the log; with ordinal the order of the trail';
COMMENT ON COLUMN public.changes.ordinal IS 'place of the change in its transaction, from 0';

-- The history of one record.
CREATE INDEX IF NOT EXISTS changes_record ON public.changes ("table", primary_key, commit_lsn);

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
    CONSTRAINT _bemi_progress_pkey PRIMARY KEY (source, database)
) WITH (fillfactor = 50);
COMMENT ON TABLE public._bemi_progress IS 'bemi: how far the changes of each database are stored';
