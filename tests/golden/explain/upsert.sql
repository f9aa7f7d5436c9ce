EXPLAIN (VERBOSE, COSTS off) INSERT INTO books (id, title) VALUES (1, 'a') ON CONFLICT (id) DO UPDATE SET title = excluded.title
