"""From raw values to typed sections, with every problem noted at its place.

A setting has up to three sources. All of them are checked, so that a fault in the file shows even
where a flag hides it; the strongest wins: flag > environment > file > default.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from config.document import Document, dotted
from config.fields import Field, Kind, Spec, fields_of
from config.problem import Problem
from config.scan import KeyPath
from config.secret import Secret
from config.settings import SECTIONS, Settings, env_name
from config.values import BadValue, parse_value
from core.errors import ConfigError

FlagValue = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the winning value of a setting came from; line 0 = not from the file."""

    source: str
    line: int = 0
    column: int = 0


@dataclass(frozen=True, slots=True)
class Raw:
    """One source's value of a setting before it is parsed."""

    value: object
    origin: Origin
    base: Path
    from_text: bool = False


@dataclass(slots=True)
class Build:
    """The state of one pass: what came in, and the problems and origins found."""

    document: Document
    env: Mapping[str, str]
    flags: Mapping[str, FlagValue]
    file_base: Path
    problems: list[Problem] = field(default_factory=list)
    origins: dict[str, Origin] = field(default_factory=dict)

    def settings(self) -> Settings:
        """All sections, with the default wherever a value has a problem."""
        tops = fields_of(Settings)
        values = self._checked_table(self.document.values, (), [*SECTIONS, *(f.key for f in tops)])
        parts: dict[str, Any] = {
            name: self._section(name, cls, values.get(name, {})) for name, cls in SECTIONS.items()
        }
        for top in tops:
            parts[top.name] = self._tables(top, (top.key,), values)
        return Settings(**parts)

    def complain(self, origin: Origin, key: str, message: str, hint: str = "") -> None:
        """Note a problem."""
        self.problems.append(Problem(origin.line, origin.column, key, message, hint, origin.source))

    def _section(self, name: str, section: type, table: object) -> Any:
        fields = fields_of(section)
        values = self._checked_table(table, (name,), [f.key for f in fields])
        given: dict[str, Any] = {}
        for spec in fields:
            path: KeyPath = (name, spec.key)
            if spec.spec.kind is Kind.TABLES:
                given[spec.name] = self._tables(spec, path, values)
                continue
            parsed = [self._parse(spec, path, raw) for raw in self._sources(path, values)]
            good = [value for ok, value in parsed if ok]
            given[spec.name] = good[-1] if good else spec.default
        return section(**given)

    def _sources(self, path: KeyPath, values: Mapping[str, Any]) -> Iterable[Raw]:
        """The raw values of a setting, the strongest last."""
        section, key = str(path[0]), str(path[1])
        if key in values:
            yield Raw(values[key], self.origin(path), self.file_base)
        variable = env_name(section, key)
        if variable in self.env:
            origin = Origin(f"environment variable {variable}")
            yield Raw(self.env[variable], origin, Path(), from_text=True)
        flag = f"{section}.{key}"
        if flag in self.flags:
            value = self.flags[flag]
            yield Raw(value, Origin(f"flag {flag}"), Path(), from_text=isinstance(value, str))

    def origin(self, path: KeyPath) -> Origin:
        """The place of a key in the file."""
        return Origin(self.document.source, *self.document.place(path))

    def _parse(self, spec: Field, path: KeyPath, raw: Raw) -> tuple[bool, object]:
        key = dotted(path)
        try:
            value = parse_value(spec.spec, raw.value, raw.base, from_text=raw.from_text)
        except BadValue as error:
            self.complain(raw.origin, key, str(error), error.hint)
            return False, None
        self.origins[key] = raw.origin
        if isinstance(value, Secret):
            self._check_secret(value, raw.origin, key)
        return True, value

    def _check_secret(self, secret: Secret, origin: Origin, key: str) -> None:
        try:
            revealed = secret.reveal(self.env)
        except ConfigError as error:
            self.complain(origin, key, error.primary)
            return
        if not revealed:
            self.complain(origin, key, f'secret "{secret.reference}" is empty')

    def _tables(self, spec: Field, path: KeyPath, values: Mapping[str, Any]) -> tuple[Any, ...]:
        if spec.key not in values:
            return tuple(spec.default)
        items = values[spec.key]
        if not isinstance(items, list) or any(not isinstance(item, dict) for item in items):
            self.complain(
                self.origin(path),
                dotted(path),
                "must be an array of tables",
                f"Begin each one with [[{'.'.join(map(str, path))}]].",
            )
            return tuple(spec.default)
        if len(items) > (spec.spec.high or 0):
            message = f"has {len(items)} entries, more than the {spec.spec.high} allowed"
            self.complain(self.origin(path), dotted(path), message)
            return tuple(spec.default)
        built = [self._item(spec.spec, (*path, n), item) for n, item in enumerate(items)]
        return tuple(item for item in built if item is not None)

    def _item(self, spec: Spec, path: KeyPath, item: Mapping[str, Any]) -> Any:
        assert spec.item is not None
        fields = fields_of(spec.item)
        values = self._checked_table(item, path, [f.key for f in fields])
        self.origins[dotted(path)] = self.origin(path)
        given: dict[str, Any] = {}
        complete = True
        for found in fields:
            inner: KeyPath = (*path, found.key)
            ok, value = not found.required, found.default
            if found.key in values:
                raw = Raw(values[found.key], self.origin(inner), self.file_base)
                ok, value = self._parse(found, inner, raw)
            elif found.required:
                self.complain(self.origin(path), dotted(path), f'has no "{found.key}"')
            complete = complete and ok
            given[found.name] = value
        return spec.item(**given) if complete else None

    def _checked_table(self, table: object, path: KeyPath, known: list[str]) -> Mapping[str, Any]:
        if not isinstance(table, dict):
            name = dotted(path)
            hint = f"Write [{name}] on a line of its own, and its settings below."
            self.complain(self.origin(path), name, "must be a table", hint)
            return {}
        for key in table:
            if key not in known:
                where = (*path, key)
                hint = suggest(key, known, section=len(path) > 0)
                self.complain(self.origin(where), dotted(where), "unknown key", hint)
        return table


def suggest(key: str, known: list[str], *, section: bool) -> str:
    """A hint for a key that does not exist: a near name here, or the section that has it."""
    plain = key.strip().lower().replace("-", "_")
    near = difflib.get_close_matches(plain, known, n=1, cutoff=0.6)
    if near and (near[0] == plain or plain not in _owners()):
        return f'Did you mean "{near[0]}"?'
    owners = _owners().get(plain)
    if owners:
        return f"It belongs in [{owners[0]}]."
    if near:
        return f'Did you mean "{near[0]}"?'
    return f"Known keys: {', '.join(known)}." if section else ""


def _owners() -> dict[str, list[str]]:
    owners: dict[str, list[str]] = {}
    for name, cls in SECTIONS.items():
        for spec in fields_of(cls):
            owners.setdefault(spec.key, []).append(name)
    return owners
