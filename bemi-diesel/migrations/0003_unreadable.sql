-- A table that was made before changes that cannot be read were put aside.
ALTER TABLE public._bemi_poison ADD COLUMN message bytea, ADD COLUMN relation bytea, ADD COLUMN description bytea;
COMMENT ON COLUMN public._bemi_poison.change IS 'the change whole, as JSON in UTF-8; without its rows and its key where there is a message';
COMMENT ON COLUMN public._bemi_poison.message IS 'what came of a change that could not be read, as pgoutput sent it';
COMMENT ON COLUMN public._bemi_poison.relation IS 'what came before it of its table';
COMMENT ON COLUMN public._bemi_poison.description IS 'what the catalog said of its table then, as JSON in UTF-8';
