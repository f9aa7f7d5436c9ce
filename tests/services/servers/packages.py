"""Packages by name, from the registries this machine is configured for, kept in a cache.

No address of a registry is written here: pip, Maven and apt read their own configuration (files and
environment), so mirrors work as everywhere else. Installing is safe against another test run that
does the same at the same time.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.services.servers.process import ServerFailed

INSTALL_TIMEOUT_S = 900
JAVA_VERSION = 17
JDK_PACKAGE = f"openjdk-{JAVA_VERSION}-jdk-headless"
DEPENDENCY_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"


def cache_root() -> Path:
    """The directory that keeps installed servers and clients between runs."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    root = Path(base) / "morphgres-tests"
    root.mkdir(parents=True, exist_ok=True)
    return root


def cached(name: str, key: str, install: Callable[[Path], None]) -> Path:
    """The directory `name-<digest of key>`, filled by `install` unless it is complete."""
    home = cache_root() / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    with _locked(home.with_suffix(".lock")):
        if not (home / "complete").exists():
            shutil.rmtree(home, ignore_errors=True)
            home.mkdir()
            install(home)
            (home / "complete").touch()
    return home


def python_environment(lock: Path) -> Path:
    """The directory of a Python environment with exactly what `lock` pins (pip, by name)."""

    def install(home: Path) -> None:
        _run([sys.executable, "-m", "venv", "--clear", home])
        _run([home / "bin" / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check",
              "--require-hashes", "-r", lock])  # fmt: skip

    return cached(lock.stem, lock.read_text() + sys.version, install)


def maven_jars(name: str, coordinates: Sequence[str], *, transitive: bool = True) -> Path:
    """The directory of the jars of `group:artifact:version` coordinates and all they need (the
    named ones alone when not `transitive`).
    """

    def install(home: Path) -> None:
        pom = home / "pom.xml"
        pom.write_text(_pom(coordinates))
        _run([_maven(), "-q", "-B", "-f", pom, f"{DEPENDENCY_PLUGIN}:copy-dependencies",
              f"-DexcludeTransitive={str(not transitive).lower()}", "-DincludeScope=runtime",
              f"-DoutputDirectory={home / 'jars'}"])  # fmt: skip

    return cached(name, "\n".join(coordinates), install) / "jars"


def java() -> Path:
    """A Java of JAVA_VERSION that can compile; Debian's package if there is none yet."""
    found = _find_java()
    if found is None:
        debian_package(JDK_PACKAGE)
        found = _find_java()
    if found is None:
        raise ServerFailed(f"no JDK {JAVA_VERSION}: set JAVA_HOME to one")
    return found


def debian_package(name: str) -> None:
    """Install a package of the system by name; ServerFailed where that is not ours to do."""
    command = ["apt-get", "-qq", "-y", "--no-install-recommends", "install", name]
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise ServerFailed(f"the package {name} is needed, install it: {' '.join(command)}")
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    with _locked(cache_root() / "apt.lock"):
        _run(["apt-get", "-qq", "update"], quiet)
        _run(command, quiet)


def _pom(coordinates: Sequence[str]) -> str:
    dependencies = "".join(
        "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version>"
        "</dependency>".format(*one.split(":"))
        for one in coordinates
    )
    return (
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        "<groupId>morphgres.tests</groupId><artifactId>server</artifactId><version>1</version>"
        f"<dependencies>{dependencies}</dependencies></project>"
    )


def _maven() -> str:
    if shutil.which("mvn") is None:
        debian_package("maven")
    return shutil.which("mvn") or "mvn"


def _find_java() -> Path | None:
    homes = [os.environ.get("JAVA_HOME"), *sorted(Path("/usr/lib/jvm").glob(f"*{JAVA_VERSION}*"))]
    candidates = [Path(home) / "bin" / "java" for home in homes if home]
    candidates += [Path(one) for one in [shutil.which("java")] if one]
    return next((java for java in candidates if _is_wanted_jdk(java)), None)


def _is_wanted_jdk(java: Path) -> bool:
    if not java.exists() or not (java.resolve().parent / "javac").exists():
        return False
    text = subprocess.run(
        [java, "-version"], capture_output=True, text=True, timeout=60, check=True
    )
    return re.search(rf'version "{JAVA_VERSION}[."]', text.stderr) is not None


def _run(command: Sequence[str | Path], environment: dict[str, str] | None = None) -> None:
    """Run an installer; ServerFailed with what it wrote when it fails."""
    result = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, **(environment or {})},
        timeout=INSTALL_TIMEOUT_S,
        check=False,
    )
    if result.returncode != 0:
        words = " ".join(str(word) for word in command)
        raise ServerFailed(f"status {result.returncode} of: {words}\n{result.stdout[-4000:]}")


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
