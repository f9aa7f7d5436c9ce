-- What docs/types.md promises for orders.ndjson (read by tests/slt/oracle.py).
CREATE TABLE orders (
    _id bigint NOT NULL, person_id bigint, status text, total numeric,
    placed timestamp with time zone, lines jsonb, ship jsonb, "ship.via" text, "ship.eta" jsonb,
    "ship.eta.days" bigint,
    CONSTRAINT orders_pkey PRIMARY KEY (_id)
);
-- each lines in _id
CREATE TABLE orders_lines (
    orders__id bigint NOT NULL, ordinality bigint NOT NULL, sku text, qty bigint,
    price double precision
);
