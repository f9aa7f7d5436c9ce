INSERT INTO orders (id, qty) VALUES (10, 3);

INSERT INTO orders (id, qty) VALUES (10, 3) RETURNING *;

INSERT INTO orders VALUES (10, 1, 2, 3.50, 's', 'c', 1.5, '{x,y}', '{"a":1}', true, 'odd', '2020-01-01', 'n', 5) RETURNING id, qty, tags, amount;

INSERT INTO orders VALUES (10, 1), (11, 2);

INSERT INTO orders DEFAULT VALUES;

INSERT INTO plain DEFAULT VALUES;

INSERT INTO orders AS o (id, "address.city", "address.geo.lat") VALUES (10, 'X', 1) RETURNING o.id, o."address.city";

INSERT INTO orders (id, address.city) VALUES (10, 'X');

INSERT INTO orders (id, note, qty) VALUES (10, DEFAULT, DEFAULT), (11, 'x', NULL);

INSERT INTO orders (id, qty) VALUES ('12', '5');

INSERT INTO orders (id, qty) VALUES (12, 1.5);

INSERT INTO orders (id, qty) VALUES (12, '1.5');

INSERT INTO orders (id, qty) VALUES (12, true);

INSERT INTO orders (id, qty) VALUES (12, 99999999999999999999);

INSERT INTO orders (id, amount) VALUES (12, 1);

INSERT INTO orders (id, created, amount) VALUES (12, '2020-01-01 00:00+02', 3), (13, DEFAULT, DEFAULT) RETURNING created, amount;

INSERT INTO orders SELECT * FROM orders WHERE false;

INSERT INTO orders SELECT id+100, customer_id, qty FROM orders;

INSERT INTO orders (id, qty) SELECT id+100, count(*) FROM customers GROUP BY id ON CONFLICT DO NOTHING;

INSERT INTO orders TABLE orders;

INSERT INTO customers TABLE customers ON CONFLICT (id) DO NOTHING;

INSERT INTO customers SELECT id+100, v FROM plain;

INSERT INTO customers WITH x AS (SELECT id+100 AS i, v FROM plain) SELECT i, v FROM x;

INSERT INTO customers WITH x AS (SELECT id+100 AS i, v FROM plain) SELECT * FROM x;

WITH x AS (SELECT id+100 AS i, v FROM plain) INSERT INTO customers SELECT * FROM x RETURNING *;

WITH x(i, n) AS (VALUES (10, 'a'), (11, NULL)) INSERT INTO customers (id, name) SELECT * FROM x;

INSERT INTO customers (id, name) (SELECT id+100, v FROM plain);

INSERT INTO customers (id, name) (VALUES (10, 'a'), (11, 'b'));

INSERT INTO customers (id, name) VALUES (10, 'a'), (11, 'b') ORDER BY 1 LIMIT 1;

INSERT INTO customers (id, name) SELECT id+100, v FROM plain ORDER BY id LIMIT 2 RETURNING id;

INSERT INTO customers (id, name) SELECT 10, 'a' UNION ALL SELECT 11, 'b';

INSERT INTO customers SELECT 10, 'a' UNION ALL SELECT 11, 'b';

INSERT INTO customers VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET name = excluded.name || '!' RETURNING *;

INSERT INTO customers AS c VALUES (1, 'x', 2.5) ON CONFLICT (id) DO UPDATE SET name = c.name || excluded.name, score = excluded.score + 1 WHERE c.status = 'gold' RETURNING c.*;

INSERT INTO customers VALUES (1, 'x') ON CONFLICT ON CONSTRAINT customers_pkey DO UPDATE SET status = excluded.status, score = DEFAULT;

INSERT INTO customers VALUES (1, 'x') ON CONFLICT DO NOTHING RETURNING id;

INSERT INTO customers VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET (name, score) = (excluded.name, 3);

INSERT INTO customers VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET (name, score) = (SELECT v, n FROM plain WHERE id = 1);

INSERT INTO customers (id, name) SELECT p.id, p.v FROM plain p JOIN customers c ON c.id = p.id ON CONFLICT (id) DO UPDATE SET name = excluded.name;

INSERT INTO customers VALUES (1, 'x');

INSERT INTO customers (name) VALUES ('x');

INSERT INTO customers VALUES (10, 'x', 1, 's', 9);

INSERT INTO customers (id, nosuch) VALUES (10, 'x');

INSERT INTO customers (id, name, name) VALUES (10, 'x', 'y');

INSERT INTO customers (id, name) VALUES (10);

INSERT INTO customers (id) VALUES (10, 'x');

INSERT INTO customers (id, score) VALUES (10, 'NaN'), (11, 'Infinity'), (12, '-Infinity'), (13, 1e-300), (14, 0.1::float4);

INSERT INTO orders (id, price) VALUES (10, 'NaN'), (11, 1.000), (12, 1e-20), (13, 12345678901234567890.12345);

INSERT INTO orders (id, qty) VALUES (10, -9223372036854775808), (11, 9223372036854775807);

