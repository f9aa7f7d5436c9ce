"""Loading the settings: file, environment and flags in, one checked value out.

Used once, by the composition root; everything else gets its section as a value.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from config.build import Build, FlagValue, Origin, suggest
from config.checks import findings
from config.document import Document, read_document
from config.fields import Kind, fields_of
from config.problem import Problem, SettingsError
from config.settings import ENV_PREFIX, SECTIONS, Settings, env_name

# a service called morphgres-server makes Kubernetes set these for every pod
_KUBERNETES = re.compile(r"_(SERVICE_HOST|SERVICE_PORT\w*|PORT_\d+_(TCP|UDP|SCTP)\w*)$")


def load_settings(
    path: Path | None = None,
    env: Mapping[str, str] | None = None,
    flags: Mapping[str, FlagValue] | None = None,
) -> Settings:
    """The settings of this process: flag > environment > file > default.

    `env` is the environment of the process when it is not given; `flags` is keyed by dotted names,
    {"server.port": 5433}. Raises SettingsError with every problem.
    """
    examined = examine(path, os.environ if env is None else env, flags or {})
    if examined.problems:
        raise SettingsError(examined.problems)
    return examined.settings


def check_file(path: Path, env: Mapping[str, str] | None = None) -> list[Problem]:
    """Every problem of a configuration file, in the order of its lines; [] when it is good."""
    return examine(path, os.environ if env is None else env, {}).problems


@dataclass(frozen=True, slots=True)
class Examined:
    """The settings, with defaults in place of what is wrong, and all that is wrong."""

    settings: Settings
    problems: list[Problem]
    build: Build

    def problem(self, key: str, message: str, hint: str = "") -> Problem:
        """A fault that only a look at the world shows, at the place of its key."""
        origin = _origin(self.build, key)
        return Problem(origin.line, origin.column, key, message, hint, origin.source)


def examine(path: Path | None, env: Mapping[str, str], flags: Mapping[str, FlagValue]) -> Examined:
    """Read and check everything that can be checked without connecting anywhere."""
    document = Document("") if path is None else read_document(path)
    base = Path() if path is None else path.parent
    build = Build(document, env, flags, base)
    settings = build.settings()
    for problem in (*_unknown_variables(env, document), *_unknown_flags(flags)):
        build.problems.append(problem)
    hurt = {problem.key for problem in (*document.problems, *build.problems)}
    for finding in findings(settings):
        # what follows from a problem is not told as well; and items with a problem were left out,
        # so the numbers of the rest may have moved
        if finding.other not in hurt and not any(_same_table(finding.key, key) for key in hurt):
            origin = _origin(build, finding.key, finding.other)
            build.complain(origin, finding.key, finding.message, finding.hint)
    problems = sorted({*document.problems, *build.problems}, key=_order)
    return Examined(settings, problems, build)


def _order(problem: Problem) -> tuple[bool, Problem]:
    return (not problem.line, problem)


def _same_table(key: str, other: str) -> bool:
    """Whether both are of one array of tables, or one and the same key."""
    table = key.partition("[")[0]
    return key == other or ("[" in key and other.startswith(f"{table}["))


def _origin(build: Build, *keys: str) -> Origin:
    """The place of the first key that was given, or of the table that holds it."""
    for key in keys:
        while key:
            if key in build.origins:
                return build.origins[key]
            key = key.rpartition(".")[0]
    return Origin(build.document.source or "settings")


def _unknown_variables(env: Mapping[str, str], document: Document) -> Iterator[Problem]:
    """Variables that look like a setting of a section and are none: most likely misspelt."""
    known = [env_name(*setting) for setting in _settings()]
    prefixes = tuple(f"{ENV_PREFIX}_{section}_".upper() for section in SECTIONS)
    referenced = _referenced(document.values)
    for name in env:
        if name in known or not name.startswith(prefixes) or name in referenced:
            continue
        if _KUBERNETES.search(name):
            continue
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
        hint = f'Did you mean "{near[0]}"?' if near else ""
        yield Problem(0, 0, "", "no such setting", hint, f"environment variable {name}")


def _referenced(value: object) -> set[str]:
    """The variables that secrets of the file refer to: they may have any name."""
    if isinstance(value, str):
        return {value[4:]} if value.startswith("env:") else set()
    if isinstance(value, dict):
        return set().union(*map(_referenced, value.values()))
    return set().union(*map(_referenced, value)) if isinstance(value, list) else set()


def _unknown_flags(flags: Mapping[str, FlagValue]) -> Iterator[Problem]:
    known = [".".join(setting) for setting in _settings()]
    for name in flags:
        if name not in known:
            hint = suggest(name, known, section=False)
            yield Problem(0, 0, "", "no such setting", hint, f"flag {name}")


def _settings() -> Iterator[tuple[str, str]]:
    """Section and key of every setting that an environment variable or a flag can give."""
    for section, cls in SECTIONS.items():
        for field in fields_of(cls):
            if field.spec.kind is not Kind.TABLES:
                yield section, field.key
