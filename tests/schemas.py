"""The content of the databases that tests work on, as SQL."""

from __future__ import annotations

SQLITE_FILL = """
BEGIN;
PRAGMA user_version=7;
PRAGMA application_id=4711;
CREATE TABLE customer (id INTEGER PRIMARY KEY, name TEXT NOT NULL, photo BLOB, score REAL,
  name_length INTEGER GENERATED ALWAYS AS (length(name)) STORED);
CREATE TABLE orders (id INTEGER PRIMARY KEY AUTOINCREMENT,
  customer_id INTEGER NOT NULL REFERENCES customer(id), note TEXT);
CREATE INDEX orders_by_customer ON orders(customer_id);
CREATE INDEX orders_noted ON orders(note) WHERE note IS NOT NULL;
CREATE TABLE "Odd ""table"" 100% ü" ("select" INTEGER, "a b" TEXT, "x%y" TEXT);
CREATE TABLE fast (code TEXT, n INTEGER, PRIMARY KEY (code, n)) WITHOUT ROWID;
CREATE TABLE nothing_here (id INTEGER PRIMARY KEY, what TEXT DEFAULT 'x' CHECK (what <> ''));
CREATE TABLE left_hand (n INTEGER);
CREATE TABLE right_hand (n INTEGER);
CREATE TABLE bulk (id INTEGER PRIMARY KEY, pad BLOB);
CREATE TABLE tree (id INTEGER PRIMARY KEY, parent INTEGER REFERENCES tree(id));
CREATE VIEW order_names AS SELECT o.id, c.name FROM orders o JOIN customer c ON c.id = customer_id;
CREATE TRIGGER tidy AFTER INSERT ON orders BEGIN
  UPDATE orders SET note = trim(note) WHERE id = new.id; END;
WITH RECURSIVE g(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM g WHERE i < 50)
INSERT INTO customer (id, name, photo, score)
  SELECT i, 'Customer ' || i || ' ü', CASE WHEN i % 3 THEN randomblob(40) END, i / 3.0 FROM g;
WITH RECURSIVE g(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM g WHERE i < 200)
INSERT INTO orders (customer_id, note) SELECT 1 + i % 50, CASE WHEN i % 4 THEN ' note ' || i END
  FROM g;
INSERT INTO "Odd ""table"" 100% ü" VALUES (1, NULL, ''), (2, 'line' || char(10) || 'end', '%s');
INSERT INTO fast SELECT 'c', id FROM customer;
INSERT INTO tree SELECT id, nullif(id / 2, 0) FROM customer;
WITH RECURSIVE g(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM g WHERE i < {rows})
INSERT INTO bulk SELECT i, randomblob(1000) FROM g;
COMMIT;
"""

SQLITE_DRIFT = """
BEGIN;
UPDATE customer SET name = 'changed' WHERE id % 10 = 0;
DELETE FROM orders WHERE id % 3 = 0;
INSERT INTO orders (customer_id, note) VALUES (1, 'after the backup');
CREATE TABLE added (id INTEGER PRIMARY KEY, customer_id INTEGER REFERENCES customer(id));
INSERT INTO added SELECT id, id FROM customer;
CREATE INDEX added_by_customer ON added(customer_id);
DROP TABLE fast;
DROP VIEW order_names;
ALTER TABLE tree ADD COLUMN colour TEXT DEFAULT 'green';
PRAGMA user_version=8;
COMMIT;
"""

POSTGRESQL_ROLES = """
DO $do$ BEGIN
  IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'ops reader') THEN
    CREATE ROLE "ops reader";
  END IF;
  IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = {name}) THEN
    CREATE ROLE {role} LOGIN {attributes} PASSWORD {password};
  END IF;
END $do$
"""

