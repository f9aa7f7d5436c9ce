"""Section `metrics`: the HTTP endpoint for Prometheus and for probes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from config.fields import address
from config.values import parse_address


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """The HTTP endpoint for Prometheus and for probes."""

    listen: Annotated[
        str,
        address(
            'Address of the endpoint, such as "127.0.0.1:9187"; empty is off. With several workers'
            " each has its own: the port plus the worker's number, from 1."
        ),
    ] = ""

    @property
    def address(self) -> tuple[str, int] | None:
        """Host and port to listen on, or None when it is off."""
        return parse_address(self.listen)
