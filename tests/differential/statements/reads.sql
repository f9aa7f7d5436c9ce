SELECT * FROM orders;

SELECT id, "address.city", price*2 AS p FROM orders WHERE qty > 1 ORDER BY id;

SELECT o.id, c.name FROM orders o JOIN customers c ON c.id = o.customer_id;

SELECT * FROM orders JOIN customers USING (status);

SELECT x.status, orders.id FROM orders JOIN customers USING (status) AS x;

SELECT * FROM orders NATURAL JOIN customers;

SELECT * FROM ONLY orders;

SELECT count(*) FROM ONLY (orders);

TABLE orders;

SELECT id FROM orders*;

SELECT id FROM orders * WHERE id=1;

TABLE customers ORDER BY id;

SELECT (orders).id FROM orders;

SELECT orders FROM orders;

SELECT customers FROM customers;

SELECT row_to_json(customers) FROM customers;

SELECT row_to_json(c.*) FROM customers c;

SELECT ROW(customers.*) FROM customers;

SELECT ROW(c.*, 1) FROM customers c;

SELECT (c.*)::text FROM customers c;

SELECT (c).* FROM customers c;

SELECT count(o) FROM orders o;

SELECT public.customers.name FROM public.customers;

SELECT customers.name FROM public.customers;

SELECT morph.public.customers.name FROM morph.public.customers;

SELECT public.customers.* FROM public.customers;

SELECT "public"."customers"."name" FROM "public"."customers";

WITH orders AS (SELECT 1 AS id) SELECT * FROM orders;

WITH a AS (SELECT * FROM orders), orders AS (SELECT 1 AS id) SELECT a.id, orders.id FROM a, orders;

WITH RECURSIVE orders(n) AS (SELECT 1 UNION ALL SELECT n+1 FROM orders WHERE n<3) SELECT * FROM orders;

WITH RECURSIVE t(n) AS (SELECT min(id) FROM orders UNION ALL SELECT o.id FROM orders o JOIN t ON o.id = t.n+1) SELECT * FROM t;

SELECT * FROM (WITH orders AS (SELECT 2 AS z) SELECT * FROM orders) q, orders;

WITH x AS (WITH orders AS (SELECT 1 AS a) SELECT * FROM orders) SELECT * FROM x, orders WHERE orders.id = a;

SELECT status, count(*) FROM orders GROUP BY status HAVING count(*)>1 ORDER BY 1;

SELECT id, qty, status FROM orders GROUP BY id;

SELECT o.id, o.qty FROM orders o GROUP BY o.id ORDER BY o.price;

SELECT o.* FROM orders o GROUP BY o.id;

SELECT o.id, o.qty, count(c.id) FROM orders o LEFT JOIN customers c ON c.id=o.customer_id GROUP BY o.id;

SELECT c.name, count(*) FROM customers c JOIN orders o ON c.id=o.customer_id GROUP BY c.id;

SELECT c.name, o.qty FROM customers c JOIN orders o ON c.id=o.customer_id GROUP BY c.id, o.id;

SELECT id, qty FROM orders GROUP BY (id);

SELECT id, qty FROM orders GROUP BY id, ();

SELECT id, qty, count(*) FROM orders GROUP BY GROUPING SETS ((id, status), (id));

SELECT id, qty, count(*) FROM orders GROUP BY ROLLUP (id);

SELECT id, qty FROM orders GROUP BY 1;

SELECT id AS k, qty FROM orders GROUP BY k;

SELECT id, qty FROM orders GROUP BY DISTINCT id;

SELECT id, qty, row_number() OVER (ORDER BY qty) FROM orders GROUP BY id;

SELECT id, sum(n) OVER w, v FROM plain GROUP BY id WINDOW w AS (ORDER BY v);

SELECT id FROM orders GROUP BY id HAVING max(qty) > 2 AND status = 'paid';

SELECT o.id, (SELECT name FROM customers c WHERE c.id = o.customer_id) FROM orders o GROUP BY o.id;

SELECT id, meta FROM orders GROUP BY id;

SELECT DISTINCT ON (status) status, id FROM orders ORDER BY status, id;

SELECT id FROM orders ORDER BY id FOR UPDATE;

SELECT o.id FROM orders o JOIN customers c ON c.id = o.customer_id FOR UPDATE OF o;

