-- Where the test itself keeps what it did. Unlogged tables are not in the log that the capture reads, and
-- a rolled-back savepoint takes their rows with it.
CREATE SCHEMA truth;
CREATE TABLE truth."A table: (1,2)" ();
CREATE UNLOGGED TABLE truth.row (
    seq bigint GENERATED ALWAYS AS IDENTITY,
    xid bigint NOT NULL DEFAULT pg_current_xact_id()::xid::text::bigint,
    schema text NOT NULL,
    "table" text NOT NULL,
    identity "char" NOT NULL,
    operation text NOT NULL,
    old_key text,
    key text,
    before jsonb NOT NULL,
    after jsonb NOT NULL,
    -- What an update left, with `json` as it was written: how much of it is stored apart goes by that.
    written json,
    -- Whether the row stayed as it was, to the last character.
    same boolean NOT NULL,
    -- The context that was set before it; the first one of the transaction counts where there is none.
    context jsonb
);
CREATE UNLOGGED TABLE truth.context (
    seq bigint GENERATED ALWAYS AS IDENTITY,
    xid bigint NOT NULL DEFAULT pg_current_xact_id()::xid::text::bigint,
    context jsonb NOT NULL
);
-- Emits a context, and keeps it. A rolled-back savepoint takes all three with it.
CREATE FUNCTION truth.say(said jsonb, lead boolean) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_logical_emit_message(true, '_bemi',
        (said || CASE WHEN lead THEN '{"_bemi": {"lead": true}}' ELSE '{}' END::jsonb)::text);
    PERFORM set_config('truth.context', said::text, true);
    INSERT INTO truth.context (context) VALUES (said);
END $$;
