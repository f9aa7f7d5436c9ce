SELECT public.customers.name FROM public.customers;
SELECT "morph_v1".customers.name FROM public.customers;

SELECT morph.public.customers.* FROM morph.public.customers;
SELECT "morph_v1".customers.* FROM morph.public.customers;

SELECT v2.orders.id FROM orders;
SELECT "morph_v2".orders.id FROM orders;
