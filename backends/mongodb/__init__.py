"""MongoDB behind the seam, by pymongo's asyncio client (decision 0004)."""
