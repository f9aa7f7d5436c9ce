"""Changes that need data work, from DDL to contraction, through the server."""
