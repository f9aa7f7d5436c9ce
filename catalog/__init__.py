"""The model: tables, versions, changes, the snapshot, and its store."""
