-- What docs/types.md promises for "Odd name.ndjson" (read by tests/slt/oracle.py).
CREATE TABLE "Odd name" (
    _id text NOT NULL, "Value" bigint, CONSTRAINT "Odd name_pkey" PRIMARY KEY (_id)
);
