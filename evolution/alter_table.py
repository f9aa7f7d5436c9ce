"""ALTER TABLE and RENAME: PostgreSQL runs the client's own statement on an empty scratch copy, and
what became of the copy is read back as a new version (EVOLUTION 2; decision 0003).

So every form of ALTER TABLE that PostgreSQL accepts is judged by PostgreSQL, with its errors, and
only its outcome has to be understood here.
"""

from __future__ import annotations

from dataclasses import replace

from catalog.model import Table, Version
from catalog.sqltext import shape_schema
from catalog.store import version_statement
from core.errors import DuplicateTable, FeatureNotSupported, WrongObjectType
from evolution.changed import Command, Comparison, share_with_others
from evolution.columns import needs_data_work
from evolution.constraints import fit_foreign_keys
from evolution.foreign_alter import (
    alter_options,
    changes_options,
    check_foreign_commands,
    check_partitions,
)
from evolution.generated import GeneratedColumns
from evolution.operators.calls import call_arguments
from evolution.operators.change_type import (
    Conversion,
    Recipe,
    compile_recipe,
    require_convertible,
    usings_of,
)
from evolution.operators.split_columns import read_reshaping
from evolution.others import change_others
from evolution.parts import check_part
from evolution.publish import Operation, add_version
from evolution.request import DdlRequest, Note, Outcome
from evolution.scratch import ScratchCopy, plain_table_edit, relation_edit
from evolution.shared.record import record_statements
from rewrite.tree import Node

_ALLOWED = frozenset(
    {
        "AT_AddColumn", "AT_DropColumn", "AT_ColumnDefault", "AT_SetNotNull", "AT_DropNotNull",
        "AT_AlterColumnType", "AT_AddConstraint", "AT_DropConstraint",
    }
)  # fmt: skip
_WHY = {
    "AT_AddIdentity": "The identity of a column belongs to the store.",
    "AT_SetIdentity": "The identity of a column belongs to the store.",
    "AT_DropIdentity": "The identity of a column belongs to the store.",
    "AT_SetExpression": "Drop the virtual column and add it again with the new expression.",
    "AT_DropExpression": "Drop the virtual column and add an ordinary one.",
    "AT_ValidateConstraint": "Add the constraint without NOT VALID.",
    "AT_ChangeOwner": "Roles and their rights are in the configuration of Morphgres.",
    "AT_SetTableSpace": "Morphgres keeps the store's files itself.",
    "AT_SetRelOptions": "Storage parameters have no meaning for a version of a table.",
    "AT_SetStatistics": "Statistics targets have no meaning for a version of a table.",
    "AT_SetStorage": "Storage parameters have no meaning for a version of a table.",
    "AT_AddInherit": "Store tables have no children by inheritance.",
    "AT_AttachPartition": "Store tables have no partitions.",
    "AT_EnableRowSecurity": "Store tables have no row security.",
}
_RENAME_TAGS = {"OBJECT_VIEW": "ALTER VIEW", "OBJECT_FOREIGN_TABLE": "ALTER FOREIGN TABLE"}
_OTHER = "A store table changes by ADD, DROP, RENAME and ALTER COLUMN and by constraints."


async def alter_table(request: DdlRequest) -> Outcome:
    """ALTER TABLE on a store table: one new version."""
    node = request.node
    found = request.find(node.relation, missing_ok=bool(node.missing_ok))
    if found is None:
        return request.skipped("ALTER TABLE", f'relation "{node.relation.relname}" does not exist')
    table = request.on_head(found)
    tag = "ALTER FOREIGN TABLE" if node.objtype.name == "OBJECT_FOREIGN_TABLE" else "ALTER TABLE"
    if table.kind == "foreign":
        check_foreign_commands(node.cmds)
        if not changes_options(node.cmds):
            check_partitions(request.head, table)
        if changes_options(node.cmds):
            return await alter_options(request, table, tag)
    else:
        _check_commands(table, node.cmds)
        check_part(request.head, table, node.cmds)
    generated = GeneratedColumns(request, request.head, table)
    generated.collect(node.cmds)
    command = Command(
        generated.expressions,
        frozenset(generated.stored),
        frozenset(c.name for c in node.cmds if c.subtype.name == "AT_DropConstraint"),
        any(c.behavior.name == "DROP_CASCADE" for c in node.cmds),
    )
    edits = [relation_edit(request, node.relation, table.name), *generated.edits]
    if table.kind == "foreign" and tag == "ALTER FOREIGN TABLE" and usings_of(request):
        edits.append(plain_table_edit(request))
    return await run_on_copy(request, {table.id}, request.splice(edits).text, command, tag)


