"""SQL to SQL: which relations a statement touches and how its text is rewritten."""
