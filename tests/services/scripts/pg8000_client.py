"""pg8000: unnamed Parse, Flush and Sync in turn, text binds."""

import sys

import pg8000.native

host, port = sys.argv[1], int(sys.argv[2])
connection = pg8000.native.Connection("morph", host=host, port=port, database="morph")
rows = connection.run("SELECT _id, status FROM orders WHERE _id = :id", id=1)
assert rows == [[1, "shipped"]], rows
connection.run("BEGIN")
connection.run("UPDATE orders SET status = :s WHERE _id = :id", s="lost", id=1)
connection.run("ROLLBACK")
assert connection.run("SELECT status FROM orders WHERE _id = 1") == [["shipped"]]
statement = connection.prepare("SELECT :a::int + :b::int")
assert statement.run(a=1, b=2) == [[3]] and statement.run(a=5, b=6) == [[11]]
try:
    connection.run("SELECT nope FROM orders")
except pg8000.native.DatabaseError as error:
    assert error.args[0]["C"] == "42703", error
connection.close()
print("good")
