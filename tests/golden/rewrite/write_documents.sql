UPDATE customers SET name = upper(name), id = id + 1;
UPDATE customers SET id = id + 1, _store_doc = morph_catalog.put("customers"._store_doc, 'name', pg_catalog.to_jsonb(CAST((upper(name)) AS text)));

UPDATE orders SET "address.city" = NULL, created = now();
UPDATE orders SET created = now(), _store_doc = morph_catalog.put_path("orders"._store_doc, ARRAY['address', 'city']::text[], pg_catalog.to_jsonb(CAST((NULL) AS text)));

UPDATE people SET level = DEFAULT;
UPDATE people SET _store_doc = morph_catalog.put("people"._store_doc, 'level', pg_catalog.to_jsonb(CAST((7) AS bigint)));

UPDATE customers c SET (name, score) = (p.v, DEFAULT) FROM plain p;
UPDATE customers c SET _store_doc = morph_catalog.put(morph_catalog.put("c"._store_doc, 'name', pg_catalog.to_jsonb(CAST((p.v) AS text))), 'score', NULL::jsonb) FROM plain p;

UPDATE customers SET (id, name) = (SELECT id, v FROM plain);
UPDATE customers SET (id, _store_doc) = (SELECT "_m0"."_m0_0", morph_catalog.put("customers"._store_doc, 'name', pg_catalog.to_jsonb(CAST(("_m0"."_m0_1") AS text))) FROM (SELECT 1) AS "_m"("_one") LEFT JOIN (SELECT * FROM (SELECT id, v FROM plain) AS "_q" OFFSET 0) AS "_m0"("_m0_0", "_m0_1") ON true);

UPDATE orders SET tags[1] = 'x', meta['a'][0] = '1';
UPDATE orders SET _store_doc = morph_catalog.put(morph_catalog.put("orders"._store_doc, 'tags', morph_catalog.array_json(morph_catalog.assign_element("orders"."tags", CAST(('x') AS text), 1))), 'meta', pg_catalog.to_jsonb(morph_catalog.assign_key("orders"."meta", CAST(('1') AS jsonb), false, ARRAY[CAST(('a') AS text), CAST((0) AS text)])));

UPDATE plain SET v = 'x';
UPDATE plain SET v = 'x';

INSERT INTO customers (id, name) VALUES (1, 'a'), (2, DEFAULT);
INSERT INTO customers ("id", _store_doc) VALUES (1, JSON_OBJECT('name': pg_catalog.to_jsonb(CAST(('a') AS text)) ABSENT ON NULL RETURNING jsonb)), (2, '{}'::jsonb);

INSERT INTO customers AS c VALUES (1) ON CONFLICT (id) DO UPDATE SET name = excluded.name || c.name;
INSERT INTO customers AS c ("id", _store_doc)  VALUES (1, '{}'::jsonb) ON CONFLICT (id) DO UPDATE SET _store_doc = morph_catalog.put("c"._store_doc, 'name', pg_catalog.to_jsonb(CAST((excluded.name || c.name) AS text)));

INSERT INTO customers SELECT id, v FROM plain;
INSERT INTO customers ("id", _store_doc)  SELECT "_s"."id", JSON_OBJECT('name': pg_catalog.to_jsonb(CAST(("_s"."name") AS text)) ABSENT ON NULL RETURNING jsonb) FROM (SELECT id, v FROM plain) AS "_s"("id", "name");

INSERT INTO orders (id) VALUES (1);
INSERT INTO orders ("id", "c24", _store_doc) VALUES (1, NULL, '{}'::jsonb);

INSERT INTO people DEFAULT VALUES;
INSERT INTO people (_store_doc) VALUES (JSON_OBJECT('level': pg_catalog.to_jsonb(CAST((7) AS bigint)) ABSENT ON NULL RETURNING jsonb));

MERGE INTO customers c USING plain p ON c.id = p.id WHEN MATCHED THEN UPDATE SET name = p.v WHEN NOT MATCHED THEN INSERT (id, name) VALUES (p.id, p.v);
MERGE INTO customers c USING plain p ON c.id = p.id WHEN MATCHED THEN UPDATE SET _store_doc = morph_catalog.put("c"._store_doc, 'name', pg_catalog.to_jsonb(CAST((p.v) AS text))) WHEN NOT MATCHED THEN INSERT ("id", _store_doc) VALUES (p.id, JSON_OBJECT('name': pg_catalog.to_jsonb(CAST((p.v) AS text)) ABSENT ON NULL RETURNING jsonb));

