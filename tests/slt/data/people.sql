-- What docs/types.md promises for people.ndjson (read by tests/slt/oracle.py).
CREATE TABLE people (
    _id bigint NOT NULL, name text, age bigint, address jsonb, "address.city" text,
    "address.zip" text, "address.geo" jsonb, "address.geo.lat" double precision,
    "address.geo.lon" double precision, tags text[], scores bigint[], balance numeric,
    active boolean, joined timestamp with time zone, height double precision, ref bigint,
    pets jsonb, nickname text,
    CONSTRAINT people_pkey PRIMARY KEY (_id)
);
-- each pets in _id
CREATE TABLE people_pets (
    people__id bigint NOT NULL, ordinality bigint NOT NULL, name text, kind text, born bigint,
    vet jsonb, "vet.city" text
);
