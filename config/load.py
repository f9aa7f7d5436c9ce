"""Section `load`: reading files of documents into tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from config.fields import KB, MB, integer, size, text


@dataclass(frozen=True, slots=True)
class LoadSettings:
    """Reading files of documents into tables."""

    batch_docs: Annotated[
        int, integer("Documents in one batch.", 1, 1_000_000, unit="documents")
    ] = 1000
    max_document_bytes: Annotated[
        int, size("Longest document; a longer one goes to the rejects.", KB, 256 * MB)
    ] = 16 * MB
    max_depth: Annotated[
        int, integer("Deepest nesting of a document; a deeper one goes to the rejects.", 1, 1000)
    ] = 100
    max_columns: Annotated[
        int,
        integer("Fields of a table that become columns; more stay in the document.", 1, 1500),
    ] = 1000
    rejects_suffix: Annotated[
        str, text("Ending of the name of the table that takes what could not be loaded.")
    ] = "_rejects"
