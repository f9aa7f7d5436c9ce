SELECT * FROM orders;
SELECT * FROM "morph_v2".orders;

SELECT o.id FROM orders o, LATERAL (SELECT 1 FROM customers) c;
SELECT o.id FROM "morph_v2".orders o, LATERAL (SELECT 1 FROM "morph_v2".customers) c;

SELECT 1 FROM public.orders, v1.orders AS b, "v2"."orders" c, morph.public.customers;
SELECT 1 FROM "morph_v1".orders, "morph_v1".orders AS b, "morph_v2"."orders" c, "morph_v1".customers;

WITH orders AS (SELECT 1 AS id) SELECT * FROM orders, customers;
WITH orders AS (SELECT 1 AS id) SELECT * FROM orders, "morph_v2".customers;

SELECT 'orders' FROM ONLY orders -- orders;
SELECT 'orders' FROM ONLY "morph_v2".orders -- orders;

SELECT 1 FROM busy, orders_items, pg_class, pg_temp.orders;
SELECT 1 FROM "morph_v1".busy, "morph_v1".orders_items, pg_class, pg_temp.orders;

WITH orders AS (SELECT 1) DELETE FROM orders WHERE id IN (TABLE orders);
WITH orders AS (SELECT 1) DELETE FROM "morph_v2".orders WHERE id IN (TABLE orders);

SELECT id FROM orders FOR UPDATE OF orders;
SELECT id FROM "morph_v2".orders FOR UPDATE OF orders;
