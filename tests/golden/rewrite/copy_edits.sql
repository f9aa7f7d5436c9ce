COPY orders TO STDOUT;
COPY (SELECT "id", "customer_id", "quantity", "price", "status", "address.city", "address.geo.lat", "tags", "meta", "paid", "Odd ""~0~1Name", "created", "amount" FROM "morph_v2"."orders") TO STDOUT;

COPY public.customers (id, name) TO STDOUT WITH (FORMAT csv);
COPY (SELECT "id", "name" FROM "morph_v1"."customers") TO STDOUT WITH (FORMAT csv);

COPY customers (_doc) TO STDOUT;
COPY (SELECT "_doc" FROM "morph_w2"."customers") TO STDOUT;

COPY customers FROM STDIN;
COPY customers FROM STDIN;
