"""Section `log`: what is written to standard error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from config.fields import choice

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["text", "json"]


@dataclass(frozen=True, slots=True)
class LogSettings:
    """What is written to standard error."""

    level: Annotated[
        LogLevel, choice("Least severe level that is written.", get_args(LogLevel))
    ] = "info"
    format: Annotated[
        LogFormat, choice("One line of key=value text, or one JSON object.", get_args(LogFormat))
    ] = "text"
