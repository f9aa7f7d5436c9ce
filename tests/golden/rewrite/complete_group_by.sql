SELECT id, name FROM customers GROUP BY id;
SELECT id, name FROM customers GROUP BY id, "customers"."name";

SELECT c.id, c.*, count(*) FROM customers c, plain p GROUP BY c.id, p.v ORDER BY 1;
SELECT c.id, c.*, count(*) FROM customers c, plain p GROUP BY c.id, p.v, "c"."name", "c"."score", "c"."status" ORDER BY 1;

SELECT id, name FROM customers GROUP BY 1;
SELECT id, name FROM customers GROUP BY 1, "customers"."name";

SELECT id AS k, name FROM customers GROUP BY k LIMIT 1;
SELECT id AS k, name FROM customers GROUP BY k, "customers"."name" LIMIT 1;

SELECT id, name, status FROM customers GROUP BY GROUPING SETS ((id, status), (id));
SELECT id, name, status FROM customers GROUP BY GROUPING SETS ((id, status), (id)), "customers"."name";

SELECT id, name FROM customers GROUP BY ROLLUP (id);
SELECT id, name FROM customers GROUP BY ROLLUP (id);

SELECT id, name, status FROM customers GROUP BY id, ROLLUP (status);
SELECT id, name, status FROM customers GROUP BY id, ROLLUP (status), "customers"."name";

SELECT status FROM customers GROUP BY status;
SELECT status FROM customers GROUP BY status;

SELECT id, name FROM customers JOIN plain USING (id) GROUP BY id;
SELECT id, name FROM customers JOIN plain USING (id) GROUP BY id, "customers"."name";

SELECT o.id, o.address.city, max(address.geo.lat), address.nosuch FROM orders o GROUP BY o.id;
SELECT o.id, o.address.city, max(address.geo.lat), address.nosuch FROM orders o GROUP BY o.id, "o"."address.city", "o"."address.geo.lat";

SELECT orders.address.city FROM public.orders GROUP BY GROUPING SETS ((id), (id, orders.address.city));
SELECT orders.address.city FROM public.orders GROUP BY GROUPING SETS ((id), (id, orders.address.city));
