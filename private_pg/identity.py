"""Which operating-system user runs the private PostgreSQL.

PostgreSQL refuses to run as root. Started as root, Morphgres gives the server a user of its own:
the one named by the setting, else `morphgres` if it exists, else `nobody`. The server must be able
to walk to its binaries and its data; where a parent directory forbids that (a clone under a 0700
home), both live under a root-owned directory of the system instead.
"""

from __future__ import annotations

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

from core.errors import ConfigError

CANDIDATES = ("morphgres", "nobody")
SYSTEM_HOME = Path("/var/lib/morphgres")


@dataclass(frozen=True, slots=True)
class Identity:
    """The uid and gid of the server process; None = the same as ours (we are not root)."""

    uid: int | None
    gid: int | None

    @property
    def changes_user(self) -> bool:
        """True when the server runs as another user than we do."""
        return self.uid is not None


def choose_identity(run_as: str = "") -> Identity:
    """The identity for the server; ConfigError F0000 if `run_as` names nobody or root."""
    if os.geteuid() != 0:
        return Identity(None, None)
    for name in (run_as,) if run_as else CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid == 0:
            raise ConfigError("the private PostgreSQL cannot run as root")
        return Identity(entry.pw_uid, entry.pw_gid)
    raise ConfigError(
        f"no operating-system user {run_as or ' or '.join(CANDIDATES)} to run PostgreSQL as",
        hint="Name one with private_pg.run_as.",
    )


def reachable(path: Path, identity: Identity) -> bool:
    """True when the identity may walk through every parent of `path`."""
    if not identity.changes_user:
        return True
    for parent in path.resolve().parents:
        try:
            info = parent.stat()
        except FileNotFoundError:
            continue
        allowed = info.st_mode & stat.S_IXOTH
        if info.st_uid == identity.uid:
            allowed = info.st_mode & stat.S_IXUSR
        elif info.st_gid == identity.gid:
            allowed = info.st_mode & stat.S_IXGRP
        if not allowed:
            return False
    return True


def give(path: Path, identity: Identity) -> None:
    """Make `path` the identity's own."""
    if identity.uid is not None and identity.gid is not None:
        os.chown(path, identity.uid, identity.gid)
