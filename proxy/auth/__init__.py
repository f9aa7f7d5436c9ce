"""Who may come in: host rules, SCRAM-SHA-256, channel binding. Pure; no sockets, no storage."""
