"""Which version a name means: search_path and schema qualification against the snapshot."""

from __future__ import annotations

import re
from dataclasses import dataclass

from catalog.model import CatalogSnapshot, Table, Version
from catalog.sqltext import PUBLIC, reserved_schema
from core.errors import ReservedName

_PATH_ITEM = re.compile(r'\s*(?:"((?:[^"]|"")*)"|([^,"]*))\s*(?:,|$)')
_VERSION = re.compile(r"v([1-9][0-9]{0,8})\Z")


def parse_search_path(text: str) -> tuple[str, ...]:
    """The schemas of a search_path setting, as PostgreSQL reports it."""
    names = []
    position = 0
    while position < len(text):
        match = _PATH_ITEM.match(text, position)
        if match is None or match.end() == position:
            break
        quoted, plain = match[1], match[2]
        names.append(quoted.replace('""', '"') if quoted is not None else plain.strip().lower())
        position = match.end()
    return tuple(n for n in names if n)


@dataclass(frozen=True, slots=True)
class Resolved:
    """A store table as a namespace shows it."""

    version: Version
    table: Table
    schema: str


@dataclass(frozen=True, slots=True)
class Namespaces:
    """A snapshot seen through a search_path; `temporary` are names that pg_temp shadows."""

    snapshot: CatalogSnapshot
    search_path: tuple[str, ...]
    temporary: frozenset[str] = frozenset()

    def version_of(self, schema: str) -> Version | None:
        """The version that a schema shows, None for other schemas."""
        if schema == PUBLIC:
            return self.snapshot.versions.get(self.snapshot.current)
        match = _VERSION.match(schema)
        return self.snapshot.versions.get(int(match[1])) if match else None

    def resolve(self, schema: str | None, name: str) -> Resolved | None:
        """The store table that a name means, None when it is not one.

        Raises ReservedName (42939) for schemas that belong to Morphgres.
        """
        if schema is not None:
            if reserved_schema(schema):
                raise ReservedName(
                    f'schema "{schema}" is reserved for Morphgres',
                    hint="Name the table through a version: public, v1, v2, …",
                )
            return self._in_schema(schema, name)
        if name in self.temporary:
            return None
        for candidate in self.search_path:
            found = self._in_schema(candidate, name)
            if found is not None:
                return found
        return None

    def _in_schema(self, schema: str, name: str) -> Resolved | None:
        version = self.version_of(schema)
        table = version.table(name) if version else None
        return Resolved(version, table, schema) if version and table else None

    @property
    def default_version(self) -> Version | None:
        """The first version on the path: what unqualified names of tables mean."""
        for schema in self.search_path:
            version = self.version_of(schema)
            if version is not None:
                return version
        return None

    @property
    def default_schema(self) -> str:
        """The first version schema on the path, `public` when there is none."""
        return next((s for s in self.search_path if self.version_of(s)), PUBLIC)
