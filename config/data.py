"""Section `data`: where everything durable lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from config.fields import path


@dataclass(frozen=True, slots=True)
class DataSettings:
    """Where everything durable lies."""

    directory: Annotated[
        Path, path("Data directory; it is made when it is missing, and one process may use it.")
    ] = Path(".morphgres")
