"""What PostgreSQL made of a client's DDL: everything in the scratch schema, read in one query.

Names in defaults, types and definitions are printed under search_path = pg_catalog, so they mean
the same everywhere; only the queries of views are printed as a version of the model has them, with
its own tables unqualified.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from catalog.sqltext import quote_ident
from evolution.transaction import Transaction
from rewrite.tree import Tokens

SCRATCH = "morph_scratch"
_WHERE = frozenset({"WHERE"})
_SETTING = "morph.scratch"
_VIEWS = "morph.scratch_views"


@dataclass(frozen=True, slots=True)
class ScratchColumn:
    """A column as the catalog describes it; `generated` is "", "s" or "v"."""

    number: int
    name: str
    type: str
    not_null: bool
    identity: str
    generated: str
    default: str | None
    comment: str | None
    sequence: str = ""  # the options of an identity


@dataclass(frozen=True, slots=True)
class ScratchConstraint:
    """A constraint; `columns` are attribute numbers, `references` is the oid of a foreign key's
    table, whose schema and name follow.
    """

    oid: int
    name: str
    kind: str
    columns: tuple[int, ...]
    definition: str
    expression: str | None
    references: int
    references_schema: str
    references_name: str
    foreign_columns: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ScratchIndex:
    """An index that no constraint owns; `definition` is what follows USING method, `predicate`
    its WHERE clause.
    """

    oid: int
    name: str
    unique: bool
    method: str
    definition: str
    predicate: str


@dataclass(frozen=True, slots=True)
class ScratchTable:
    """A scratch relation; `definition` is a view's query, `reads` what a view reads, as
    (schema, relation, column).
    """

    oid: int
    name: str
    kind: str
    columns: tuple[ScratchColumn, ...]
    constraints: tuple[ScratchConstraint, ...]
    indexes: tuple[ScratchIndex, ...]
    filenode: int
    comment: str | None
    reads: tuple[tuple[str, str, str], ...] = ()
    definition: str = ""


_IDENTITY = """
SELECT format(' (START %s INCREMENT %s MINVALUE %s MAXVALUE %s CACHE %s%s)', s.seqstart,
    s.seqincrement, s.seqmin, s.seqmax, s.seqcache, CASE WHEN s.seqcycle THEN ' CYCLE' END)
FROM pg_depend p JOIN pg_sequence s ON s.seqrelid = p.objid
WHERE a.attidentity <> '' AND p.classid = 'pg_class'::regclass AND p.deptype = 'i'
  AND p.refclassid = 'pg_class'::regclass AND p.refobjid = a.attrelid
  AND p.refobjsubid = a.attnum"""

_COLUMNS = f"""
SELECT coalesce(json_agg(json_build_array(a.attnum, a.attname, format_type(a.atttypid, a.atttypmod),
    a.attnotnull, a.attidentity, a.attgenerated, pg_get_expr(d.adbin, d.adrelid),
    col_description(a.attrelid, a.attnum), coalesce(({_IDENTITY}), '')) ORDER BY a.attnum), '[]')
FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"""

_CONSTRAINTS = """
SELECT coalesce(json_agg(json_build_array(k.oid::int8, k.conname, k.contype, k.conkey,
    pg_get_constraintdef(k.oid), pg_get_expr(k.conbin, k.conrelid), k.confrelid::int8,
    coalesce(fn.nspname, ''), coalesce(f.relname, ''), k.confkey) ORDER BY k.oid), '[]')
FROM pg_constraint k LEFT JOIN pg_class f ON f.oid = k.confrelid
LEFT JOIN pg_namespace fn ON fn.oid = f.relnamespace
WHERE k.conrelid = c.oid AND k.contype IN ('p', 'u', 'c', 'f', 'x')"""

_INDEXES = """
SELECT coalesce(json_agg(json_build_array(i.indexrelid::int8, ic.relname, i.indisunique, am.amname,
    pg_get_indexdef(i.indexrelid)) ORDER BY i.indexrelid), '[]')
