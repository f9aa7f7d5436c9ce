"""DDL for one version: empty shapes for the binder, version views for the rewriter (decision 0001).

Pure: a Version in, SQL statements out. They are run in one transaction per epoch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from catalog.instances import Instance
from catalog.keyed_parts import keyed_statements, keyed_triggers, shared_key
from catalog.model import Column, Index, Lensed, Native, Seed, Stored, Table, Version
from catalog.naming import DOC_COLUMN, path_text
from catalog.readers import (
    ELEMENT,
    RAW_DOC,
    RAW_WROTE,
    ROW,
    json_at,
    part_condition,
    raw_residue,
    read_column,
    residue,
    whole_document,
    written_raw,
)
from catalog.sqltext import (
    PUBLIC,
    STORE_SCHEMA,
    quote_ident,
    quote_literal,
    shape_schema,
    text_array,
    view_schema,
    whole_schema,
)

CLIENT_ROLE = "morph_client"

SeedReader = Callable[[Version, Table, Column], str]


def _qualified(schema: str, name: str) -> str:
    return f"{quote_ident(schema)}.{quote_ident(name)}"


def relation_kind(table: Table) -> str:
    """What a shape of the table is in PostgreSQL's words."""
    if table.partitioned:
        return "TABLE"
    return {"view": "VIEW", "foreign": "FOREIGN TABLE"}.get(table.kind, "TABLE")


def server_statements(instance: Instance) -> Iterable[str]:
    """The instance as a server in PostgreSQL's own catalogs, where nothing can be executed."""
    name = quote_ident(instance.name)
    wrapper = quote_ident(instance.kind)
    yield f"CREATE SERVER {name} FOREIGN DATA WRAPPER {wrapper}{_options(instance.options)}"
    if instance.login is not None:
        yield f"CREATE USER MAPPING FOR PUBLIC SERVER {name}{_options(instance.login)}"


def alter_server_statements(old: Instance, new: Instance) -> Iterable[str]:
    """The changes of options and login that make `old` the server `new` of the same name."""
    name = quote_ident(new.name)
    changes = option_changes(old.options, new.options)
    if changes:
        yield f"ALTER SERVER {name} OPTIONS ({changes})"
    if new.login is None:
        if old.login is not None:
            yield f"DROP USER MAPPING FOR PUBLIC SERVER {name}"
    elif old.login is None:
        yield f"CREATE USER MAPPING FOR PUBLIC SERVER {name}{_options(new.login)}"
    elif changes := option_changes(old.login, new.login):
        yield f"ALTER USER MAPPING FOR PUBLIC SERVER {name} OPTIONS ({changes})"


def option_changes(old: Sequence[tuple[str, str]], new: Sequence[tuple[str, str]]) -> str:
    """What stands between the parentheses of OPTIONS to get from `old` to `new`."""
    before, after = dict(old), dict(new)
    changes = [f"DROP {quote_ident(n)}" for n in before if n not in after]
    for option, value in after.items():
        if before.get(option) != value:
            verb = "SET" if option in before else "ADD"
            changes.append(f"{verb} {quote_ident(option)} {_option_text(value)}")
    return ", ".join(changes)


def drop_server_statement(name: str) -> str:
    """The opposite of `server_statements`; its foreign tables must be gone."""
    return f"DROP SERVER IF EXISTS {quote_ident(name)} CASCADE"


def _options(options: Sequence[tuple[str, str]]) -> str:
    if not options:
        return ""
    return f" OPTIONS ({', '.join(f'{quote_ident(n)} {_option_text(v)}' for n, v in options)})"


def _option_text(value: str) -> str:
    return quote_literal(value).strip()


def _foreign_table(
    schema: str, version: Version, table: Table, shape_seed: SeedReader
) -> Iterable[str]:
    name = _qualified(schema, table.name)
    columns = ", ".join(
        _shape_column(c, shape_seed(version, table, c))
        if isinstance(c.source, Seed)
        else _foreign_column(c)
        for c in table.columns
    )
    server = quote_ident(table.instance)
    yield f"CREATE FOREIGN TABLE {name} ({columns}) SERVER {server}{_options(table.options)}"
    yield from comments(name, table)
    yield from _marked(name, table)
    yield f"GRANT REFERENCES ON {name} TO {CLIENT_ROLE}"


def _foreign_column(column: Column) -> str:
    text = f"{quote_ident(column.name)} {column.type}{_options(column_options(column))}"
    if column.default is not None:
        text += f" DEFAULT {column.default}"
    return text + (" NOT NULL" if column.not_null else "")


