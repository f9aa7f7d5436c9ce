"""Errors of the private PostgreSQL in the client's terms: positions of its own text, its names.

Store tables are called t<id> and their columns c<id> (decision 0001); where PostgreSQL names them
(constraint violations above all), the names of the session's version are put back.
"""

from __future__ import annotations

import re
from dataclasses import replace

from catalog.model import (
    CatalogSnapshot,
    Column,
    Constraint,
    Index,
    Lensed,
    Stored,
    Table,
    Version,
)
from catalog.sqltext import STORE_SCHEMA
from core.errors import CrashShutdown, FeatureNotSupported
from engine.plans import Plan, PlanCache, explain_position
from evolution.history import column_hint, table_hint
from proxy.protocol.framing import HEADER_BYTES
from proxy.protocol.reports import decode_report, encode_error

INTERNAL_SCHEMA = "morph_catalog."
_TOLD = (b"42501", b"42703", b"42P01", b"has no handler", INTERNAL_SCHEMA.encode())
_STORE_NAMES = re.compile(r'"(t\d+(?:s\d+)*|c\d+)"')
_KEY_COLUMNS = re.compile(r"^Key \(([^)]*)\)")
_FAILING_ROW = "Failing row contains ("
_RESERVED = re.compile(r'"?morph_[vw](\d+)"?\.')
# Where an entry of CONTEXT begins; the text of a statement in it may have lines of its own.
_CONTEXT = re.compile(r"^(?=PL/|SQL statement |SQL function |COPY )", re.MULTILINE)
_OWN = re.compile(r"morph_catalog\.|PL/pgSQL function morph_store\.")
_CHECK_OPTION = "44000"
_UNDEFINED_COLUMN, _UNDEFINED_TABLE = "42703", "42P01"
_NO_COLUMN = re.compile(
    r'^column (?:"(.+?)"|(?:\S+\.)?(\S+))(?: of relation "(.+)")? does not exist$'
)
_NO_TABLE = re.compile(r'^relation "(?:([^".]+)\.)?([^"]+)" does not exist$')
_NO_HANDLER = re.compile(r'^foreign-data wrapper "(mongodb|cassandra|postgres)" has no handler$')
_PAST_REWRITER = re.compile(r"^permission denied for (?:table|view) (.+)$")


def _plan_version(plan: Plan | None, snapshot: CatalogSnapshot) -> Version | None:
    if plan is not None:
        for statement in plan.statements:
            for ref in statement.relations:
                return ref.resolved.version
    return snapshot.versions.get(snapshot.current)


class _Names:
    """Names of the store in the words of a version, or in those of the newest one that has them;
    where several tables of a version share a table of the store, in those of the one that the
    statement names first.
    """

    def __init__(
        self, version: Version, snapshot: CatalogSnapshot, plan: Plan | None = None
    ) -> None:
        others = (n for n in sorted(snapshot.versions, reverse=True) if n != version.number)
        named = [r.resolved for s in (plan.statements if plan else ()) for r in s.relations]
        tables = tuple(r.table for r in named if r.version is version and r.table.part is not None)
        if tables:
            left = tuple(t for t in version.tables if t not in tables)
            version = replace(version, tables=(*tables, *left))
        self._versions = (version, *(snapshot.versions[n] for n in others))

    def table(self, store: str) -> Table | None:
        """The table that lies in a table of the store."""
        # A child table has no store of its own, an error about no table no name: "" is neither's.
        tables = (t for v in self._versions for t in v.tables if t.store == store)
        return next(tables, None) if store else None

    def column(self, stored: str) -> str:
        """The name of a column of the store, which no other table has; itself if nothing has it."""
        columns = (c for v in self._versions for t in v.tables for c in t.columns)
        return next((c.name for c in columns if _lies_in(c, stored)), stored)

    def constraint(self, stored: str) -> str | None:
        """The name of a constraint or an index of the store."""
        for table in (t for v in self._versions for t in v.tables):
            named: tuple[Constraint | Index, ...] = (*table.constraints, *table.indexes)
            for item in named:
                if item.store_name == stored:
                    return item.name
        return None

    def quoted(self, match: re.Match[str]) -> str:
        """The same for a table or column that `_STORE_NAMES` found."""
        word = match[1]
        table = self.table(word)
        return f'"{table.name if table else self.column(word)}"'

    def quoted_table(self, match: re.Match[str]) -> str:
        """The same where a name may as well be the client's own: tables of the version alone."""
        tables = (t.name for t in self._versions[0].tables if t.store == match[1])
        return f'"{next(tables, match[1])}"'

    def keys(self, match: re.Match[str]) -> str:
        """The same for the columns that `_KEY_COLUMNS` found."""
        return f"Key ({', '.join(self.column(c.strip()) for c in match[1].split(','))})"

    def whole(self, table: Table) -> bool:
        """True when the table shows the row of the store as it is: columns and their order."""
        versions = [t for v in self._versions if (t := v.table_by_id(table.id)) is not None]
        if any(t.lenses for t in versions):
            return False
        columns = (c for t in versions for c in t.columns)
        stored = {c.source.column for c in columns if isinstance(c.source, Stored)}
        shown = [_as_it_is(c) for c in table.columns]
        return not table.has_doc and shown == sorted(stored, key=lambda name: int(name[1:]))


def _lies_in(column: Column, stored: str) -> bool:
    source = column.source
    if isinstance(source, Lensed):
        return stored == f"c{column.id}"
    return isinstance(source, Stored) and source.column == stored


