DO 'BEGIN PERFORM id FROM customers; END';
DO $m0$BEGIN PERFORM id FROM "morph_v2".customers; END$m0$;

CREATE FUNCTION f() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM customers';
CREATE FUNCTION f() RETURNS bigint LANGUAGE sql AS $m0$SELECT count(*) FROM "morph_v2".customers$m0$;

DO $$ DECLARE r record; BEGIN FOR r IN SELECT * FROM customers LOOP RAISE NOTICE 'SELECT * FROM customers'; END LOOP; SELECT id INTO STRICT r FROM customers; END $$;
DO $m0$ DECLARE r record; BEGIN FOR r IN SELECT * FROM "morph_v2".customers LOOP RAISE NOTICE 'SELECT * FROM customers'; END LOOP; SELECT id INTO STRICT r FROM "morph_v2".customers; END $m0$;

DO $$ BEGIN EXECUTE 'SELECT id FROM customers'; END $$;
DO $$ BEGIN EXECUTE 'SELECT id FROM customers'; END $$;
