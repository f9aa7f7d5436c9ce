"""Partitioned tables: which partitions a reference reads, and which of them cannot have its rows.

Pure. A partition is pruned where a condition of the statement and the partition's own contradict
each other; only what the expression IR can evaluate counts, so a partition too many may be asked,
never one too few.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from catalog.model import Partition, Table, Version
from core import expr as ir
from core.errors import FeatureNotSupported, MorphError
from core.expr import Expr, evaluate, split_and
from engine.exactness import TABLE
from engine.predicates import NameScope, PlacedTable, Pushable, translate
from engine.scans import Scan
from rewrite.parsing import parse_statements

KindOf = Callable[[str], str]
DEFAULT: Final = "DEFAULT"


@dataclass(frozen=True, slots=True)
class Part:
    """A partition as a placement of the partitioned table; `bound` is None when the IR cannot say
    what holds for its rows.
    """

    placed: PlacedTable
    bound: Expr | None


@dataclass(frozen=True, slots=True)
class Place:
    """Where rows of a table are written: the table as its store has it, with the columns of the
    partitioned table; `name` and `bound` are the partition's, "" for a table of its own.
    """

    table: Table
    name: str = ""
    bound: str = ""


def places_of(table: Table, version: Version) -> tuple[Place, ...]:
    """All partitions of a partitioned table. Raises FeatureNotSupported (0A000) for one without
    the table's columns, and where the catalog does not know the bound.
    """
    places = []
    for partition in table.partitions:
        child = version.table_by_id(partition.table_id)
        if child is None:
            continue
        if not partition.bound:
            raise FeatureNotSupported(
                f'the bound of partition "{child.name}" is not known',
                detail="It was made before rows could be written through a partitioned table.",
                hint="ALTER TABLE … DETACH PARTITION and ATTACH PARTITION tell it again.",
            )
        placed = replace(_as_parent(table, child), name=child.name)
        places.append(Place(placed, child.name, partition.bound))
    return tuple(places)


def partition_column(definition: str) -> str:
    """The column by whose value rows are placed; `definition` is "LIST (region)"."""
    [column] = parse_statements(f"SELECT {definition.partition(' ')[2]}")[0].stmt.targetList
    return str(column.val.fields[-1].sval)


def parts_of(table: Table, version: Version, kind_of: KindOf) -> tuple[Part, ...]:
    """The partitions, each under the names and ids of the partitioned table.

    Raises FeatureNotSupported (0A000) when one lacks a column.
    """
    parts = []
    for partition in table.partitions:
        child = version.table_by_id(partition.table_id)
        if child is None:
            continue  # dropped in this version
        placed = PlacedTable(_as_parent(table, child), version.number, kind_of(child.instance))
        condition = partition.condition or _rest(table, partition)
        parts.append(Part(placed, _bound(placed, condition)))
    return tuple(parts)


def _rest(table: Table, partition: Partition) -> str:
    """What holds for the rows of a default partition: no other may have them."""
    if partition.bound != DEFAULT:
        return ""
    others = [each.condition for each in table.partitions if each is not partition]
    return " AND ".join(f"({each}) IS NOT TRUE" for each in others) if all(others) else ""


def _as_parent(table: Table, child: Table) -> Table:
    own = {column.name: column for column in child.columns}
    for column in table.columns:
        if column.name not in own:
            raise FeatureNotSupported(
                f'partition "{child.name}" has no column "{column.name}" of "{table.name}"'
            )
    columns = tuple(replace(c, source=own[c.name].source) for c in table.columns)
    ids = {column.name: column.id for column in columns}
    names = [c.name for each in child.key if (c := child.column_by_id(each)) is not None]
    key = tuple(ids[name] for name in names if name in ids)
    return replace(child, name=table.name, columns=columns, key=key, constraints=())


def _bound(placed: PlacedTable, condition: str) -> Expr | None:
    """The condition as IR, by the entries of the embedded store, which is PostgreSQL."""
    if not condition:
        return None
    [statement] = parse_statements(f"SELECT WHERE {condition}")
    where = statement.stmt.whereClause
    scope = NameScope({"p": replace(placed, backend="embedded")}, exactness=TABLE)
    found = translate(where, scope)
    return found.expr if isinstance(found, Pushable) else None


def pruned(scan: Scan, bound: Expr | None, values: Mapping[int, str | None]) -> bool:
    """Whether no row within the bound can fulfil the scan's predicate."""
    if bound is None or scan.predicate is None:
        return False
    columns = {node.column_id for node in ir.walk(bound) if isinstance(node, ir.ColumnRef)}
    if len(columns) != 1:
        return False
    [column] = columns
    bounds = list(split_and(bound))
    for part in split_and(ir.bind(scan.predicate, values)):
        candidates = _candidates(part, column)
        if candidates is not None and not any(_holds(bounds, column, v) for v in candidates):
            return True
        if any(_disjoint(part, other, column) for other in bounds):
            return True
    return False


def _candidates(part: Expr, column: int) -> list[ir.Literal] | None:
    """The only values of the column with which the condition can be true; None for no such list."""
    match part:
        case ir.Compare(op="=", left=ir.ColumnRef(column_id=found), right=ir.Literal() as value) | (
            ir.Compare(op="=", left=ir.Literal() as value, right=ir.ColumnRef(column_id=found))
        ) if found == column:
            return [value]
        case ir.In(operand=ir.ColumnRef(column_id=found), spread=False) if found == column:
            items = [item for item in part.items if isinstance(item, ir.Literal)]
            return items if len(items) == len(part.items) else None
        case _:
            return None


def _holds(bounds: Iterable[Expr], column: int, value: ir.Literal) -> bool:
    """Whether the bound may be true for a value; True where that cannot be told."""
    try:
        row = {column: ir.literal_value(value)}
        return all(evaluate(each, row) is True for each in bounds)
    except (MorphError, ArithmeticError, ValueError, TypeError):
        return True


_BELOW = {"<": False, "<=": True}
_ABOVE = {">": False, ">=": True}
_TURNED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


def _limits(part: Expr, column: int) -> Iterator[tuple[str, ir.Literal]]:
    match part:
        case ir.Compare(left=ir.ColumnRef(column_id=found), right=ir.Literal() as value) if (
            found == column and part.op in _TURNED
        ):
            yield part.op, value
        case ir.Compare(left=ir.Literal() as value, right=ir.ColumnRef(column_id=found)) if (
            found == column and part.op in _TURNED
        ):
            yield _TURNED[part.op], value


def _disjoint(one: Expr, other: Expr, column: int) -> bool:
    """Whether a lower limit of one lies above an upper limit of the other."""
    pairs = [(a, b) for a in _limits(one, column) for b in _limits(other, column)]
    for (op, value), (other_op, other_value) in pairs + [(b, a) for a, b in pairs]:
        if op not in _ABOVE or other_op not in _BELOW or value.type != other_value.type:
            continue
        try:
            low, high = ir.literal_value(value), ir.literal_value(other_value)
            if low > high:  # type: ignore[operator]
                return True
            if low == high and not (_ABOVE[op] and _BELOW[other_op]):
                return True
        except (MorphError, ArithmeticError, ValueError, TypeError):
            continue
    return False