UPDATE customers SET _doc = _doc || '{}';
UPDATE customers SET ("id", _store_doc) = (SELECT ("_m0"."_m0_0"->>'id')::bigint, ("_m0"."_m0_0" OPERATOR(pg_catalog.-) ARRAY['id']::text[]) FROM (SELECT 1) AS "_m"("_one") LEFT JOIN (SELECT * FROM (SELECT morph_catalog.fits(CAST((_doc || '{}') AS jsonb), '{"columns": [{"name": "id", "path": ["id"], "type": "bigint"}, {"name": "name", "path": ["name"], "type": "text"}, {"name": "score", "path": ["score"], "type": "double precision"}, {"name": "status", "path": ["status"], "type": "text"}], "children": []}'::jsonb)) AS "_q" OFFSET 0) AS "_m0"("_m0_0") ON true);

INSERT INTO customers (_doc) VALUES ('{}');
INSERT INTO customers ("id", _store_doc) SELECT ("_s"."_d"->>'id')::bigint, (('{}'::jsonb OPERATOR(pg_catalog.||) "_s"."_d") OPERATOR(pg_catalog.-) ARRAY['id']::text[]) FROM (SELECT "_s".*, morph_catalog.fits(CAST(("_s"."_doc") AS jsonb), '{"columns": [{"name": "id", "path": ["id"], "type": "bigint"}, {"name": "name", "path": ["name"], "type": "text"}, {"name": "score", "path": ["score"], "type": "double precision"}, {"name": "status", "path": ["status"], "type": "text"}], "children": []}'::jsonb) AS "_d" FROM (VALUES ('{}')) AS "_s"("_doc") OFFSET 0) AS "_s";

INSERT INTO orders (id, quantity, "address.geo.lat", "address.city", meta) VALUES (1, 2, 3.5, 'x', '{}');
INSERT INTO orders ("id", "c24", _store_doc) VALUES (1, NULL, morph_catalog.put(JSON_OBJECT('qty': pg_catalog.to_jsonb(CAST((2) AS bigint)), 'address': NULLIF(JSON_OBJECT('city': pg_catalog.to_jsonb(CAST(('x') AS text)), 'geo': NULLIF(JSON_OBJECT('lat': pg_catalog.to_jsonb(CAST((3.5) AS double precision)) ABSENT ON NULL RETURNING jsonb), '{}'::jsonb) ABSENT ON NULL RETURNING jsonb), '{}'::jsonb) ABSENT ON NULL RETURNING jsonb), 'meta', pg_catalog.to_jsonb(CAST(('{}') AS jsonb))));

INSERT INTO people (address, "address.city", rate) VALUES (f(), 'x', 1);
INSERT INTO people (_store_doc) VALUES (morph_catalog.fits(morph_catalog.put_path(morph_catalog.put(morph_catalog.put(morph_catalog.put('{}'::jsonb, 'address', pg_catalog.to_jsonb(CAST((f()) AS jsonb))), 'rate', pg_catalog.to_jsonb(CAST((1) AS double precision))), 'level', pg_catalog.to_jsonb(CAST((7) AS bigint))), ARRAY['address', 'city']::text[], pg_catalog.to_jsonb(CAST(('x') AS text))), '{"columns": [{"name": "address.city", "path": ["address", "city"], "type": "text"}, {"name": "address.zip", "path": ["address", "zip"], "type": "bigint"}], "children": []}'::jsonb));

INSERT INTO people (id, address, "address.city") SELECT id, v, v FROM plain;
INSERT INTO people ("id", _store_doc) SELECT "_s"."id", morph_catalog.fits(morph_catalog.put(JSON_OBJECT('level': pg_catalog.to_jsonb(CAST((7) AS bigint)) ABSENT ON NULL RETURNING jsonb), 'address', CASE WHEN NULLIF(pg_catalog.to_jsonb(CAST(("_s"."address") AS jsonb)), 'null'::jsonb) IS NULL THEN coalesce(NULLIF(JSON_OBJECT('city': pg_catalog.to_jsonb(CAST(("_s"."address.city") AS text)) ABSENT ON NULL RETURNING jsonb), '{}'::jsonb), pg_catalog.to_jsonb(CAST(("_s"."address") AS jsonb))) WHEN pg_catalog.jsonb_typeof(pg_catalog.to_jsonb(CAST(("_s"."address") AS jsonb))) = 'object' THEN (pg_catalog.to_jsonb(CAST(("_s"."address") AS jsonb)) OPERATOR(pg_catalog.-) ARRAY['city']::text[]) OPERATOR(pg_catalog.||) (JSON_OBJECT('city': pg_catalog.to_jsonb(CAST(("_s"."address.city") AS text)) ABSENT ON NULL RETURNING jsonb)) ELSE morph_catalog.put_path(pg_catalog.jsonb_build_object('address', pg_catalog.to_jsonb(CAST(("_s"."address") AS jsonb))), ARRAY['address', 'city']::text[], NULL) END), '{"columns": [{"name": "address.city", "path": ["address", "city"], "type": "text"}, {"name": "address.zip", "path": ["address", "zip"], "type": "bigint"}], "children": []}'::jsonb) FROM (SELECT "_s".* FROM (SELECT id, v, v FROM plain) AS "_s"("id", "address", "address.city") OFFSET 0) AS "_s";

