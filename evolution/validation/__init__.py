"""Validation: whether two layouts of a table show the same rows (EVOLUTION 8)."""
