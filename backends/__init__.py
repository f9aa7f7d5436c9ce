"""Adapters to the stores, one package a store, all behind backends.base.Backend."""