INSERT INTO people (address, scores) SELECT v, NULL FROM plain;
INSERT INTO people (_store_doc) SELECT CASE WHEN coalesce(pg_catalog.jsonb_typeof(CAST(("_s"."address") AS jsonb)), 'null') IN ('null', 'object') AND coalesce(pg_catalog.jsonb_typeof(CAST(("_s"."address") AS jsonb) OPERATOR(pg_catalog.->) 'city'), 'null') IN ('null', 'string') AND coalesce(pg_catalog.jsonb_typeof(CAST(("_s"."address") AS jsonb) OPERATOR(pg_catalog.->) 'zip'), 'null') IN ('null') THEN JSON_OBJECT('scores': morph_catalog.array_json(CAST(("_s"."scores") AS bigint[])), 'level': pg_catalog.to_jsonb(CAST((7) AS bigint)) ABSENT ON NULL RETURNING jsonb) OPERATOR(pg_catalog.||) CASE WHEN pg_catalog.to_jsonb(CAST(("_s"."address") AS jsonb)) IS NULL THEN '{}'::jsonb ELSE pg_catalog.jsonb_build_object('address', pg_catalog.to_jsonb(CAST(("_s"."address") AS jsonb))) END ELSE morph_catalog.fits(JSON_OBJECT('scores': morph_catalog.array_json(CAST(("_s"."scores") AS bigint[])), 'level': pg_catalog.to_jsonb(CAST((7) AS bigint)) ABSENT ON NULL RETURNING jsonb) OPERATOR(pg_catalog.||) CASE WHEN pg_catalog.to_jsonb(CAST(("_s"."address") AS jsonb)) IS NULL THEN '{}'::jsonb ELSE pg_catalog.jsonb_build_object('address', pg_catalog.to_jsonb(CAST(("_s"."address") AS jsonb))) END, '{"columns": [{"name": "address.city", "path": ["address", "city"], "type": "text"}, {"name": "address.zip", "path": ["address", "zip"], "type": "bigint"}], "children": []}'::jsonb) END FROM (SELECT "_s".* FROM (SELECT v, NULL FROM plain) AS "_s"("address", "scores") OFFSET 0) AS "_s";

UPDATE prices SET price = price * 2, v = 'x' WHERE id = 1;
UPDATE prices SET v = 'x', "_store_c94" = CAST((price * 2) AS numeric(10,2)), _store_wrote = '{94}'::pg_catalog.int4[] WHERE id = 1;

UPDATE prices p SET (price, code) = (DEFAULT, 'ab');
UPDATE prices p SET "_store_c94" = CAST((1.5) AS numeric(10,2)), "_store_c97" = CAST(('ab') AS character varying), _store_wrote = '{94,97}'::pg_catalog.int4[];

UPDATE prices SET (price, v) = (SELECT n, v FROM plain);
UPDATE prices SET ("_store_c94", v, _store_wrote) = (SELECT CAST(("_m0"."_m0_0") AS numeric(10,2)), "_m0"."_m0_1", '{94}'::pg_catalog.int4[] FROM (SELECT 1) AS "_m"("_one") LEFT JOIN (SELECT * FROM (SELECT n, v FROM plain) AS "_q" OFFSET 0) AS "_m0"("_m0_0", "_m0_1") ON true);

UPDATE prices SET v = 'x';
UPDATE prices SET v = 'x';

UPDATE prices SET _doc = '{}' WHERE price > 1;
UPDATE prices SET ("id", "_store_c94", "_store_c97", "v", _store_doc, _store_wrote) = (SELECT ("_m0"."_m0_0"->>'id')::bigint, CAST((("_m0"."_m0_0"->>'price')::numeric(10,2)) AS numeric(10,2)), CAST((("_m0"."_m0_0"->>'code')::character varying(4)) AS character varying), ("_m0"."_m0_0"->>'v'), ("_m0"."_m0_0" OPERATOR(pg_catalog.-) ARRAY['id', 'price', 'code', 'v']::text[]), '{94,97}'::pg_catalog.int4[] FROM (SELECT 1) AS "_m"("_one") LEFT JOIN (SELECT * FROM (SELECT morph_catalog.fits(CAST(('{}') AS jsonb), '{"columns": [{"name": "id", "path": ["id"], "type": "bigint"}, {"name": "price", "path": ["price"], "type": "numeric(10,2)"}, {"name": "code", "path": ["code"], "type": "character varying(4)"}, {"name": "v", "path": ["v"], "type": "text"}], "children": []}'::jsonb)) AS "_q" OFFSET 0) AS "_m0"("_m0_0") ON true) WHERE price > 1;

