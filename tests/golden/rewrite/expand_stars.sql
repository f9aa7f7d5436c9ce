UPDATE customers SET name = 'x' RETURNING *;
UPDATE customers SET name = 'x' RETURNING "customers"."id", "customers"."name", "customers"."score", "customers"."status";

UPDATE customers SET name = 'x' RETURNING old.*, new.id;
UPDATE customers SET name = 'x' RETURNING "old"."id", "old"."name", "old"."score", "old"."status", new.id;

UPDATE customers SET name = 'x' RETURNING WITH (OLD AS o) o.*;
UPDATE customers SET name = 'x' RETURNING WITH (OLD AS o) "o"."id", "o"."name", "o"."score", "o"."status";

SELECT *, _doc FROM customers c;
SELECT "c"."id", "c"."name", "c"."score", "c"."status", _doc FROM customers c;

SELECT * FROM customers;
SELECT * FROM customers;

SELECT c.*, p.*, c._doc FROM customers c, plain p;
SELECT "c"."id", "c"."name", "c"."score", "c"."status", p.*, c._doc FROM customers c, plain p;
