"""Errors of the private PostgreSQL in the client's terms: positions of its own text, its names.

Store tables are called t<id> and their columns c<id> (decision 0001); where PostgreSQL names them
(constraint violations above all), the names of the session's version are put back.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from catalog.model import CatalogSnapshot, Stored, Table, Version
from catalog.sqltext import STORE_SCHEMA
from engine.plans import Plan, PlanCache, explain_position
from evolution.history import column_hint, table_hint
from proxy.protocol.framing import HEADER_BYTES
from proxy.protocol.reports import decode_report, encode_error

if TYPE_CHECKING:
    from collections.abc import Callable

INTERNAL_SCHEMA = "morph_catalog."
_TOLD = (b"42501", b"42703", b"42P01", INTERNAL_SCHEMA.encode())
_STORE_NAMES = re.compile(r'"(t\d+|c\d+)"')
_KEY_COLUMNS = re.compile(r"^Key \(([^)]*)\)")
_RESERVED = re.compile(r'"?morph_[vw](\d+)"?\.')
# Where an entry of CONTEXT begins; the text of a statement in it may have lines of its own.
_CONTEXT = re.compile(r"^(?=PL/|SQL statement |SQL function |COPY )", re.MULTILINE)
_UNDEFINED_COLUMN, _UNDEFINED_TABLE = "42703", "42P01"
_NO_COLUMN = re.compile(
    r'^column (?:"(.+?)"|(?:\S+\.)?(\S+))(?: of relation "(.+)")? does not exist$'
)
_NO_TABLE = re.compile(r'^relation "(?:([^".]+)\.)?([^"]+)" does not exist$')
_PAST_REWRITER = re.compile(r"^permission denied for (?:table|view) (.+)$")


def _plan_version(plan: Plan | None, snapshot: CatalogSnapshot) -> Version | None:
    if plan is not None:
        for statement in plan.statements:
            for ref in statement.relations:
                return ref.resolved.version
    return snapshot.versions.get(snapshot.current)


def _store_table(version: Version, name: str) -> Table | None:
    # A child table has no store of its own, an error about no table no name: "" is neither's.
    return next((t for t in version.tables if t.store == name), None) if name else None


def _column_names(table: Table) -> dict[str, str]:
    return {c.source.column: c.name for c in table.columns if isinstance(c.source, Stored)}


def _constraint_names(version: Version) -> dict[str, str]:
    names = {c.store_name: c.name for t in version.tables for c in t.constraints}
    return names | {i.store_name: i.name for t in version.tables for i in t.indexes}


def _put_back(fields: dict[str, str], version: Version) -> None:
    """Replace store names in the texts and name fields of a report."""
    table = _store_table(version, fields.get("t", ""))
    columns = _column_names(table) if table else {}
    tables = {t.store: t.name for t in version.tables if t.store}

    def name(match: re.Match[str]) -> str:
        word = match[1]
        return f'"{columns.get(word) or tables.get(word) or word}"'

    constraints = _constraint_names(version)
    if fields.get("n") in constraints:
        name_of = constraints[fields["n"]]
        fields["M"] = fields["M"].replace(f'"{fields["n"]}"', f'"{name_of}"')
        fields["n"] = name_of
    for code in ("M", "D", "H", "W"):
        if code in fields:
            text = _STORE_NAMES.sub(name, fields[code])
            fields[code] = _RESERVED.sub("", text)
    if table is not None:
        fields["s"] = "public"
        fields["t"] = table.name
        if "c" in fields:
            fields["c"] = columns.get(fields["c"], fields["c"])
        if "D" in fields:
            fields["D"] = _KEY_COLUMNS.sub(_keys(columns), fields["D"])


def _keys(columns: dict[str, str]) -> Callable[[re.Match[str]], str]:
    def replace(match: re.Match[str]) -> str:
        names = [columns.get(c.strip(), c.strip()) for c in match[1].split(",")]
        return f"Key ({', '.join(names)})"

    return replace


def _explain_guard(fields: dict[str, str], version: Version | None) -> None:
    match = _PAST_REWRITER.match(fields.get("M", ""))
    if match is None or fields.get("C") != "42501" or version is None:
        return
    if version.table(match[1].strip('"')) is not None:
        fields["D"] = f"The statement reached the store table {match[1]} past the rewriter."
        fields["H"] = (
            "Dynamic SQL (EXECUTE) inside a function cannot read store tables; use static SQL."
        )


def _drop_internal_context(fields: dict[str, str]) -> None:
    """Calls of our own functions say nothing to a client that never wrote them."""
    if INTERNAL_SCHEMA not in fields.get("W", ""):
        return
    entries = [entry for entry in _CONTEXT.split(fields["W"]) if INTERNAL_SCHEMA not in entry]
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
        _put_back(fields, version)
    _explain_guard(fields, version)
    _drop_internal_context(fields)
    if fields.get("C") in (_UNDEFINED_COLUMN, _UNDEFINED_TABLE):
        _explain_names(fields, plan, plans, snapshot)
    return encode_error(fields)
