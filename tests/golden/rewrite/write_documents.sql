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
INSERT INTO customers ("id", _store_doc) VALUES (1, morph_catalog.put('{}'::jsonb, 'name', pg_catalog.to_jsonb(CAST(('a') AS text)))), (2, '{}'::jsonb);

INSERT INTO customers AS c VALUES (1) ON CONFLICT (id) DO UPDATE SET name = excluded.name || c.name;
INSERT INTO customers AS c ("id", _store_doc)  VALUES (1, '{}'::jsonb) ON CONFLICT (id) DO UPDATE SET _store_doc = morph_catalog.put("c"._store_doc, 'name', pg_catalog.to_jsonb(CAST((excluded.name || c.name) AS text)));

INSERT INTO customers SELECT id, v FROM plain;
INSERT INTO customers ("id", _store_doc)  SELECT "_s"."id", morph_catalog.put('{}'::jsonb, 'name', pg_catalog.to_jsonb(CAST(("_s"."name") AS text))) FROM (SELECT id, v FROM plain) AS "_s"("id", "name");

INSERT INTO orders (id) VALUES (1);
INSERT INTO orders ("id", "c24", _store_doc) VALUES (1, NULL, '{}'::jsonb);

INSERT INTO people DEFAULT VALUES;
INSERT INTO people (_store_doc) VALUES (morph_catalog.put('{}'::jsonb, 'level', pg_catalog.to_jsonb(CAST((7) AS bigint))));

MERGE INTO customers c USING plain p ON c.id = p.id WHEN MATCHED THEN UPDATE SET name = p.v WHEN NOT MATCHED THEN INSERT (id, name) VALUES (p.id, p.v);
MERGE INTO customers c USING plain p ON c.id = p.id WHEN MATCHED THEN UPDATE SET _store_doc = morph_catalog.put("c"._store_doc, 'name', pg_catalog.to_jsonb(CAST((p.v) AS text))) WHEN NOT MATCHED THEN INSERT ("id", _store_doc) VALUES (p.id, morph_catalog.put('{}'::jsonb, 'name', pg_catalog.to_jsonb(CAST((p.v) AS text))));

UPDATE customers SET _doc = _doc || '{}';
UPDATE customers SET ("id", _store_doc) = (SELECT ("_m0"."_m0_0"->>'id')::bigint, ("_m0"."_m0_0" OPERATOR(pg_catalog.-) ARRAY['id']::text[]) FROM (SELECT 1) AS "_m"("_one") LEFT JOIN (SELECT * FROM (SELECT morph_catalog.fits(CAST((_doc || '{}') AS jsonb), '{"columns": [{"name": "id", "path": ["id"], "type": "bigint"}, {"name": "name", "path": ["name"], "type": "text"}, {"name": "score", "path": ["score"], "type": "double precision"}, {"name": "status", "path": ["status"], "type": "text"}], "children": []}'::jsonb)) AS "_q" OFFSET 0) AS "_m0"("_m0_0") ON true);

INSERT INTO customers (_doc) VALUES ('{}');
INSERT INTO customers ("id", _store_doc) SELECT ("_s"."_d"->>'id')::bigint, (('{}'::jsonb OPERATOR(pg_catalog.||) "_s"."_d") OPERATOR(pg_catalog.-) ARRAY['id']::text[]) FROM (SELECT "_s".*, morph_catalog.fits(CAST(("_s"."_doc") AS jsonb), '{"columns": [{"name": "id", "path": ["id"], "type": "bigint"}, {"name": "name", "path": ["name"], "type": "text"}, {"name": "score", "path": ["score"], "type": "double precision"}, {"name": "status", "path": ["status"], "type": "text"}], "children": []}'::jsonb) AS "_d" FROM (VALUES ('{}')) AS "_s"("_doc") OFFSET 0) AS "_s";