INSERT INTO orders (id, tags) VALUES (10, '{}'), (11, '{NULL,"a,b","\"q\""}'), (12, NULL), (13, ARRAY['x']::varchar[]);

INSERT INTO orders (id, meta) VALUES (10, '[]'), (11, '{}'), (12, '"s"'), (13, NULL), (14, '{"a": null}');

INSERT INTO orders (id, "Odd ""~0~1Name") VALUES (10, 'x') RETURNING "Odd ""~0~1Name";

INSERT INTO orders (id, tags[1]) VALUES (10, 'a');

INSERT INTO orders (id, status) VALUES (10, E'it''s \\ \n'), (11, $$d'q$$), (12, U&'\0441');

INSERT INTO orders (id, status, paid) VALUES (10, '', 'yes'), (11, 'x'::varchar(5), NULL);

INSERT INTO orders (id, status) VALUES (10, (SELECT name FROM customers WHERE id = 1));

INSERT INTO orders (id, status) VALUES (10, 'a') RETURNING old.id, new.status, old.status IS NULL, (SELECT count(*) FROM customers);

INSERT INTO orders (id, status) VALUES (1, 'a') ON CONFLICT (id) DO UPDATE SET status = 'b' RETURNING old.status, new.status;

INSERT INTO orders (id, status) VALUES (1, 'a') ON CONFLICT (id) DO UPDATE SET status = 'b' RETURNING WITH (OLD AS o, NEW AS n) o.status, n.status, n.id;

INSERT INTO customers OVERRIDING USER VALUE VALUES (10, 'x');

INSERT INTO customers (id, name) OVERRIDING SYSTEM VALUE SELECT 10, 'x';

INSERT INTO public.customers (id, name) VALUES (10, 'x') RETURNING public.customers.id;

INSERT INTO customers (id, name) VALUES (10, 'x') RETURNING customers.*, customers;

INSERT INTO customers (id, name) VALUES (10, 'x') RETURNING row_to_json(customers);

UPDATE orders SET qty = 1;

UPDATE orders SET qty = qty + 1, status = upper(status), note = note || '!' WHERE id < 3 RETURNING id, qty, status, note;

UPDATE orders o SET qty = o.qty * 2 WHERE o.id = 2 RETURNING o.*;

UPDATE orders AS o SET qty = 5, "address.city" = NULL, "address.geo.lat" = 1.5;

UPDATE orders SET address.city = 'Rome' WHERE id = 3;

UPDATE orders SET qty = DEFAULT, note = DEFAULT, amount = DEFAULT;

UPDATE orders SET (qty, status) = (1, 'x');

UPDATE orders SET (qty, status) = ROW(1, DEFAULT), price = 3;

UPDATE orders SET (qty, note, status) = (SELECT id, v, v FROM plain p WHERE p.id = orders.id);

UPDATE orders SET (amount, qty) = (SELECT 5, 6);

UPDATE orders SET (note, created) = (SELECT 'z', now()), qty = 1 WHERE false;

UPDATE orders SET (qty) = (7);

UPDATE orders SET (qty) = ROW(7);

UPDATE orders SET (qty, status) = (SELECT 1, 'a'), (price, paid) = (SELECT 1.5, true);

UPDATE orders SET qty = c.score::bigint, status = c.name FROM customers c WHERE c.id = customer_id AND c.score <> 'NaN';

UPDATE orders SET status = x.name FROM (SELECT * FROM customers) x WHERE x.id = orders.customer_id RETURNING orders.id, x.name;

UPDATE orders SET status = c.name FROM customers c WHERE c.id = customer_id RETURNING *;

UPDATE orders SET qty = (SELECT max(qty) FROM orders) WHERE qty IS NULL;

UPDATE orders SET amount = amount + 1;

UPDATE orders SET amount = 30 WHERE id = 1 RETURNING amount, pg_typeof(amount);

UPDATE orders SET id = id + 100 WHERE id > 2 RETURNING id;

UPDATE orders SET id = 1 WHERE id = 2;

UPDATE orders SET id = NULL WHERE id = 2;

UPDATE orders SET tags = tags || 'z' || NULL, meta = meta || '{"z": 1}';

UPDATE orders SET tags[1] = 'q' WHERE id = 1;

UPDATE orders SET tags[5] = 'q' WHERE id = 1;

UPDATE orders SET tags[1:2] = '{m,n}' WHERE id = 1;

UPDATE orders SET meta['city'] = '"x"';

UPDATE orders SET meta['k'][1] = '5', qty = 1 WHERE id = 1;

UPDATE orders SET meta['a'] = '1', meta['b'] = '2' WHERE id = 1;

UPDATE orders SET meta['k'][5] = '"x"' WHERE id = 1 RETURNING meta;

UPDATE orders SET meta['k']['x'] = '5' WHERE id = 1;

UPDATE orders SET qty = 1, qty = 2;

UPDATE orders SET nosuch = 2;

UPDATE orders SET qty = 'x';

UPDATE orders SET qty = now();

UPDATE orders SET qty = 2.5;

UPDATE orders SET qty = 3.5 WHERE id = 1 RETURNING qty, pg_typeof(qty);

UPDATE orders SET price = 1/3.0, status = 12;

UPDATE orders SET status = 'a' RETURNING old.status, new.status, old.id;

UPDATE orders SET status = 'a', qty = 0 RETURNING old, new;

UPDATE orders SET status = 'a' RETURNING old.*, new.qty;

UPDATE orders SET status = 'a' RETURNING WITH (OLD AS o) o.status, status;

UPDATE ONLY orders SET qty = 3;

UPDATE orders * SET qty = 3;

UPDATE public.orders SET qty = public.orders.qty + 1;

UPDATE orders SET qty = CASE WHEN qty > 2 THEN 1 ELSE qty END, status = (SELECT CASE WHEN true THEN 'a' END);

UPDATE orders SET paid = status IS DISTINCT FROM 'new', qty = extract(day FROM created);

UPDATE orders SET status = substring(status FROM 1 FOR 2), note = trim(both 'n' from note) WHERE id = 1;

UPDATE orders SET created = created + interval '1 day', qty = 1;

WITH x AS (SELECT 1 AS i) UPDATE orders SET qty = i FROM x WHERE id = i;

WITH u AS (UPDATE orders SET qty = 9 WHERE id = 1 RETURNING id, qty) SELECT * FROM u;

WITH u AS (UPDATE orders SET qty = 9 WHERE id = 1 RETURNING *), i AS (INSERT INTO customers (id, name) SELECT id + 200, status FROM u RETURNING *) SELECT u.qty, i.name FROM u, i;

WITH d AS (DELETE FROM orders WHERE id = 1 RETURNING *) INSERT INTO customers (id, name) SELECT id + 50, status FROM d;

WITH orders AS (SELECT 1 AS id) UPDATE orders SET qty = 1 WHERE orders.id IN (SELECT id FROM orders);

WITH customers AS (SELECT 1 AS id) INSERT INTO customers (id, name) SELECT id + 10, 'x' FROM customers;

DELETE FROM orders WHERE qty > 2 RETURNING id, status;

DELETE FROM orders o USING customers c WHERE c.id = o.customer_id AND c.name = 'Bob' RETURNING o.id, c.*;

DELETE FROM orders RETURNING *;

DELETE FROM orders WHERE id = 1 RETURNING old.qty, new.qty;

DELETE FROM ONLY orders WHERE id = 1;

DELETE FROM public.orders WHERE orders.id = 1;

MERGE INTO customers c USING plain p ON c.id = p.id WHEN MATCHED THEN UPDATE SET name = p.v, score = 2 WHEN NOT MATCHED THEN INSERT (id, name) VALUES (p.id, p.v);

MERGE INTO customers AS c USING (SELECT * FROM plain) p ON c.id = p.id WHEN MATCHED AND c.score > 1 THEN DELETE WHEN MATCHED THEN DO NOTHING WHEN NOT MATCHED THEN INSERT VALUES (p.id, p.v || 'x', p.n) RETURNING merge_action(), c.*, p.id;

MERGE INTO customers c USING plain p ON c.id = p.id WHEN NOT MATCHED BY SOURCE THEN UPDATE SET name = 'gone' WHEN NOT MATCHED THEN INSERT (id, status) VALUES (p.id, DEFAULT) WHEN MATCHED THEN UPDATE SET (name, score) = (p.v, p.n);

MERGE INTO customers USING plain ON customers.id = plain.id WHEN NOT MATCHED THEN INSERT (name, id) OVERRIDING SYSTEM VALUE VALUES (v, plain.id) RETURNING old.name, new.name;

MERGE INTO customers USING plain ON customers.id = plain.id WHEN NOT MATCHED THEN INSERT DEFAULT VALUES;

MERGE INTO customers USING plain ON customers.id = plain.id WHEN MATCHED THEN UPDATE SET name = DEFAULT, id = customers.id WHEN MATCHED THEN DELETE RETURNING *;

WITH m AS (MERGE INTO customers c USING plain p ON c.id = p.id WHEN MATCHED THEN UPDATE SET name = 'm' RETURNING c.id, c.name) SELECT * FROM m;

SELECT id FROM orders WHERE id IN (1,2,3) FOR NO KEY UPDATE;

INSERT INTO plain (id) SELECT id + 10 FROM orders;

UPDATE plain SET v = o.status FROM orders o WHERE o.id = plain.id;

DELETE FROM plain USING orders WHERE orders.id = plain.id AND orders.qty = 2;

UPDATE orders SET meta = '{"a": {"b": null}}', qty = NULL;

UPDATE orders SET meta = NULL, tags = ARRAY[NULL]::text[];

UPDATE orders SET created = 'infinity';

UPDATE orders SET created = '0044-03-15 BC';

INSERT INTO orders (id, status) SELECT 10, 'ON CONFLICT' ON CONFLICT DO NOTHING;

INSERT INTO orders (id, status) SELECT o.id + 10, 'x' FROM orders o JOIN customers c ON (c.id = o.id) ON CONFLICT (id) DO NOTHING RETURNING id;