def column_options(column: Column) -> tuple[tuple[str, str], ...]:
    """The option of a foreign table's column that says where its value lies, when its name does
    not say it.
    """
    source = column.source
    if not isinstance(source, Native) or source.path == (column.name,):
        return ()
    return (("path", path_text(source.path)),)


def _shape_column(column: Column, seed: str) -> str:
    text = f"{quote_ident(column.name)} {column.type}"
    if isinstance(column.source, Seed):
        return f"{text} GENERATED ALWAYS AS (({seed})::{column.type}) STORED"
    if column.identity:
        how = "ALWAYS" if column.identity == "a" else "BY DEFAULT"
        text += f" GENERATED {how} AS IDENTITY"
    elif column.default is not None:
        text += f" DEFAULT {column.default}"
    return text + (" NOT NULL" if column.not_null else "")


def _shape_table(
    schema: str, version: Version, table: Table, shape_seed: SeedReader
) -> Iterable[str]:
    if table.kind == "foreign" and not table.partitioned:
        yield from _foreign_table(schema, version, table, shape_seed)
        return
    name = _qualified(schema, table.name)
    columns = ", ".join(
        _shape_column(c, shape_seed(version, table, c) if isinstance(c.source, Seed) else "")
        for c in table.columns
    )
    yield f"CREATE TABLE {name} ({columns})"
    for constraint in table.constraints:
        if constraint.kind != "f":
            yield (
                f"ALTER TABLE {name} ADD CONSTRAINT {quote_ident(constraint.name)} "
                f"{constraint.definition}"
            )
    for index in table.indexes:
        if not shows_index(table, index):
            continue
        unique = "UNIQUE " if index.unique else ""
        yield (
            f"CREATE {unique}INDEX {quote_ident(index.name)} ON {name} "
            f"USING {index.method} {index.definition}{index.predicate}"
        )
    yield from comments(name, table)
    yield from _marked(name, table)
    yield f"GRANT REFERENCES ON {name} TO {CLIENT_ROLE}"


def _marked(name: str, table: Table) -> Iterable[str]:
    """A virtual generated column may not call user-defined functions (PostgreSQL 18), and the
    generators are some; the shape never runs, so it may say what the client said.
    """
    generated = [c for c in table.columns if isinstance(c.source, Seed)]
    stored = [c.name for c in generated if isinstance(c.source, Seed) and c.source.column]
    if len(stored) < len(generated):
        yield (
            f"SELECT morph_catalog.mark_virtual({quote_literal(name)}::regclass, "
            f"{text_array(tuple(stored))})"
        )


def shows_index(table: Table, index: Index) -> bool:
    """False for an index over a virtual column: PostgreSQL 18 has none, the store's serves."""
    text = index.definition + index.predicate
    return not any(
        isinstance(c.source, Seed)
        and not c.source.column
        and re.search(rf"(?<!\w){re.escape(c.name)}(?!\w)", text)
        for c in table.columns
    )


def scratch_statements(schema: str, version: Version, table: Table) -> Iterable[str]:
    """One table without virtual columns in a scratch schema, for PostgreSQL to alter."""
    return _shape_table(schema, version, table, lambda *_: "")


def comments(name: str, table: Table) -> Iterable[str]:
    """The comments of a relation and its columns."""
    if table.comment is not None:
        yield f"COMMENT ON {relation_kind(table)} {name} IS {quote_literal(table.comment)}"
    for column in table.columns:
        if column.comment is not None:
            yield (
                f"COMMENT ON COLUMN {name}.{quote_ident(column.name)} "
                f"IS {quote_literal(column.comment)}"
            )


def shape_foreign_keys(schema: str, tables: Iterable[Table]) -> Iterable[str]:
    """Foreign keys among the shapes, after all tables exist."""
    for table in tables:
        for constraint in table.constraints:
            if constraint.kind == "f":
                yield (
                    f"ALTER TABLE {_qualified(schema, table.name)} ADD CONSTRAINT "
                    f"{quote_ident(constraint.name)} {constraint.definition}"
                )


def _shape_view(schema: str, table: Table) -> Iterable[str]:
    name = _qualified(schema, table.name)
    columns = ", ".join(quote_ident(c.name) for c in table.columns)
    yield f"CREATE VIEW {name} ({columns}) AS {table.definition}"
    yield from comments(name, table)
    yield f"GRANT REFERENCES ON {name} TO {CLIENT_ROLE}"


