EXPLAIN (VERBOSE, COSTS off) SELECT created_at, status FROM orders WHERE _id = 5
