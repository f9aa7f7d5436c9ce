"""The embedded store: documents in the private PostgreSQL."""