def shape_statements(
    version: Version,
    shape_seed: SeedReader,
    *,
    public: bool = False,
    only: Sequence[Table] | None = None,
) -> list[str]:
    """The shapes of a version in its own schema, or in `public` for the current one; with `only`,
    of those tables in a schema that exists.

    A client's views are made with search_path on the schema, after the tables they read.
    """
    schema = PUBLIC if public else shape_schema(version.number)
    tables = version.tables if only is None else only
    statements = []
    if not public and only is None:
        statements += [
            f"CREATE SCHEMA {quote_ident(schema)}",
            f"GRANT USAGE ON SCHEMA {quote_ident(schema)} TO {CLIENT_ROLE}",
        ]
    statements.append(f"SET LOCAL search_path = {quote_ident(schema)}, public, pg_temp")
    for table in tables:
        if table.kind == "view":
            statements += _shape_view(schema, table)
        else:
            statements += _shape_table(schema, version, table, shape_seed)
    statements += shape_foreign_keys(schema, tables)
    statements.append("SET LOCAL search_path = pg_catalog, pg_temp")
    return statements


def drop_shape_statements(version: Version, *, public: bool = False) -> list[str]:
    """The opposite of `shape_statements`."""
    if not public:
        return [f"DROP SCHEMA {quote_ident(shape_schema(version.number))} CASCADE"]
    statements = []
    for table in reversed(version.tables):
        name = _qualified(PUBLIC, table.name)
        statements.append(f"DROP {relation_kind(table)} IF EXISTS {name} CASCADE")
    return statements


def _column_list(version: Version, table: Table, read_seed: SeedReader) -> list[str]:
    parent = version.table_by_id(table.parent_id)
    columns = []
    for column in table.columns:
        if isinstance(column.source, Seed) and column.source.column:
            sql = f"{ROW}.{quote_ident(column.source.column)}"
        elif isinstance(column.source, Seed):
            sql = f"({read_seed(version, table, column)})::{column.type}"
        else:
            sql = read_column(table, column, parent)
        if column.id in shared_key(table):
            # The key of the other table is not to be assigned. The planner sees through this form,
            # so indexes serve, and the type keeps its length.
            sql = f"CASE WHEN true THEN {sql} ELSE {sql} END"
        columns.append(f"{sql} AS {quote_ident(column.name)}")
    return columns


def _from_clause(version: Version, table: Table) -> str:
    if table.kind == "table":
        return f"{STORE_SCHEMA}.{quote_ident(table.store)} {ROW}"
    parent = version.table_by_id(table.parent_id)
    assert parent is not None
    array = json_at(f"{ROW}._doc", table.parent_path)
    elements = f"CASE WHEN pg_catalog.jsonb_typeof({array}) = 'array' THEN {array} END"
    return (
        f"{STORE_SCHEMA}.{quote_ident(parent.store)} {ROW}, LATERAL "
        f"pg_catalog.jsonb_array_elements({elements}) WITH ORDINALITY {ELEMENT}(value, ordinality)"
    )


def raw_columns(table: Table) -> list[str]:
    """Store columns that the whole view shows under their own names, for casting writes."""
    return sorted(
        c.source.column
        for c in table.columns
        if isinstance(c.source, Stored) and c.source.converts(c.type) and not c.source.raw
    )


def _raw_writes(table: Table) -> list[str]:
    """What a write to lensed columns assigns (catalog/lenses.py): the same columns in the same
    order whichever of the two forms the store has.
    """
    raw = sorted((c for c in table.columns if written_raw(c)), key=lambda c: c.id)
    if not raw:
        return []
    columns = []
    for column in raw:
        source = column.source
        if isinstance(source, Lensed):
            lens = table.lens(source.lens)
            stored = residue(lens, lens.over_column(column.id))
        else:
            assert isinstance(source, Stored)
            stored = source.column
        columns.append(f"{ROW}.{quote_ident(stored)} AS {quote_ident(raw_residue(column))}")
    return [*columns, f"{ROW}._w AS {quote_ident(RAW_WROTE)}"]


