-- A shop that rents out films, as an application would have grown it: partitions, arrays, full text, enums,
-- domains, composites, ranges, views, triggers, and keys of every kind.
CREATE SCHEMA rental;
SET search_path = rental;

CREATE DOMAIN year AS integer CHECK (value BETWEEN 1901 AND 2155);
CREATE DOMAIN email AS text CHECK (value ~ '^[^@]+@[^@]+$');
CREATE TYPE mpaa_rating AS ENUM ('G', 'PG', 'PG-13', 'R', 'NC-17');
CREATE TYPE credit AS (role text, billing int);
CREATE TYPE price_list AS (currency char(3), daily numeric(6, 2), tiers numeric(6, 2)[]);

CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.last_update := '2022-01-01 00:00:00+00'::timestamptz + NEW.version * interval '1 hour';
    NEW.version := NEW.version + 1;
    RETURN NEW;
END $$;

CREATE TABLE language (language_id smallint PRIMARY KEY, name character(20) NOT NULL UNIQUE);
CREATE TABLE category (category_id serial PRIMARY KEY, name varchar(25) NOT NULL, path text[] NOT NULL DEFAULT '{}');
CREATE TABLE actor (
    actor_id serial PRIMARY KEY, first_name text NOT NULL, last_name text NOT NULL,
    version int NOT NULL DEFAULT 0, last_update timestamptz NOT NULL DEFAULT '2022-01-01 00:00:00+00'
);
CREATE TABLE film (
    film_id serial PRIMARY KEY, title text NOT NULL, description text, release_year year,
    language_id smallint NOT NULL REFERENCES language ON UPDATE CASCADE,
    original_language_id smallint REFERENCES language ON UPDATE CASCADE ON DELETE SET NULL,
    rental_duration smallint NOT NULL DEFAULT 3, rental_rate numeric(4, 2) NOT NULL DEFAULT 4.99, length smallint,
    replacement_cost numeric(5, 2) NOT NULL DEFAULT 19.99, rating mpaa_rating DEFAULT 'G', special_features text[],
    cast_list credit[], prices price_list, seasons daterange, screenings tsmultirange, poster bytea, facts jsonb,
    raw json, "aspect ratio" float4, fulltext tsvector NOT NULL,
    projected numeric GENERATED ALWAYS AS (rental_duration * rental_rate) STORED,
    version int NOT NULL DEFAULT 0, last_update timestamptz NOT NULL DEFAULT '2022-01-01 00:00:00+00'
);
CREATE INDEX ON film USING gist (fulltext);
CREATE TABLE film_actor (
    actor_id int REFERENCES actor ON UPDATE CASCADE ON DELETE CASCADE,
    film_id int REFERENCES film ON UPDATE CASCADE ON DELETE CASCADE,
    PRIMARY KEY (actor_id, film_id)
);
CREATE TABLE film_category (
    film_id int REFERENCES film ON DELETE CASCADE, category_id int REFERENCES category ON DELETE RESTRICT,
    PRIMARY KEY (film_id, category_id)
);
CREATE TABLE country (country_id char(2) PRIMARY KEY, country text NOT NULL);
CREATE TABLE city (city_id serial PRIMARY KEY, city text NOT NULL, country_id char(2) NOT NULL REFERENCES country);
CREATE TABLE address (
    address_id serial PRIMARY KEY, address text NOT NULL, address2 text, district text NOT NULL,
    city_id int NOT NULL REFERENCES city, postal_code text, phone text NOT NULL, location point, area polygon
);
CREATE TABLE store (store_id int PRIMARY KEY, manager_staff_id int NOT NULL, address_id int REFERENCES address, hours time[]);
CREATE TABLE staff (
    staff_id int PRIMARY KEY, name text NOT NULL, email email, store_id int NOT NULL REFERENCES store
    DEFERRABLE INITIALLY DEFERRED, active bool NOT NULL DEFAULT true, picture bytea, seen_at inet, badge macaddr, flags bit(8)
);
ALTER TABLE store ADD FOREIGN KEY (manager_staff_id) REFERENCES staff DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE staff ALTER picture SET STORAGE EXTERNAL;
CREATE TABLE customer (
    customer_id uuid PRIMARY KEY, store_id int NOT NULL REFERENCES store, first_name text NOT NULL, last_name text NOT NULL,
    email email, address_id int NOT NULL REFERENCES address, activebool bool NOT NULL DEFAULT true,
    create_date date NOT NULL DEFAULT '2022-02-14', membership interval, balance money NOT NULL DEFAULT 0, settings jsonb
);
CREATE TABLE inventory (inventory_id bigserial PRIMARY KEY, film_id int NOT NULL REFERENCES film ON UPDATE CASCADE, store_id int NOT NULL REFERENCES store);
CREATE TABLE rental (
    rental_id bigserial PRIMARY KEY, inventory_id bigint NOT NULL REFERENCES inventory ON DELETE CASCADE,
    customer_id uuid NOT NULL REFERENCES customer ON DELETE CASCADE, rented tstzrange NOT NULL, staff_id int NOT NULL REFERENCES staff,
    UNIQUE (inventory_id, rented)
);
CREATE TABLE payment (
    payment_id bigserial, customer_id uuid NOT NULL REFERENCES customer ON DELETE CASCADE, staff_id int NOT NULL REFERENCES staff,
    rental_id bigint NOT NULL, amount numeric(5, 2) NOT NULL, payment_date timestamptz NOT NULL, PRIMARY KEY (payment_date, payment_id)
) PARTITION BY RANGE (payment_date);
CREATE TABLE payment_p2022_01 PARTITION OF payment FOR VALUES FROM ('2022-01-01 00:00+00') TO ('2022-02-01 00:00+00');
CREATE TABLE payment_p2022_02 PARTITION OF payment FOR VALUES FROM ('2022-02-01 00:00+00') TO ('2022-03-01 00:00+00')
    PARTITION BY HASH (payment_id);
