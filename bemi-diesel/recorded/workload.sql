-- What the recordings are recordings of. The paragraphs are sent one by one; a COPY is followed by its data.

-- A statement whose own first row emits the context.
insert into todo
select n, 'todo ' || n, n + 0.10, '2020-01-01 00:00:00+00', array['a', null], 'ok', n, array[(n, '{"q\"",b}')::pair],
       case n when 1 then repeat('x', 2100) end
from generate_series(1, 2) n
returning (select pg_logical_emit_message(true, '_bemi', '{"user": 1, "_bemi": {"lead": true}}'));

-- Values stored apart under FULL and under the default identity, several contexts, a savepoint, a key that
-- changes, messages of others.
begin;
insert into "Line Item" values (1, 1, 'first', repeat('y', 2100));
select pg_logical_emit_message(true, '_bemi', '{"step": 1}');
update todo set title = 'new' where id = 1;
update todo set big = null where id = 1;
savepoint a;
select pg_logical_emit_message(true, '_bemi', '{"step": "lost"}');
rollback to a;
update "Line Item" set note = 'second' where no = 1;
select pg_logical_emit_message(true, '_bemi', '{"step": 2}');
select pg_logical_emit_message(true, 'other', '{"step": 3}');
select pg_logical_emit_message(false, '_bemi', '{"step": 4}');
update "Line Item" set no = 2 where no = 1;
select pg_logical_emit_message(true, '_bemi', '[]');
delete from "Line Item";
select pg_logical_emit_message(true, '_bemi', '{}');
delete from todo where id = 2;
commit;

copy log from stdin;
a
b\\\t"c"
\N

begin;
select pg_logical_emit_message(true, '_bemi', '{"why": "clean"}');
truncate log, "Line Item" restart identity cascade;
commit;

-- The types, and nothing of them.
insert into wide values (
    1, true, -32768, 9223372036854775807, 1e-45, 0.1, 12345678901234567890.12345678901234567890, E'q"\\\té😀', 'ab',
    '\x00ff', '0044-03-15 BC', '24:00:00', '2024-02-29 12:34:56.789012', 'infinity', '1 year -2 days 03:04:05.6',
    '00000000-0000-0000-0000-00000000000a', '{"b": 1, "a": 1.0, "b": "\u0000"}', '{"x": [1e2, null]}', '10.0.0.1/8',
    '[1,5)', '{[1,3),[7,9)}', B'101', '(1,-0.5)', '{(1,1),(0,0);NULL}', '[-1:0][1:2]={{1,2},{3,NULL}}', '1 -2',
    '''a b'':2A', 4294967295
);

insert into wide (id, f8, n) values (2, 'NaN', '-Infinity');

update wide set t = 'same' where id = 2;

update wide set t = t where id = 2;

-- A table is altered within a transaction.
begin;
update todo set title = 'before';
alter table todo add late int default 7;
alter table todo drop tags;
alter table todo rename title to name;
update todo set name = 'after';
commit;

alter type mood add value 'gre"at';

update todo set mood = 'gre"at';

-- A row that moves between partitions.
insert into orders values (1, 1.0), (150, 2.50);

update orders set id = id + 100 where id = 1;

-- Replicated from elsewhere.
select pg_replication_origin_create('elsewhere');

select pg_replication_origin_session_setup('elsewhere');

begin;
select pg_replication_origin_xact_setup('0/1234', '2020-01-01 00:00:00+00');
insert into log values ('from elsewhere');
commit;

select pg_replication_origin_session_reset();

-- A transaction without changes.
select pg_logical_emit_message(true, '_bemi', '{"nothing": true}');
