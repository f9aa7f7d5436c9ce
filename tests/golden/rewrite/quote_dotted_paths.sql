SELECT address.city, o.address.geo.lat FROM orders o;
SELECT "address.city", o."address.geo.lat" FROM orders o;

SELECT address.city FROM orders, (SELECT 1 AS city) address;
SELECT address.city FROM orders, (SELECT 1 AS city) address;

SELECT id FROM orders WHERE address.nosuch = 1;
SELECT id FROM orders WHERE address.nosuch = 1;
