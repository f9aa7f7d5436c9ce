"""Apache Cassandra behind the backend seam; only this directory imports cassandra-driver."""
