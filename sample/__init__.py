"""The sample data set: a shop, generated deterministically."""
