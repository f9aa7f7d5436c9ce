"""The private PostgreSQL: binaries, initdb, supervision, connections."""