FROM pg_index i JOIN pg_class ic ON ic.oid = i.indexrelid JOIN pg_am am ON am.oid = ic.relam
WHERE i.indrelid = c.oid
  AND NOT EXISTS (
    SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.conrelid = c.oid)"""

_READS = """
SELECT coalesce(json_agg(DISTINCT jsonb_build_array(n.nspname, t.relname, a.attname)), '[]')
FROM pg_rewrite r JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
JOIN pg_class t ON d.refclassid = 'pg_class'::regclass AND t.oid = d.refobjid AND t.oid <> c.oid
JOIN pg_namespace n ON n.oid = t.relnamespace
LEFT JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid AND a.attnum > 0
WHERE r.ev_class = c.oid"""

_RELATIONS = f"""
SELECT set_config('{_SETTING}', coalesce((
  SELECT json_agg(json_build_array(c.oid::int8, c.relname, c.relkind, ({_COLUMNS}),
    ({_CONSTRAINTS}), ({_INDEXES}), coalesce(pg_relation_filenode(c.oid), 0)::int8,
    obj_description(c.oid, 'pg_class'), ({_READS})) ORDER BY c.oid)
  FROM pg_class c WHERE c.relnamespace = '{SCRATCH}'::regnamespace
    AND c.relkind IN ('r', 'v', 'p', 'f')), '[]')::text, true)"""

_VIEW_QUERIES = f"""
SELECT set_config('{_VIEWS}', coalesce((
  SELECT json_object_agg(c.oid::int8, pg_get_viewdef(c.oid)) FROM pg_class c
  WHERE c.relnamespace = '{SCRATCH}'::regnamespace AND c.relkind = 'v'), '{{}}')::text, true)"""


def scratch_path(schema: str) -> str:
    """Names of DDL on the scratch copy: the copy first, then a version's shapes."""
    return f"SET LOCAL search_path = {SCRATCH}, {quote_ident(schema)}, public, pg_temp"


async def read_scratch(tx: Transaction, schema: str) -> dict[int, ScratchTable]:
    """The relations in the scratch schema by oid; `schema` is where views have their names from."""
    await tx.apply(
        [
            "SET LOCAL search_path = pg_catalog, pg_temp",
            _RELATIONS,
            scratch_path(schema),
            _VIEW_QUERIES,
        ]
    )
    settings = f"SELECT current_setting('{_SETTING}'), current_setting('{_VIEWS}')"
    ((relations, views),) = await tx.fetch(settings)
    queries = json.loads(views or "{}")
    found = [_relation(row, queries) for row in json.loads(relations or "[]")]
    return {relation.oid: relation for relation in found}


def _relation(row: list[Any], queries: dict[str, str]) -> ScratchTable:
    oid, name, kind, columns, constraints, indexes, filenode, comment, reads = row
    return ScratchTable(
        oid,
        name,
        kind,
        tuple(ScratchColumn(*values) for values in columns),
        tuple(_constraint(values) for values in constraints),
        tuple(_index(values) for values in indexes),
        filenode,
        comment,
        tuple((schema, relation, column or "") for schema, relation, column in reads),
        queries.get(str(oid), "").strip().rstrip(";"),
    )


def _constraint(values: list[Any]) -> ScratchConstraint:
    oid, name, kind, columns, definition, expression, *target, foreign = values
    references, schema, relation = target
    return ScratchConstraint(
        oid, name, kind, tuple(columns or ()), definition, expression,
        references, schema, relation, tuple(foreign or ()),
    )  # fmt: skip


def _index(values: list[Any]) -> ScratchIndex:
    oid, name, unique, method, text = values
    definition, predicate = split_predicate(text.split(f" USING {method} ", 1)[1])
    return ScratchIndex(oid, name, unique, method, definition, predicate)


def split_predicate(definition: str) -> tuple[str, str]:
    """An index definition without its WHERE clause, and that clause."""
    tokens = Tokens(definition)
    index = tokens.find_top(0, _WHERE, len(definition))
    if index == len(tokens.items):
        return definition, ""
    at = tokens.items[index].start
    return definition[:at].rstrip(), f" {definition[at:]}"
