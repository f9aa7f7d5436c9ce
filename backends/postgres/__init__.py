"""PostgreSQL servers as stores, by asyncpg."""
