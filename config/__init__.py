"""Typed settings, checked at start."""
