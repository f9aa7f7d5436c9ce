"""ALTER TABLE and RENAME: PostgreSQL runs the client's own statement on an empty scratch copy, and
what became of the copy is read back as a new version (EVOLUTION 2; decision 0002).

So every form of ALTER TABLE that PostgreSQL accepts is judged by PostgreSQL, with its errors, and
only its outcome has to be understood here.
"""

from __future__ import annotations

from dataclasses import replace

from catalog import shapes
from catalog.model import Column, Constraint, Seed, Stored, Table, Version
from catalog.sqltext import quote_ident, shape_schema
from catalog.store import version_statement
from core.errors import DuplicateTable, FeatureNotSupported
from evolution.columns import Reading, read_columns, store_table
from evolution.constraints import read_constraint
from evolution.dependents import require_no_dependents
from evolution.introspect import SCRATCH, ScratchTable, read_scratch
from evolution.publish import Operation, add_version, rebuild_view_statements
from evolution.request import DdlRequest, Outcome
from evolution.seeds.shape import shape_expression
from evolution.seeds.validate import check_expression, dependencies
from rewrite.edits import Edit, replace_text
from rewrite.tree import CLOSE_PAREN, OPEN_PAREN, Node

_ALLOWED = frozenset(
    {
        "AT_AddColumn", "AT_DropColumn", "AT_ColumnDefault", "AT_SetNotNull", "AT_DropNotNull",
        "AT_AlterColumnType", "AT_AddConstraint", "AT_DropConstraint", "AT_AddIdentity",
        "AT_SetIdentity", "AT_DropIdentity",
    }
)  # fmt: skip
_SHADOW_HINT = "Virtual columns are computed on reading; leave STORED out."


def _plain(table: Table) -> Table:
    """The table with virtual columns as ordinary ones, so that new ones may read them."""
    columns = tuple(
        replace(c, source=Stored(f"c{c.id}", c.type)) if isinstance(c.source, Seed) else c
        for c in table.columns
    )
    constraints = tuple(c for c in table.constraints if c.kind != "f")
    return replace(table, columns=columns, constraints=constraints, indexes=())


def _relation_edit(request: DdlRequest, relation: Node, name: str) -> Edit:
    chain = request.tokens.name_chain(relation.location)
    text = f"{quote_ident(SCRATCH)}.{quote_ident(name)}"
    return replace_text(chain[0].start, chain[-1].end, text)


class _Generated:
    """New virtual columns of an ALTER: their expressions, and the edits that let a shape hold
    them.
    """

    def __init__(self, request: DdlRequest, version: Version, table: Table) -> None:
        self._request = request
        self._version = version
        self._table = table
        self.expressions: dict[str, str] = {}
        self.edits: list[Edit] = []

    def collect(self, commands: tuple[Node, ...]) -> None:
        """Look through ADD COLUMN commands."""
        for command in commands:
            if command.subtype.name != "AT_AddColumn":
                continue
            for constraint in getattr(command.def_, "constraints", None) or ():
                if constraint.contype.name == "CONSTR_GENERATED":
                    self._add(command.def_.colname, constraint)

    def _add(self, name: str, constraint: Node) -> None:
        tokens = self._request.tokens
        index = tokens.index_at(constraint.location)
        while tokens.name(index) != OPEN_PAREN:
            index += 1
        close = tokens.matching_close(index)
        assert tokens.name(close) == CLOSE_PAREN
        start, end = tokens.items[index].end, tokens.items[close].start
        written = self._request.text[start:end]
        expression = written.strip()
        at = start + len(written) - len(written.lstrip())
        check_expression(expression, self._version, self._table, name, at=at)
        shaped = shape_expression(expression, self._version, self._table)
        self.expressions[name] = expression
        after = tokens.name(close + 1)
        if after == "STORED":
            raise FeatureNotSupported(
                f'generated column "{name}" cannot be STORED from the start', hint=_SHADOW_HINT
            )
        if shaped.strip("() \n") != expression.strip("() \n"):
            self.edits.append(replace_text(start, end, shaped))
        stop = tokens.items[close + 1].end if after == "VIRTUAL" else tokens.items[close].end
        self.edits.append(replace_text(tokens.items[close].end, stop, " STORED"))


async def alter_table(request: DdlRequest) -> Outcome:
    """ALTER TABLE on a store table: one new version."""
    node = request.node
    table = request.on_head(request.resolve(node.relation.schemaname, node.relation.relname))
    for command in node.cmds:
        if command.subtype.name not in _ALLOWED:
            kind = command.subtype.name.removeprefix("AT_")
            raise FeatureNotSupported(f"ALTER TABLE {kind} is not supported on a store table")
    if table.kind != "table" and any(c.subtype.name != "AT_AddColumn" for c in node.cmds):
        raise FeatureNotSupported(f'"{table.name}" can only get virtual columns')
    generated = _Generated(request, request.head, table)
    generated.collect(node.cmds)
    edits = [_relation_edit(request, node.relation, table.name), *generated.edits]
    before, after = await _on_scratch(request, table, edits)
    version, reading = _new_version(request, table, before, after, generated.expressions)
    return await _publish(request, version, reading, table)


async def rename_column(request: DdlRequest) -> Outcome:
    """ALTER TABLE … RENAME COLUMN or RENAME CONSTRAINT."""
    node = request.node
    table = request.on_head(request.resolve(node.relation.schemaname, node.relation.relname))
    edits = [_relation_edit(request, node.relation, table.name)]
    before, after = await _on_scratch(request, table, edits)
    version, reading = _new_version(request, table, before, after, {})
    return await _publish(request, version, reading, table)


