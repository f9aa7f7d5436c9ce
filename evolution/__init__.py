"""The control plane: changes, versions, generators, promotion and rollback."""
