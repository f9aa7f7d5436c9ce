-- What docs/types.md promises for messy.ndjson (read by tests/slt/oracle.py).
CREATE TABLE messy (
    _id bigint NOT NULL, mix jsonb, num double precision, int_dbl double precision, big bigint,
    huge numeric, dec numeric, "Upper" text, "UPPER" text, "a~1b" text, a jsonb, "quo""te" text,
    "it's" text, "sp ace" text, "unicode ключ" text, "~2" text, "$money" bigint, emoji text,
    deep jsonb, deep2 jsonb, "deep2.l1" jsonb, "deep2.l1.l2" jsonb, "deep2.l1.l2.l3" jsonb,
    "deep2.l1.l2.l3.l4" jsonb, empty_arr jsonb, empty_obj jsonb, mixed_arr jsonb,
    nested_arr jsonb, flags boolean[], floats double precision[], esv text, date_text text,
    "select" text, oid text, obj_or_text jsonb, arr_or_text jsonb, late text,
    "when" timestamp with time zone, nul jsonb, rx jsonb,
    CONSTRAINT messy_pkey PRIMARY KEY (_id)
);
