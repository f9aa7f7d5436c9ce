SELECT nextval('orders_id_seq'), pg_catalog.currval('orders_id_seq'), other.nextval('orders_id_seq');
SELECT morph_catalog.nextval('orders_id_seq'), morph_catalog.currval('orders_id_seq'), other.nextval('orders_id_seq');

SELECT setval(pg_get_serial_sequence('"orders"', 'id'), coalesce(max(id), 1), max(id) IS NOT NULL) FROM orders;
SELECT morph_catalog.setval(morph_catalog.pg_get_serial_sequence('"orders"', 'id'), coalesce(max(id), 1), max(id) IS NOT NULL) FROM orders;

CREATE TEMP TABLE t (id bigint DEFAULT nextval('orders_id_seq'));
CREATE TEMP TABLE t (id bigint DEFAULT nextval('orders_id_seq'));
