EXPLAIN (VERBOSE, COSTS off) UPDATE orders SET status = 'x', created_at = now() WHERE _id = 5 RETURNING _id