POSTGRESQL_FILL = """
BEGIN;
CREATE SCHEMA "we ird";
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TABLE customer (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL,
  mood mood DEFAULT 'ok', photo bytea,
  name_length int GENERATED ALWAYS AS (length(name)) STORED);
CREATE TABLE orders (id bigserial PRIMARY KEY, customer_id int NOT NULL REFERENCES customer,
  amount numeric(12, 2), quantity positive DEFAULT 1, note text);
CREATE INDEX orders_by_customer ON orders(customer_id);
CREATE TABLE "we ird"."Odd ""table"" 100% ü" ("select" int, "a b" text, "x%y" text);
CREATE TABLE nothing_here (id int PRIMARY KEY, what text CHECK (what <> ''));
CREATE TABLE left_hand (n int);
CREATE TABLE right_hand (n int);
CREATE TABLE bulk (id int PRIMARY KEY, pad bytea);
CREATE TABLE tree (id int PRIMARY KEY,
  parent int REFERENCES tree DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE egg (id int PRIMARY KEY, hen int);
CREATE TABLE hen (id int PRIMARY KEY, egg int REFERENCES egg);
ALTER TABLE egg ADD FOREIGN KEY (hen) REFERENCES hen DEFERRABLE INITIALLY DEFERRED;
CREATE TABLE event (id bigint, day date NOT NULL, payload jsonb, PRIMARY KEY (id, day))
  PARTITION BY RANGE (day);
CREATE TABLE event_2024 PARTITION OF event FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE event_rest PARTITION OF event DEFAULT;
CREATE INDEX event_payload ON event USING gin (payload);
CREATE SEQUENCE tickets START 1000 INCREMENT 7;
CREATE FUNCTION normal(t text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT lower($1)';
CREATE INDEX customer_normal ON customer (normal(name));
CREATE FUNCTION tidy() RETURNS trigger LANGUAGE plpgsql AS
  $f$ BEGIN NEW.note := trim(NEW.note); RETURN NEW; END $f$;
CREATE TRIGGER tidy BEFORE INSERT OR UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION tidy();
CREATE VIEW order_names AS SELECT o.id, c.name FROM orders o JOIN customer c ON c.id = customer_id;
CREATE RULE keep AS ON DELETE TO tree DO INSTEAD NOTHING;
ALTER TABLE customer ENABLE ROW LEVEL SECURITY;
CREATE POLICY all_rows ON customer USING (true);
INSERT INTO customer (name, mood, photo)
  SELECT 'Customer ' || g || ' ü', (enum_range(NULL::mood))[1 + g % 3],
         CASE WHEN g % 3 > 0 THEN decode(md5(g::text), 'hex') END FROM generate_series(1, 50) g;
INSERT INTO orders (customer_id, amount, note)
  SELECT 1 + g % 50, g * 1.25, CASE WHEN g % 4 > 0 THEN ' note ' || g END
  FROM generate_series(1, 200) g;
INSERT INTO "we ird"."Odd ""table"" 100% ü" VALUES (1, NULL, ''), (2, E'line\\nend\\t\\\\.', '%s');
INSERT INTO tree SELECT g, nullif(g / 2, 0) FROM generate_series(1, 50) g;
INSERT INTO egg VALUES (1, 1);
INSERT INTO hen VALUES (1, 1);
INSERT INTO event SELECT g, date '2024-06-01' + g * 5, jsonb_build_object('g', g)
  FROM generate_series(1, 100) g;
INSERT INTO bulk SELECT g, (SELECT string_agg(decode(md5(g::text || h), 'hex'), '')
  FROM generate_series(1, 62) h) FROM generate_series(1, {rows}) g;
SELECT setval('tickets', 7007);
CREATE MATERIALIZED VIEW moods AS SELECT mood, count(*) AS n FROM customer GROUP BY mood;
CREATE UNIQUE INDEX moods_key ON moods(mood);
SELECT lo_from_bytea(0, decode(repeat(md5(g::text), 500), 'hex')) FROM generate_series(1, 3) g;
GRANT USAGE ON SCHEMA "we ird" TO "ops reader";
GRANT SELECT ON customer, orders TO "ops reader";
GRANT INSERT (note) ON orders TO PUBLIC;
ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO "ops reader";
COMMENT ON TABLE orders IS 'What was ordered: 100% "quoted"';
COMMENT ON COLUMN orders.note IS 'It''s a note';
COMMIT;
"""

POSTGRESQL_DRIFT = """
BEGIN;
UPDATE customer SET name = 'changed' WHERE id % 10 = 0;
DELETE FROM orders WHERE id % 3 = 0;
INSERT INTO orders (customer_id, amount, note) VALUES (1, 9.99, 'after the backup');
CREATE TABLE added (id int PRIMARY KEY, customer_id int REFERENCES customer);
INSERT INTO added SELECT id, id FROM customer;
CREATE VIEW added_orders AS SELECT id, amount FROM orders;
DROP MATERIALIZED VIEW moods;
DROP TABLE "we ird"."Odd ""table"" 100% ü";
ALTER TABLE bulk ADD COLUMN colour text DEFAULT 'green';
ALTER TYPE mood RENAME VALUE 'ok' TO 'fine';
CREATE TABLE event_2025 (LIKE event INCLUDING ALL);
SELECT lo_from_bytea(0, 'a new large object');
SELECT lo_unlink((SELECT min(oid) FROM pg_largeobject_metadata));
SELECT nextval('tickets');
REVOKE SELECT ON customer FROM "ops reader";
COMMIT;
"""
