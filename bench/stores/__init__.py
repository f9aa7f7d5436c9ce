"""Benchmarks of statements over other stores, each against the store's driver doing the same."""
