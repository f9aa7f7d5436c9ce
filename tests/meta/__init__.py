"""Tests of the repository itself: layers, size, names, documentation, deployment files."""
