"""Sides and reports in the private PostgreSQL."""