SELECT orders.id FROM orders, customers FOR SHARE OF orders, customers;

SELECT id FROM orders FOR UPDATE OF orders SKIP LOCKED;

SELECT id, sum(qty) OVER w FROM orders WINDOW w AS (PARTITION BY status ORDER BY id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW);

SELECT id FROM orders UNION SELECT id FROM customers EXCEPT SELECT 3 INTERSECT TABLE (SELECT 1);

SELECT id FROM orders UNION SELECT id FROM customers EXCEPT SELECT 3;

VALUES ((SELECT count(*) FROM orders)), (2);

SELECT * FROM (VALUES (1),(2)) v(i) JOIN orders ON id = i;

SELECT o.id, l.t FROM orders o, LATERAL (SELECT unnest(o.tags) t) l;

SELECT o.id, l.* FROM orders o LEFT JOIN LATERAL (SELECT name FROM customers WHERE customers.id = o.customer_id) l ON true;

SELECT id, t, n FROM orders, unnest(tags) WITH ORDINALITY AS u(t, n);

SELECT id, x FROM orders, ROWS FROM (unnest(tags), generate_series(1,2)) AS x;

SELECT id, "Odd ""~0~1Name", "address.geo.lat" FROM orders;

SELECT tags[1], meta->'k', meta['k'][0] FROM orders;

SELECT id FROM orders WHERE 'a' = ANY(tags) AND id IN (SELECT customer_id FROM orders);

SELECT * FROM busy;

SELECT * FROM orders_items JOIN orders ON orders.id = orders_id;

SELECT exists(SELECT FROM orders WHERE id = c.id) FROM customers c;

SELECT jsonb_agg(o ORDER BY id) FROM orders o;

SELECT to_jsonb(c) - 'id' FROM customers c;

SELECT c IS NULL, c IS NOT NULL, c = c FROM customers c;

SELECT o FROM (SELECT id, qty FROM orders) o;

SELECT id AS orders FROM orders ORDER BY orders;

SELECT a.id, b.id FROM orders AS a (id, cu) JOIN orders b ON a.cu = b.customer_id;

SELECT a.cu FROM orders AS a (id, cu) GROUP BY a.id;

SELECT cu, q FROM orders AS a (id, cu, q) GROUP BY a.id;

SELECT count(*) FROM "orders";

SELECT count(*) FROM ORDERS;

SELECT count(*) FROM Orders AS "O" WHERE "O".id=1;

SELECT created AT TIME ZONE 'UTC', note FROM orders /* orders */ -- orders
WHERE note <> 'orders';

SELECT $$orders$$, E'orders\'', id FROM orders;

SELECT max(qty) FILTER (WHERE status='new') FROM orders;

SELECT string_agg(status, ',' ORDER BY id) FROM orders;

SELECT nosuch FROM orders;

SELECT id FROM nosuch;

SELECT orders.id FROM orders o;

SELECT status FROM orders, customers;

SELECT meta FROM orders GROUP BY status;

SELECT amount + 1::bigint, pg_typeof(amount) FROM orders;

MERGE INTO plain USING orders ON plain.id=orders.id WHEN MATCHED THEN UPDATE SET v = orders.status;

SELECT o, o.qty FROM orders o GROUP BY o.id;

SELECT id, status, qty, count(*) FROM orders JOIN plain USING (id) GROUP BY id;

SELECT id, v FROM plain RIGHT JOIN orders USING (id) GROUP BY id;

SELECT qty FROM (orders o JOIN plain p ON p.id = o.id) JOIN customers c ON c.id = o.id GROUP BY o.id HAVING count(*) > 0;

SELECT * FROM (SELECT id, qty FROM orders GROUP BY id) q GROUP BY q.id, q.qty;

SELECT id, percentile_cont(0.5) WITHIN GROUP (ORDER BY qty), status FROM orders GROUP BY id;

SELECT id, qty FROM orders GROUP BY ALL id;

SELECT id, status, GROUPING(status) FROM orders GROUP BY id, ROLLUP(status);

SELECT id, qty FROM orders GROUP BY CUBE(id);

SELECT o.id, o.qty + 1 FROM public.orders o GROUP BY o.id;

SELECT public.orders.qty FROM public.orders GROUP BY public.orders.id;

SELECT DISTINCT ON (qty) id FROM orders GROUP BY id ORDER BY qty, id;