def _check_commands(table: Table, commands: tuple[Node, ...]) -> None:
    for command in commands:
        kind = command.subtype.name
        if kind not in _ALLOWED:
            raise FeatureNotSupported(
                f"ALTER TABLE {_words(kind)} is not supported on a store table",
                hint=_WHY.get(kind, _OTHER),
            )
    if table.kind == "view":
        raise WrongObjectType(
            f'"{table.name}" is a view', hint="CREATE OR REPLACE VIEW changes a view."
        )
    if table.kind == "child" and any(
        c.subtype.name not in ("AT_AddColumn", "AT_DropColumn") for c in commands
    ):
        raise FeatureNotSupported(
            f'"{table.name}" shows an array of documents: it can get virtual columns only',
            hint="RENAME and DROP COLUMN work too.",
        )


def _words(kind: str) -> str:
    text = kind.removeprefix("AT_")
    return "".join(f" {c}" if c.isupper() and n else c for n, c in enumerate(text)).upper()


async def reshape_columns(request: DdlRequest) -> Outcome:
    """CALL morph.split_column(…) and morph.merge_columns(…): one new version."""
    _, values = call_arguments(request.node)
    table = request.on_head(request.resolve(None, values["relation"]))
    if table.kind not in ("table", "foreign"):
        raise WrongObjectType(f'"{table.name}" is not a table of the store')
    if table.kind == "foreign":
        check_partitions(request.head, table)
    asked = await read_reshaping(request, table)
    command = Command({}, reshaping=asked)
    return await run_on_copy(request, {table.id}, asked.alter_text(table), command, "CALL")


async def rename(request: DdlRequest) -> Outcome:
    """ALTER TABLE … RENAME COLUMN, RENAME CONSTRAINT or RENAME TO; the same of views."""
    node = request.node
    kind = node.relationType if node.renameType.name == "OBJECT_COLUMN" else node.renameType
    tag = _RENAME_TAGS.get(kind.name, "ALTER TABLE")
    found = request.find(node.relation, missing_ok=bool(node.missing_ok))
    if found is None:
        return request.skipped(tag, f'relation "{node.relation.relname}" does not exist')
    table = request.on_head(found)
    if node.renameType.name == "OBJECT_COLUMN":
        check_partitions(request.head, table)
    if node.renameType.name in ("OBJECT_TABLE", *_RENAME_TAGS):
        taken = request.head.table(node.newname)
        if taken is not None:
            raise DuplicateTable(f'relation "{node.newname}" already exists')
    text = request.splice([relation_edit(request, node.relation, table.name)]).text
    return await run_on_copy(request, {table.id}, text, Command({}), tag)


async def run_on_copy(
    request: DdlRequest, ids: set[int], text: str, command: Command, tag: str = "ALTER TABLE"
) -> Outcome:
    """Run a statement on the scratch copy and publish what came of it."""
    copy = ScratchCopy(request, ids, converts=bool(usings_of(request)))
    await copy.open()
    await copy.run([text])
    command = replace(command, recipes=await _recipes(request, copy, ids))
    comparison = Comparison(request, copy, command)
    version = fit_foreign_keys(comparison.version())
    return await _publish(request, version, comparison, ids, tag)


