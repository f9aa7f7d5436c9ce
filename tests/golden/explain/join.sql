EXPLAIN (VERBOSE, COSTS off) SELECT c.name, o.created_at FROM orders o JOIN customers c ON c._id = o.customer_id WHERE o._id < 10