CREATE TABLE payment_p2022_02_even PARTITION OF payment_p2022_02 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE payment_p2022_02_odd PARTITION OF payment_p2022_02 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE payment_rest PARTITION OF payment DEFAULT;
-- No key at all, and rows that are equal.
CREATE TABLE journal (at timestamp NOT NULL, line text);

CREATE TRIGGER touch BEFORE UPDATE ON actor FOR EACH ROW EXECUTE FUNCTION touch();
CREATE TRIGGER touch BEFORE UPDATE ON film FOR EACH ROW EXECUTE FUNCTION touch();
CREATE TRIGGER fulltext BEFORE INSERT OR UPDATE ON film FOR EACH ROW
    EXECUTE FUNCTION tsvector_update_trigger(fulltext, 'pg_catalog.english', title, description);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO rental.journal VALUES ('2022-01-01', TG_OP || ' ' || TG_TABLE_NAME);
    RETURN NULL;
END $$;
CREATE TRIGGER note AFTER INSERT OR DELETE ON rental FOR EACH ROW EXECUTE FUNCTION note();
CREATE TRIGGER note AFTER TRUNCATE ON film_category FOR EACH STATEMENT EXECUTE FUNCTION note();

CREATE VIEW active_customer AS SELECT * FROM customer WHERE activebool WITH CHECK OPTION;
CREATE VIEW film_list AS
    SELECT f.film_id, f.title, c.name AS category FROM film f LEFT JOIN film_category fc USING (film_id) LEFT JOIN category c USING (category_id);
CREATE FUNCTION categorize() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO rental.film_category SELECT NEW.film_id, category_id FROM rental.category WHERE name = NEW.category
    ON CONFLICT DO NOTHING;
    RETURN NEW;
END $$;
CREATE TRIGGER categorize INSTEAD OF UPDATE ON film_list FOR EACH ROW EXECUTE FUNCTION categorize();
CREATE MATERIALIZED VIEW sales AS SELECT staff_id, sum(amount) FROM payment GROUP BY staff_id;
RESET search_path;
