-- What recorded.tsv is a recording of (psql -XqAt on PostgreSQL 15): the lines after REC, with the
-- position in the log as a number and the message in hexadecimal.
create type mood as enum('sad','ok');
create table todo(id int primary key, title text, price numeric, due timestamptz, tags text[], mood mood, big text);
alter table todo alter big set storage external, replica identity full;
create table "Line Item"(order_id int, no int, note text, big text, primary key(order_id, no));
alter table "Line Item" alter big set storage external;
create table log(line text);
alter table log replica identity full;
create publication p for all tables;
select 1 from pg_create_logical_replication_slot('s','pgoutput');
-- 1: a statement whose own first row emits the context
insert into todo select n, 'todo '||n, n+0.10, '2020-01-01 00:00:00+00', array['a',null], 'ok', case n when 1 then repeat('x',2100) end from generate_series(1,2) n returning (select pg_logical_emit_message(true,'_bemi','{"user": 1, "_bemi": {"lead": true}}'));
-- 2: a value stored apart under FULL and under the default identity; several contexts; a savepoint
begin;
insert into "Line Item" values(1,1,'first',repeat('y',2100));
select 1 from pg_logical_emit_message(true,'_bemi','{"step": 1}');
update todo set title='new' where id=1;
savepoint a;
select 1 from pg_logical_emit_message(true,'_bemi','{"step": "lost"}');
rollback to a;
update "Line Item" set note='second' where no=1;
select 1 from pg_logical_emit_message(true,'_bemi','{"step": 2}');
select 1 from pg_logical_emit_message(true,'other','{"step": 3}');
select 1 from pg_logical_emit_message(false,'_bemi','{"step": 4}');
update "Line Item" set no=2 where no=1;
select 1 from pg_logical_emit_message(true,'_bemi','[]');
delete from "Line Item";
select 1 from pg_logical_emit_message(true,'_bemi','{}');
delete from todo where id=2;
commit;
-- 3: COPY, a table without key, no context
copy log from stdin;
a
b
\.
-- 4: TRUNCATE
begin;
select 1 from pg_logical_emit_message(true,'_bemi','{"why": "clean"}');
truncate log, "Line Item" restart identity cascade;
commit;
select 'REC', lsn-'0/0'::pg_lsn, encode(data,'hex') from pg_logical_slot_get_binary_changes('s',null,null,'proto_version','1','publication_names','p','messages','true');
select pg_drop_replication_slot('s');
