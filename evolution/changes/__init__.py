"""The life of a change that needs data work: states, records, and the controller that drives it."""
