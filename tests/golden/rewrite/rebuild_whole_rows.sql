UPDATE customers SET name = 'x' RETURNING customers;
UPDATE customers SET name = 'x' RETURNING (CASE WHEN NOT ("customers" IS NULL) THEN ROW("customers"."id", "customers"."name", "customers"."score", "customers"."status")::"v2"."customers" END) AS "customers";

INSERT INTO customers (name) VALUES ('x') RETURNING row_to_json(new), ROW(customers.*, 1);
INSERT INTO customers (name) VALUES ('x') RETURNING row_to_json((CASE WHEN NOT ("new" IS NULL) THEN ROW("new"."id", "new"."name", "new"."score", "new"."status")::"v2"."customers" END)), ROW("customers"."id", "customers"."name", "customers"."score", "customers"."status", 1);

SELECT c, c._doc FROM customers c;
SELECT (CASE WHEN NOT ("c" IS NULL) THEN ROW("c"."id", "c"."name", "c"."score", "c"."status")::"v2"."customers" END) AS "c", c._doc FROM customers c;
