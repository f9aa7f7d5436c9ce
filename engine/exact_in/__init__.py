"""What each store answers exactly as PostgreSQL does: a module a store, data only."""
