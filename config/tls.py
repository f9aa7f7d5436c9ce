"""Section `tls`: encryption towards clients."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

from config.fields import boolean, choice, path

TlsVersion = Literal["1.2", "1.3"]


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """Encryption towards clients; it is on when a certificate is given."""

    cert: Annotated[
        Path | None, path("Certificate chain in PEM; without it connections are not encrypted.")
    ] = None
    key: Annotated[Path | None, path("Private key of the certificate in PEM, unencrypted.")] = None
    client_ca: Annotated[
        Path | None,
        path("Certificate authorities in PEM that client certificates are checked against."),
    ] = None
    required: Annotated[
        bool, boolean("Refuse connections without TLS, those from this machine included.")
    ] = False
    min_version: Annotated[TlsVersion, choice("Lowest protocol version.", get_args(TlsVersion))] = (
        "1.2"
    )
