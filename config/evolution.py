"""Section `evolution`: how schema changes begin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from config.fields import choice

DdlMode = Literal["auto", "virtual", "shadow", "direct"]


@dataclass(frozen=True, slots=True)
class EvolutionSettings:
    """How schema changes begin."""

    ddl_mode: Annotated[
        DdlMode,
        choice(
            "Default of morph.ddl_mode: auto publishes what affects nobody and makes a new version"
            " of the rest, virtual and shadow force one form, direct applies and promotes at once.",
            get_args(DdlMode),
        ),
    ] = "auto"
