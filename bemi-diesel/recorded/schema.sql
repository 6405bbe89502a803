-- The tables of workload.sql. How each is described to the stitcher stands in src/recorded.rs.
create type mood as enum ('sad', 'ok');
create domain cents as numeric(12, 2);
create type pair as (left_half int, right_half text[]);

create table todo (
    id int primary key, title text, price numeric, due timestamptz, tags text[], mood mood, cost cents,
    pairs pair[], big text
);
alter table todo alter big set storage external, replica identity full;

create table "Line Item" (order_id int, no int, note text, big text, primary key (order_id, no));
alter table "Line Item" alter big set storage external;

create table log (line text);
alter table log replica identity full;

create table wide (
    id int primary key, b bool, i2 int2, i8 int8, f4 float4, f8 float8, n numeric, t text, c char(4), by bytea,
    d date, ti time, ts timestamp, tz timestamptz, iv interval, u uuid, j json, jb jsonb, net inet, r int4range,
    mr int4multirange, bits bit(3), p point, boxes box[], grid int[][], v int2vector, tv tsvector, o oid
);
alter table wide replica identity full;

create table orders (id int primary key, total numeric) partition by range (id);
create table low partition of orders for values from (0) to (100);
create table high partition of orders for values from (100) to (200);
alter table low replica identity full;
alter table high replica identity full;

create publication p for all tables;
