CREATE INDEX CONCURRENTLY of_the_notes ON notes (text);
