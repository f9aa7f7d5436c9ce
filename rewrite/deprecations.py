"""WARNINGs for what a newer, promoted version has dropped or renamed (DESIGN 9)."""

from __future__ import annotations

from dataclasses import dataclass

from catalog.model import CatalogSnapshot, Table, Version
from rewrite.context import Context
from rewrite.scope import RelationRef
from rewrite.tree import ast, names_of, walk


@dataclass(frozen=True, slots=True)
class Notice:
    """A WARNING to be sent before the statement's answer."""

    message: str
    hint: str = ""
    detail: str = ""


def _descends(snapshot: CatalogSnapshot, newer: int, older: int) -> bool:
    number = newer
    while number > older:
        version = snapshot.versions.get(number)
        number = version.parent if version else 0
    return number == older


def _used_names(context: Context, ref: RelationRef) -> set[str]:
    names: set[str] = set()
    for node in walk(context.statement):
        if isinstance(node, ast.ColumnRef):
            parts = names_of(node)
            if parts and (len(parts) == 1 or parts[-2] in (ref.alias, ref.node.relname)):
                names.add(parts[-1])
        elif isinstance(node, ast.ResTarget) and node.name and ref.role == "target":
            names.add(node.name)
    return names


def _column_notices(
    context: Context, ref: RelationRef, current: Version, successor: Table
) -> list[Notice]:
    notices = []
    old = ref.resolved.table
    used = _used_names(context, ref)
    for column in old.columns:
        if column.name not in used:
            continue
        new = successor.column_by_id(column.id)
        where = f'column "{column.name}" of table "{old.name}" is deprecated'
        if new is None:
            detail = f"Version {current.number}, the current one, does not have it."
            notices.append(Notice(where, "It will go when this version is retired.", detail))
        elif new.name != column.name:
            hint = f'Use "{new.name}", its name in version {current.number}.'
            notices.append(Notice(where, hint))
    return notices


def deprecation_notices(context: Context) -> tuple[Notice, ...]:
    """The warnings for one statement, each once."""
    snapshot = context.namespaces.snapshot
    current = snapshot.versions.get(snapshot.current)
    notices: list[Notice] = []
    for ref in context.relations:
        version = ref.resolved.version
        if current is None or version.number == current.number:
            continue
        if not _descends(snapshot, current.number, version.number):
            continue
        successor = current.table_by_id(ref.resolved.table.id)
        if successor is None:
            name = ref.resolved.table.name
            notices.append(
                Notice(
                    f'table "{name}" is deprecated',
                    "It will go when this version is retired.",
                    f"Version {current.number}, the current one, does not have it.",
                )
            )
        else:
            notices += _column_notices(context, ref, current, successor)
    return tuple(dict.fromkeys(notices))
