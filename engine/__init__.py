"""The data plane: statement plans, exactness, pushdown split, merge, explain."""
