-- What docs/types.md promises for products.ndjson (read by tests/slt/oracle.py).
CREATE TABLE products (
    _id text NOT NULL, name text, price double precision, stock bigint, size jsonb,
    "size.w" bigint, "size.h" double precision, colours text[], uid uuid, blob bytea,
    CONSTRAINT products_pkey PRIMARY KEY (_id)
);
