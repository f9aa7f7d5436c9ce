"""Layouts of tables in stores that are not ours: MongoDB, Cassandra (decision 0011)."""