INSERT INTO prices VALUES (1, 2.5, 'ab', 'x'), (2, DEFAULT, NULL, 'y');
INSERT INTO prices ("id", "_store_c94", "_store_c97", "v", _store_wrote, _store_doc)  VALUES (1, CAST((2.5) AS numeric(10,2)), CAST(('ab') AS character varying), 'x', '{94,97}'::pg_catalog.int4[], '{}'::jsonb), (2, CAST((1.5) AS numeric(10,2)), CAST((NULL) AS character varying), 'y', '{94,97}'::pg_catalog.int4[], '{}'::jsonb);

INSERT INTO prices (id) VALUES (1);
INSERT INTO prices ("id", "_store_c94", "_store_c97", _store_wrote, _store_doc) VALUES (1, CAST((1.5) AS numeric(10,2)), CAST((NULL) AS character varying), '{94,97}'::pg_catalog.int4[], '{}'::jsonb);

INSERT INTO prices (id, _doc) VALUES (1, '{"code": "ab"}');
INSERT INTO prices ("id", "_store_c94", "_store_c97", "v", _store_wrote, _store_doc) SELECT "_s"."id", CAST((CASE WHEN "_s"."_d" OPERATOR(pg_catalog.?) 'price' THEN ("_s"."_d"->>'price')::numeric(10,2) ELSE 1.5 END) AS numeric(10,2)), CAST((("_s"."_d"->>'code')::character varying(4)) AS character varying), ("_s"."_d"->>'v'), '{94,97}'::pg_catalog.int4[], (('{}'::jsonb OPERATOR(pg_catalog.||) "_s"."_d") OPERATOR(pg_catalog.-) ARRAY['id', 'price', 'code', 'v']::text[]) FROM (SELECT "_s".*, morph_catalog.fits(CAST(("_s"."_doc") AS jsonb), '{"columns": [{"name": "id", "path": ["id"], "type": "bigint"}, {"name": "price", "path": ["price"], "type": "numeric(10,2)"}, {"name": "code", "path": ["code"], "type": "character varying(4)"}, {"name": "v", "path": ["v"], "type": "text"}], "children": []}'::jsonb) AS "_d" FROM (VALUES (1, '{"code": "ab"}')) AS "_s"("id", "_doc") OFFSET 0) AS "_s";

INSERT INTO prices AS p (id, price) SELECT id, n FROM plain ON CONFLICT (id) DO UPDATE SET price = excluded.price + p.price;
INSERT INTO prices AS p ("id", "_store_c94", "_store_c97", _store_wrote, _store_doc) SELECT "_s"."id", CAST(("_s"."price") AS numeric(10,2)), CAST((NULL) AS character varying), '{94,97}'::pg_catalog.int4[], '{}'::jsonb FROM (SELECT id, n FROM plain) AS "_s"("id", "price") ON CONFLICT (id) DO UPDATE SET "_store_c94" = CAST((excluded.price + p.price) AS numeric(10,2)), _store_wrote = '{94}'::pg_catalog.int4[];

MERGE INTO prices p USING plain s ON p.id = s.id WHEN MATCHED THEN UPDATE SET price = s.n WHEN NOT MATCHED THEN INSERT (id, code) VALUES (s.id, s.v);
MERGE INTO prices p USING plain s ON p.id = s.id WHEN MATCHED THEN UPDATE SET "_store_c94" = CAST((s.n) AS numeric(10,2)), _store_wrote = '{94}'::pg_catalog.int4[] WHEN NOT MATCHED THEN INSERT ("id", "_store_c97", "_store_c94", _store_wrote, _store_doc) VALUES (s.id, CAST((s.v) AS character varying), CAST((1.5) AS numeric(10,2)), '{94,97}'::pg_catalog.int4[], '{}'::jsonb);

INSERT INTO prices DEFAULT VALUES;
INSERT INTO prices ("_store_c94", "_store_c97", _store_wrote, _store_doc) VALUES (CAST((1.5) AS numeric(10,2)), CAST((NULL) AS character varying), '{94,97}'::pg_catalog.int4[], '{}'::jsonb);
