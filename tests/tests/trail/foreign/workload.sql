-- A year of the shop. What looks random is made of the row's number, so that each run is the same.
SET search_path = rental;

INSERT INTO language SELECT n, 'language ' || n FROM generate_series(1, 6) n;
INSERT INTO category (name, path) SELECT 'category ' || n, ARRAY['films', 'of "quoted"', NULL, n::text] FROM generate_series(1, 10) n;
INSERT INTO country SELECT chr(65 + n) || chr(90 - n), 'Land é ' || n FROM generate_series(0, 9) n;
INSERT INTO city (city, country_id) SELECT 'city ' || n, chr(65 + n % 10) || chr(90 - n % 10) FROM generate_series(1, 40) n;
INSERT INTO address (address, address2, district, city_id, postal_code, phone, location, area)
SELECT n || E' Main St\n"Suite" ' || n, nullif(n % 3, 0)::text, '', 1 + n % 40, lpad(n::text, 5, '0'), '', point(n / 3.0, -n),
       CASE WHEN n % 5 = 0 THEN polygon(box(point(0, 0), point(n, n))) END
FROM generate_series(1, 120) n;
BEGIN;
INSERT INTO store SELECT n, n, n, ARRAY['09:00', '24:00']::time[] FROM generate_series(1, 2) n;
INSERT INTO staff SELECT n, 'Staff ' || n, 'staff' || n || '@example.org', n, true,
       (SELECT string_agg(decode(md5(i::text), 'hex'), '') FROM generate_series(1, 300) i), ('10.0.0.' || n)::inet, '08:00:2b:01:02:03', B'10100101'
FROM generate_series(1, 2) n;
COMMIT;
INSERT INTO actor (first_name, last_name) SELECT 'First ' || n, 'O''Last ' || n FROM generate_series(1, 80) n;
INSERT INTO film (title, description, release_year, language_id, original_language_id, rental_rate, length, rating, special_features,
                  cast_list, prices, seasons, screenings, poster, facts, raw, "aspect ratio")
SELECT 'Film ' || n, 'A story of ' || repeat(md5(n::text) || ' ', CASE WHEN n % 50 = 0 THEN 300 ELSE 3 END), 1901 + n, 1 + n % 6,
       nullif(n % 7, 0), (n % 500) / 100.0, n % 200, (enum_range(NULL::mpaa_rating))[1 + n % 5],
       CASE WHEN n % 4 = 0 THEN NULL ELSE ARRAY['Trailers', 'Deleted, Scenes', NULL, '{"quoted"}'] END,
       ARRAY[('lead "role"', n)::credit, (NULL, NULL)::credit], ('EUR', n / 100.0, ARRAY[n, 0.10])::price_list,
       daterange('2022-01-01', '2022-01-01'::date + n), tsmultirange(tsrange('2022-01-01', '2022-01-02'), tsrange('2022-02-01', NULL)),
       decode(md5(n::text), 'hex'), jsonb_build_object('n', n, 'big', 12345678901234567890.10, 'a', NULL, 'list', ARRAY[n, n]),
       ('{"b": ' || n || ', "a": 1.10, "a" : 2}')::json, 1.85
FROM generate_series(1, 150) n;
INSERT INTO film_actor SELECT 1 + (n * 7) % 80, 1 + n % 150 FROM generate_series(1, 400) n ON CONFLICT DO NOTHING;
INSERT INTO film_category SELECT n, 1 + n % 10 FROM generate_series(1, 140) n;
INSERT INTO customer
SELECT md5(n::text)::uuid, 1 + n % 2, 'Ann ' || n, 'O' || chr(39) || 'Hara', 'ann' || n || '@example.org', 1 + n % 120, n % 9 > 0,
       '2022-02-14'::date - n, make_interval(months => n, days => -n, secs => n / 7.0), (n / 3.0)::numeric::money, '{"theme": "dark"}'
FROM generate_series(1, 100) n;
INSERT INTO inventory (film_id, store_id) SELECT 1 + n % 150, 1 + n % 2 FROM generate_series(1, 400) n;