def _as_it_is(column: Column) -> str:
    source = column.source
    return source.column if isinstance(source, Stored) and not source.converts(column.type) else ""


def _put_back(
    fields: dict[str, str], version: Version, snapshot: CatalogSnapshot, plan: Plan | None
) -> None:
    """Replace store names in the texts and name fields of a report."""
    names = _Names(version, snapshot, plan)
    if fields["C"] == _CHECK_OPTION:
        fields.pop("D", None)  # the row as the store has it
    name = names.constraint(fields["n"]) if "n" in fields else None
    if name is not None:
        fields["M"] = fields["M"].replace(f'"{fields["n"]}"', f'"{name}"')
        fields["n"] = name
    quoted = names.quoted if fields.get("s") == STORE_SCHEMA else names.quoted_table
    for code in ("M", "D", "H", "W"):
        if code in fields:
            text = _STORE_NAMES.sub(quoted, fields[code])
            fields[code] = _RESERVED.sub("", text).replace(f'"{STORE_SCHEMA}".', '"public".')
    table = names.table(fields.get("t", ""))
    if table is None:
        return
    fields["s"] = "public"
    fields["t"] = table.name
    if "c" in fields:
        fields["c"] = names.column(fields["c"])
    if "D" in fields:
        fields["D"] = _KEY_COLUMNS.sub(names.keys, fields["D"])
        if fields["D"].startswith(_FAILING_ROW) and not names.whole(table):
            del fields["D"]  # the store's row is not the client's, and its values have no bounds


def _explain_guard(fields: dict[str, str], version: Version | None) -> None:
    match = _PAST_REWRITER.match(fields.get("M", ""))
    if match is None or fields.get("C") != "42501" or version is None:
        return
    if version.table(match[1].strip('"')) is not None:
        fields["D"] = f"The statement reached the store table {match[1]} past the rewriter."
        fields["H"] = (
            "Dynamic SQL (EXECUTE) inside a function cannot read store tables; use static SQL."
        )


def _explain_handler(fields: dict[str, str]) -> None:
    """Shapes of foreign tables cannot be planned; that they were reached says nothing else."""
    if fields.get("C") == "55000" and _NO_HANDLER.match(fields.get("M", "")):
        fields["C"] = FeatureNotSupported.sqlstate
        fields["M"] = "foreign tables cannot be used in dynamic SQL"
        fields["D"] = "The text was made at run time, so the stores never heard of it."
        fields["H"] = "Copy what is needed into a temporary table first."


def _drop_internal_context(fields: dict[str, str]) -> None:
    """Calls of our own functions say nothing to a client that never wrote them."""
    if not _OWN.search(fields.get("W", "")):
        return
    entries = [entry for entry in _CONTEXT.split(fields["W"]) if not _OWN.search(entry)]
    context = "".join(entries).rstrip("\n")
    if context:
        fields["W"] = context
    else:
        del fields["W"]


def _explain_names(
    fields: dict[str, str], plan: Plan | None, plans: PlanCache, snapshot: CatalogSnapshot
) -> None:
    """A name that another version has: say what became of it (DESIGN 9)."""
    message = fields.get("M", "")
    default = plans.namespaces.default_version
    hint = ""
    if fields["C"] == _UNDEFINED_TABLE and (found := _NO_TABLE.match(message)):
        version = plans.namespaces.version_of(found[1]) if found[1] else default
        hint = table_hint(snapshot, version, found[2]) if version else ""
    elif fields["C"] == _UNDEFINED_COLUMN and (found := _NO_COLUMN.match(message)):
        name = found[1] or found[2]
        refs = [r.resolved for s in (plan.statements if plan else ()) for r in s.relations]
        pairs = [(r.version, r.table) for r in refs]
        if not pairs and default is not None:
            pairs = [(default, t) for t in default.tables if t.name == (found[3] or t.name)]
        hints = {column_hint(snapshot, v, t, name) for v, t in pairs} - {""}
        hint = hints.pop() if len(hints) == 1 else ""
    if hint:
        fields["H"] = f"{fields['H']} {hint}" if fields.get("H") else hint


def translate(raw: bytes, plan: Plan | None, plans: PlanCache, snapshot: CatalogSnapshot) -> bytes:
    """A whole ErrorResponse rewritten; the same bytes when nothing in it concerns the store."""
    touches = plan is not None and plan.touches_store
    told = any(mark in raw for mark in _TOLD)
    if not touches and STORE_SCHEMA.encode() not in raw and not told:
        return raw
    fields = decode_report(raw[HEADER_BYTES:])
    version = _plan_version(plan, snapshot)
    if plan is not None and "P" in fields:
        fields["P"] = str(explain_position(plan, plans, int(fields["P"]) - 1) + 1)
    if version is not None and (touches or fields.get("s") == STORE_SCHEMA):
        _put_back(fields, version, snapshot, plan)
    _explain_guard(fields, version)
    _explain_handler(fields)
    _drop_internal_context(fields)
    if fields.get("C") in (_UNDEFINED_COLUMN, _UNDEFINED_TABLE):
        _explain_names(fields, plan, plans, snapshot)
    return encode_error(fields)


def went_away() -> CrashShutdown:
    """What a client is told whose backend, or whose script's connection, is gone."""
    return CrashShutdown(
        "terminating connection because the private PostgreSQL went away",
        hint="In a moment you should be able to reconnect and repeat your command.",
    )
