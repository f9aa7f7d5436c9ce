EXPLAIN (VERBOSE, COSTS off) SELECT c._id, c.name, count(*) FROM customers c GROUP BY c._id
