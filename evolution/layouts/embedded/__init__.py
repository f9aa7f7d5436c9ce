"""The layouts of the embedded store: log, capture, shadows, backfill and cut-over in PostgreSQL."""
