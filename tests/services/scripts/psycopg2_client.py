"""psycopg2: interpolated literals, server-side cursor, COPY, transactions."""

import io
import sys

import psycopg2

host, port = sys.argv[1], int(sys.argv[2])
connection = psycopg2.connect(host=host, port=port, user="morph", dbname="morph")
with connection, connection.cursor() as cursor:
    cursor.execute("SELECT count(*), sum(total) FROM orders WHERE status = %s", ("delivered",))
    count, total = cursor.fetchone()
    assert count > 1000 and str(total).count(".") == 1, (count, total)
with connection, connection.cursor("named") as cursor:
    cursor.itersize = 100
    cursor.execute("SELECT _id, tags FROM orders ORDER BY _id LIMIT 1000")
    rows = list(cursor)
    assert len(rows) == 1000 and isinstance(rows[0][1], list)
with connection, connection.cursor() as cursor:
    cursor.execute("CREATE TABLE py2 (a int PRIMARY KEY, b text)")
    cursor.copy_expert("COPY py2 FROM STDIN", io.StringIO("1\tx\n2\t\\N\n"))
    cursor.execute("SELECT * FROM py2 ORDER BY a")
    assert cursor.fetchall() == [(1, "x"), (2, None)]
    out = io.StringIO()
    cursor.copy_expert("COPY py2 TO STDOUT WITH CSV", out)
    assert out.getvalue() == "1,x\n2,\n", out.getvalue()
try:
    with connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO py2 VALUES (1, 'again')")
except psycopg2.errors.UniqueViolation as error:
    assert error.diag.constraint_name == "py2_pkey", error.diag.constraint_name
else:
    raise AssertionError("no unique violation")
print("good")
