INSERT INTO notes (text) VALUES ('rolled back');
SELECT 1/0;