async def rename_table(request: DdlRequest) -> Outcome:
    """ALTER TABLE … RENAME TO."""
    node = request.node
    table = request.on_head(request.resolve(node.relation.schemaname, node.relation.relname))
    if request.head.table(node.newname) is not None:
        raise DuplicateTable(f'relation "{node.newname}" already exists')
    require_no_dependents(request, table, "rename")
    renamed = replace(table, name=node.newname)
    version = replace(
        request.head.with_table(renamed), number=request.number, parent=request.parent
    )
    reading = Reading(list(table.columns), next_id=request.snapshot.next_id)
    reading.kinds.append("rename table")
    return await _publish(request, version, reading, renamed)


async def _on_scratch(
    request: DdlRequest, table: Table, edits: list[Edit]
) -> tuple[ScratchTable, ScratchTable]:
    tx = request.tx
    plain = _plain(table)
    part = Version(request.head.number, 0, (plain,))
    path = f"SET LOCAL search_path = {shape_schema(request.head.number)}, public, pg_temp"
    await tx.apply(
        [
            f"CREATE SCHEMA {SCRATCH}",
            *shapes.scratch_statements(SCRATCH, part, plain),
        ]
    )
    before = await read_scratch(tx)
    await tx.apply([path, request.splice(edits).text])
    after = await read_scratch(tx)
    await tx.apply([f"DROP SCHEMA {SCRATCH} CASCADE"])
    assert before is not None
    if after is None:
        raise FeatureNotSupported("the statement moved the table away")
    return before, after


def _new_version(
    request: DdlRequest,
    table: Table,
    before: ScratchTable,
    after: ScratchTable,
    seeds: dict[str, str],
) -> tuple[Version, Reading]:
    reading = read_columns(table, before, after, seeds, request.snapshot.next_id)
    changed = replace(table, columns=tuple(reading.columns), comment=after.comment)
    changed = _with_dependencies(request.head, changed)
    by_number = {
        found.number: column for found, column in zip(after.columns, changed.columns, strict=True)
    }
    changed = replace(
        changed, constraints=_constraints(request, table, changed, by_number, after, reading)
    )
    version = replace(
        request.head.with_table(changed), number=request.number, parent=request.parent
    )
    return version, reading


def _with_dependencies(head: Version, table: Table) -> Table:
    version = head.with_table(table)
    columns: list[Column] = []
    for column in table.columns:
        if isinstance(column.source, Seed):
            read = dependencies(column.source.expression, version, table)
            column = replace(column, source=replace(column.source, depends=read.columns))
        columns.append(column)
    return replace(table, columns=tuple(columns))


def _constraints(
    request: DdlRequest,
    old: Table,
    table: Table,
    by_number: dict[int, Column],
    after: ScratchTable,
    reading: Reading,
) -> tuple[Constraint, ...]:
    known = {c.name: c for c in old.constraints}
    kept: list[Constraint] = [c for c in old.constraints if c.kind == "f"]
    for found in after.constraints:
        same = known.get(found.name)
        if same is not None:
            kept.append(replace(same, definition=found.definition))
            continue
        constraint, clause = read_constraint(request.head, table, by_number, found, reading.next_id)
        reading.next_id += 1
        reading.kinds.append("add constraint")
        reading.store.append(f"ALTER TABLE {store_table(table)} {clause}")
        kept.append(constraint)
    names = {c.name for c in kept}
    for constraint in old.constraints:
        if constraint.name not in names and constraint.store_name:
            reading.kinds.append("drop constraint")
            reading.store.append(
                f"ALTER TABLE {store_table(table)} DROP CONSTRAINT "
                f"{quote_ident(constraint.store_name)}"
            )
    return tuple(kept)


def _widen_others(request: DdlRequest, reading: Reading) -> dict[int, Version]:
    """Older versions over a store column that took a wider type of the same representation."""
    changed = {}
    for number, version in request.snapshot.versions.items():
        tables = []
        for table in version.tables:
            columns = tuple(
                replace(c, source=replace(c.source, type=reading.widened[c.id], plain=True))
                if c.id in reading.widened and isinstance(c.source, Stored)
                else c
                for c in table.columns
            )
            tables.append(replace(table, columns=columns))
        if tuple(tables) != version.tables:
            changed[number] = replace(version, tables=tuple(tables))
    return changed


async def _publish(
    request: DdlRequest, version: Version, reading: Reading, table: Table
) -> Outcome:
    if not reading.kinds:
        return Outcome(request.snapshot, "ALTER TABLE")
    snapshot = request.snapshot
    store = list(reading.store)
    if reading.widened:
        others = _widen_others(request, reading)
        snapshot = replace(snapshot, versions={**snapshot.versions, **others})
        drops = [s for v in others.values() for s in shapes.drop_view_statements(v)]
        rebuilt = [
            s
            for v in others.values()
            for s in rebuild_view_statements(snapshot, v)
            if not s.startswith("DROP SCHEMA")
        ]
        models = [version_statement(v) for v in others.values()]
        store = [*drops, *store, *rebuilt, *models]
    ddl = request.statement
    operations = [
        Operation(kind, table.name, ddl, actor=request.actor)
        for kind in dict.fromkeys(reading.kinds)
    ]
    fresh = await add_version(
        request.tx,
        snapshot,
        version,
        operations,
        next_id=reading.next_id,
        store_statements=store,
    )
    return Outcome(fresh, "ALTER TABLE")
