"""Scripts that run in the clients own environment."""
