"""The indexes of a live table made again on its shadow, and waited for until they answer."""

from __future__ import annotations

import asyncio
from typing import Final

from backends.base import Scope
from backends.cassandra import schema
from backends.cassandra.facts import TableFacts, quote_cql, relation_cql
from backends.cassandra.link import Link
from backends.cassandra.shadow_tables import shadow_name
from core.errors import MorphError, QueryCanceled

_DECLARED: Final = (
    "SELECT index_name, kind, options FROM system_schema.indexes "
    "WHERE keyspace_name = ? AND table_name = ?"
)
_ANSWERS: Final = ("StorageAttachedIndex", "sai")
_POLL_S: Final = 0.05


async def copy_indexes(
    link: Link, live: TableFacts, shadow: TableFacts, scope: Scope
) -> tuple[str, ...]:
    """Make and await them; what cannot be made is told of. Harmless when they are there."""
    refused, made = [], []
    for raw_name, raw_kind, raw_options in await link.query(
        _DECLARED, (live.keyspace, live.name), scope.deadline
    ):
        name, kind = raw_name.decode(), raw_kind.decode()
        options = {key.decode(): value.decode() for key, value in raw_options.items()}
        new = shadow_name(name, shadow.name.removeprefix(live.name).strip("_") or "s")
        try:
            await link.execute(_statement(shadow, new, kind, options), scope.deadline)
        except MorphError as error:
            if error.sqlstate[:2] in ("08", "57", "53"):
                raise
            refused.append(f'index "{name}" of Cassandra: {error.primary}')
        else:
            # SASI and others do not say when they are built, and are never asked by Morphgres.
            if kind != "CUSTOM" or _class(options) in _ANSWERS:
                made.append(new)
    await _built(link, shadow, made, scope)
    return tuple(refused)


def _class(options: dict[str, str]) -> str:
    return options.get("class_name", "").rpartition(".")[2]


def _statement(shadow: TableFacts, name: str, kind: str, options: dict[str, str]) -> str:
    target = options["target"]
    custom = kind == "CUSTOM"
    relation = relation_cql(shadow.keyspace, shadow.name)
    shown = target if shadow.column(target) is None else quote_cql(target)
    text = f"CREATE {'CUSTOM ' if custom else ''}INDEX IF NOT EXISTS {quote_cql(name)} "
    text += f"ON {relation} ({shown})"
    if not custom:
        return text
    rest = {k: v for k, v in options.items() if k not in ("target", "class_name")}
    text += f" USING {_quoted(options['class_name'])}"
    inside = ", ".join(f"{_quoted(k)}: {_quoted(v)}" for k, v in rest.items())
    return f"{text} WITH OPTIONS = {{{inside}}}" if rest else text


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


async def _built(link: Link, shadow: TableFacts, names: list[str], scope: Scope) -> None:
    """Wait until each of them says that it answers; QueryCanceled (57014) at the deadline."""
    while names:
        waiting = set(names) - await schema.answering(link, shadow.keyspace, scope.deadline)
        if not waiting:
            return
        if scope.deadline is not None and asyncio.get_running_loop().time() > scope.deadline:
            raise QueryCanceled(f'index "{min(waiting)}" of Cassandra is still being built')
        await asyncio.sleep(_POLL_S)