def _base_views(version: Version, table: Table, read_seed: SeedReader) -> Iterable[str]:
    columns = _column_list(version, table, read_seed)
    origin = _from_clause(version, table)
    name = _qualified(view_schema(version.number), table.name)
    yield from keyed_statements(version, table)
    condition = part_condition(table)
    checked = f" WHERE ({condition}) WITH LOCAL CHECK OPTION" if condition else ""
    yield f"CREATE VIEW {name} AS SELECT {', '.join(columns)} FROM {origin}{checked}"
    yield from _view_defaults(name, table)
    yield from _grants(name)
    yield from keyed_triggers(version, table, name)
    extra = []
    if table.has_doc:
        extra = [f"{whole_document(table)} AS _doc", f"{ROW}._doc AS {RAW_DOC}"]
    extra += [f"{ROW}.{quote_ident(c)} AS {quote_ident(c)}" for c in raw_columns(table)]
    extra += _raw_writes(table)
    whole = _qualified(whole_schema(version.number), table.name)
    yield f"CREATE VIEW {whole} AS SELECT {', '.join(columns + extra)} FROM {origin}{checked}"
    yield from _view_defaults(whole, table)
    yield from _grants(whole)
    yield from keyed_triggers(version, table, whole)


def foreign_base(version: Version, table: Table) -> str:
    """The empty table under the version views of a foreign table."""
    return _qualified(whole_schema(version.number), f"~{table.id}")


def _foreign_views(version: Version, table: Table) -> Iterable[str]:
    """What statements over a foreign table are described with; it never has a row.

    The views can be written to and know the keys, as far as PostgreSQL looks before it runs a
    statement; running one raises. (A scan of the shape could not even be planned.)
    """
    base = foreign_base(version, table)
    columns = [_shape_column(c, "NULL") for c in table.columns]
    document = [f"{DOC_COLUMN} pg_catalog.jsonb"] if table.has_doc else []
    yield f"CREATE TABLE {base} ({', '.join([*columns, *document])})"
    for constraint in table.constraints:
        yield f"ALTER TABLE {base} ADD {constraint.definition}"
    names = ", ".join(f"{ROW}.{quote_ident(c.name)}" for c in table.columns)
    for schema, selected in (
        (view_schema(version.number), names or ""),
        (whole_schema(version.number), f"{ROW}.*"),
    ):
        name = _qualified(schema, table.name)
        yield (
            f"CREATE VIEW {name} AS SELECT {selected} FROM {base} {ROW} "
            f"WHERE morph_catalog.not_staged({quote_literal(table.name)}) WITH LOCAL CHECK OPTION"
        )
        yield from _grants(name)


def _view_defaults(name: str, table: Table) -> Iterable[str]:
    """A version has its own defaults; the store's are for columns that it does not show."""
    actions = [
        f"ALTER COLUMN {quote_ident(c.name)} SET DEFAULT {c.default or 'NULL'}"
        for c in table.columns
        if isinstance(c.source, Stored)
        and not (c.source.converts(c.type) or c.source.raw or c.identity)
    ]
    if actions and table.kind == "table":
        yield f"ALTER TABLE {name} {', '.join(actions)}"


def _grants(name: str) -> Iterable[str]:
    yield f"GRANT SELECT, INSERT, UPDATE, DELETE ON {name} TO {CLIENT_ROLE}"


def view_statements(
    version: Version,
    read_seed: SeedReader,
    rewrite_query: Callable[[Version, str], str],
    *,
    only: Sequence[Table] | None = None,
) -> list[str]:
    """The version views. `rewrite_query` splices a client view's query onto version views; `only`
    names the tables of the version to make views for (all by default).
    """
    tables = version.tables if only is None else only
    schemas = (view_schema(version.number), whole_schema(version.number))
    statements = []
    for schema in schemas if only is None else ():
        statements += [
            f"CREATE SCHEMA {quote_ident(schema)}",
            f"GRANT USAGE ON SCHEMA {quote_ident(schema)} TO {CLIENT_ROLE}",
        ]
    for table in tables:
        if table.kind == "foreign":
            statements += _foreign_views(version, table)
        elif table.kind != "view":
            statements += _base_views(version, table, read_seed)
    statements.append(
        f"SET LOCAL search_path = {quote_ident(shape_schema(version.number))}, public, pg_temp"
    )
    for table in tables:
        if table.kind == "view":
            query = rewrite_query(version, table.definition)
            columns = ", ".join(quote_ident(c.name) for c in table.columns)
            for schema in schemas:
                name = _qualified(schema, table.name)
                statements.append(f"CREATE VIEW {name} ({columns}) AS {query}")
                statements += _grants(name)
    statements.append("SET LOCAL search_path = pg_catalog, pg_temp")
    return statements


def drop_view_statements(version: Version) -> list[str]:
    """The opposite of `view_statements`."""
    return [
        f"DROP SCHEMA {quote_ident(view_schema(version.number))} CASCADE",
        f"DROP SCHEMA {quote_ident(whole_schema(version.number))} CASCADE",
    ]
