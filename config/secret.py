"""A reference to a secret. The secret itself is read when it is used and is never kept or shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from core.errors import ConfigError

SECRET_BYTES_MAX = 64 << 10


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """`env:NAME` or `file:PATH`. `str` and `repr` show nothing of it."""

    scheme: Literal["env", "file"]
    name: str

    def __repr__(self) -> str:
        return "Secret(***)"

    @property
    def reference(self) -> str:
        """The reference as it is written in the file (it names the secret and holds none of it)."""
        return f"{self.scheme}:{self.name}"

    def reveal(self, env: Mapping[str, str]) -> str:
        """The secret's text, without the line end that editors add to a file."""
        if self.scheme == "env":
            value = env.get(self.name)
            if value is None:
                raise ConfigError(f'environment variable "{self.name}" is not set')
            return value
        return _read_secret_file(Path(self.name))


def _read_secret_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(SECRET_BYTES_MAX + 1)
    except OSError as error:
        reason = (error.strerror or "unknown error").lower()
        raise ConfigError(f'could not read secret file "{path}": {reason}') from None
    if len(data) > SECRET_BYTES_MAX:
        raise ConfigError(f'secret file "{path}" is larger than {SECRET_BYTES_MAX} bytes')
    try:
        return data.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise ConfigError(f'secret file "{path}" is not UTF-8 text') from None
