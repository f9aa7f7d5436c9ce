"""Benchmarks of changes under load."""