async def _recipes(request: DdlRequest, copy: ScratchCopy, ids: set[int]) -> dict[int, Recipe]:
    """How the statement converts values, by column id."""
    using = usings_of(request)
    recipes: dict[int, Recipe] = {}
    for oid, table in copy.tables.items():
        if not using or table.id not in ids or table.kind not in ("table", "foreign"):
            continue
        was, now = copy.before[oid], copy.after[oid]
        numbers = {c.number: c for c in now.columns}
        for column, found in zip(table.columns, was.columns, strict=True):
            after = numbers.get(found.number)
            wanted = using.get(found.name)
            rewritten = was.filenode != now.filenode
            if after is None or not needs_data_work(column, found, after, wanted, rewritten):
                continue
            versions = list(request.snapshot.versions.values())
            require_convertible(versions, request.head, table, column, direct=request.direct)
            conversion = Conversion(column, after.type, wanted or "")
            schema = shape_schema(request.head.number)
            recipes[column.id] = await compile_recipe(request, schema, conversion)
    return recipes


async def _publish(
    request: DdlRequest, version: Version, comparison: Comparison, ids: set[int], tag: str
) -> Outcome:
    reading = comparison.reading
    kinds = [*reading.kinds, *(["drop"] if comparison.dropped else [])]
    if not kinds:
        return Outcome(request.snapshot, tag, tuple(reading.notices))
    snapshot = request.snapshot
    request.store_names.update({f"c{c.id}": c.name for t in version.tables for c in t.columns})
    versions = dict(snapshot.versions)
    version, store = change_others(request, versions, version, reading)
    shared = share_with_others(request, versions, comparison)
    recorded = await record_statements(request, versions, version, comparison)
    changed = {n: v for n, v in versions.items() if v is not snapshot.versions[n]}
    snapshot = replace(snapshot, versions=versions)
    fresh = await add_version(
        request.tx,
        snapshot,
        version,
        _operations(request, version, comparison, ids, tag),
        next_id=reading.next_id,
        last_statements=recorded,
        store_statements=[
            *store,
            *shared,
            *(version_statement(v) for n, v in changed.items() if n != version.number),
        ],
    )
    return Outcome(fresh, tag, (*reading.notices, *_notices(request, comparison, ids)))


def _operations(
    request: DdlRequest, version: Version, comparison: Comparison, ids: set[int], tag: str
) -> list[Operation]:
    dropped = [
        Operation(f"drop {'view' if t.kind == 'view' else 'table'}", t.name, request.statement,
                  actor=request.actor)
        for t in comparison.dropped
    ]  # fmt: skip
    if tag.startswith("DROP"):
        return dropped
    owner = next(t for t in request.head.tables if t.id in ids)
    return [
        Operation(kind, owner.name, request.statement, actor=request.actor)
        for kind in dict.fromkeys(comparison.reading.kinds)
    ] + dropped


def _notices(request: DdlRequest, comparison: Comparison, ids: set[int]) -> list[Note]:
    notices = []
    others = sorted(set(request.snapshot.versions) - {request.pending})
    if len(others) > 0:
        for _, constraint in comparison.added:
            notices.append(
                Note(
                    f'constraint "{constraint.name}" holds for writes through every version',
                    hint="Constraints belong to the rows, not to a version.",
                )
            )
        for _, constraint in comparison.removed:
            notices.append(Note(f'constraint "{constraint.name}" is dropped in every version'))
        for not_null in comparison.reading.nullable.values():
            verb = "holds" if not_null else "is dropped"
            notices.append(Note(f"NOT NULL {verb} for writes through every version"))
    gone = [t for t in comparison.dropped if t.id not in ids and t.kind == "view"]
    if len(gone) == 1:
        notices.append(Note(f"drop cascades to view {gone[0].name}"))
    elif gone:
        detail = "\n".join(f"drop cascades to view {t.name}" for t in gone)
        notices.append(Note(f"drop cascades to {len(gone)} other objects", detail=detail))
    return notices
