"""Changes with data work on tables of other stores: the whole story, against real servers."""