-- Business, a transaction a day, each with its context.
DO $$
BEGIN
    FOR day IN 1..40 LOOP
        PERFORM pg_logical_emit_message(true, '_bemi', json_build_object('day', day)::text);
        INSERT INTO rental.rental (inventory_id, customer_id, rented, staff_id)
        SELECT 1 + (day * 31 + n * 7) % 400, md5((1 + (day + n) % 100)::text)::uuid,
               tstzrange('2022-01-10 12:00+00'::timestamptz + day * interval '1 day', NULL), 1 + n % 2
        FROM generate_series(1, 12) n;
        INSERT INTO rental.payment (customer_id, staff_id, rental_id, amount, payment_date)
        SELECT customer_id, staff_id, rental_id, (rental_id % 500) / 100.0, lower(rented) FROM rental.rental
        WHERE lower(rented) = '2022-01-10 12:00+00'::timestamptz + day * interval '1 day';
        UPDATE rental.rental SET rented = tstzrange(lower(rented), lower(rented) + interval '3 days')
        WHERE upper_inf(rented) AND rental_id % 3 = day % 3;
        UPDATE rental.customer SET balance = balance + '1.50'::money WHERE customer_id = md5(day::text)::uuid;
        COMMIT;
    END LOOP;
END $$;

-- Every other way to change a row.
UPDATE film SET title = title || ' (remastered)', rental_rate = rental_rate + 0.01 WHERE film_id % 5 = 0;
UPDATE film SET facts = facts || '{"seen": true}', raw = NULL, cast_list = cast_list || ('extra', 9)::credit WHERE film_id % 7 = 0;
UPDATE film SET film_id = film_id + 1000 WHERE film_id IN (3, 4, 5) AND NOT EXISTS (SELECT FROM film_category fc WHERE fc.film_id = film.film_id);
UPDATE film SET film_id = film_id + 1000 WHERE film_id BETWEEN 141 AND 145;
UPDATE language SET language_id = language_id + 10;
UPDATE film SET original_language_id = NULL WHERE original_language_id = 16;
UPDATE film SET language_id = 11 WHERE language_id = 16;
DELETE FROM language WHERE language_id = 16;
UPDATE staff SET seen_at = '2001:db8::1/64', active = NOT active;
UPDATE staff SET picture = NULL WHERE staff_id = 2;
UPDATE actor SET first_name = first_name;
DELETE FROM actor WHERE actor_id % 10 = 0;
UPDATE payment SET payment_date = payment_date + interval '20 days' WHERE payment_id % 4 = 0;
UPDATE payment SET payment_date = '2023-01-01' WHERE payment_id % 50 = 0;
DELETE FROM customer WHERE customer_id IN (SELECT md5(n::text)::uuid FROM generate_series(90, 95) n);
INSERT INTO active_customer (customer_id, store_id, first_name, last_name, address_id)
SELECT md5(n::text)::uuid, 1, 'View', 'Customer', 1 FROM generate_series(200, 205) n;
UPDATE active_customer SET email = 'view@example.org', settings = settings - 'theme' WHERE first_name = 'View';
DELETE FROM active_customer WHERE customer_id = md5('201')::uuid;
UPDATE film_list SET category = 'category 3' WHERE film_id < 10;
INSERT INTO customer (customer_id, store_id, first_name, last_name, address_id)
SELECT md5(n::text)::uuid, 2, 'Upserted', '', 2 FROM generate_series(198, 202) n
ON CONFLICT (customer_id) DO UPDATE SET first_name = excluded.first_name, create_date = 'infinity';
WITH gone AS (DELETE FROM inventory WHERE inventory_id % 40 = 0 RETURNING film_id, store_id)
INSERT INTO inventory (film_id, store_id) SELECT film_id, 3 - store_id FROM gone;
INSERT INTO journal SELECT '-infinity', NULL FROM generate_series(1, 5);
UPDATE journal SET line = 'same' WHERE line IS NULL;
DELETE FROM journal WHERE ctid IN (SELECT ctid FROM journal WHERE line = 'same' LIMIT 2);
CREATE TABLE import (LIKE actor INCLUDING DEFAULTS);
INSERT INTO import SELECT * FROM actor;
DROP TABLE import;
REFRESH MATERIALIZED VIEW sales;
TRUNCATE film_category;
INSERT INTO film_category SELECT film_id, 1 FROM film WHERE film_id % 2 = 0;
TRUNCATE ONLY payment_rest;
ALTER TABLE payment DETACH PARTITION payment_p2022_01;
INSERT INTO payment_p2022_01 (payment_id, customer_id, staff_id, rental_id, amount, payment_date)
SELECT 100000 + n, md5('1')::uuid, 1, 1, 1.00, '2022-01-31' FROM generate_series(1, 3) n;
ALTER TABLE payment ATTACH PARTITION payment_p2022_01 FOR VALUES FROM ('2022-01-01 00:00+00') TO ('2022-02-01 00:00+00');
UPDATE payment SET amount = amount + 0.01 WHERE payment_id > 100000;
RESET search_path;
