"""Reading files of documents in a process of its own, while PostgreSQL takes the rows."""
