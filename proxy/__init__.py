"""The PostgreSQL endpoint: wire protocol, sessions, relay, COPY, composition root, command line."""
