"""Layouts: the physical forms of a table while it changes, one package a kind of store."""
