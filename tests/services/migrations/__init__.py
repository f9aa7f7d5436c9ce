"""Migrations of real projects, run by the tools that run them elsewhere."""
