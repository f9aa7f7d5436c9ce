"""Readers of files of documents: NDJSON, JSON, Extended JSON, CSV and Parquet, compressed or not.

`reader.open_documents` is the way in: it opens, detects and yields batches. One format, one module;
all of them go on after a bad record and report it as a `Reject`.
"""
