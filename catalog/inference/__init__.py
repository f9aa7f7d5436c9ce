"""Inference: from documents to columns. Pure; the rules are stated in docs/types.md.

`Observer` counts, `merge` joins counts of parts, `infer_table` decides, `widen` judges what a later
load brings.
"""
