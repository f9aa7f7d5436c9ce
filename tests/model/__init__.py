"""An explicit-state model of how a change runs beside writers, and its exploration."""
