"""What EXPLAIN says beyond PostgreSQL's plan: the tier, the tables, what went where and why (pure).

PostgreSQL explains the rewritten statement over the store's tables, so `explained` also puts the
client's names back into its plan: the store calls tables t<id>, columns c<id>, and its view rows
are aliased `t` (decision 0001). The four formats get the same facts; without VERBOSE only the tier.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from xml.sax.saxutils import escape

from backends.base import ScanPlan
from backends.embedded.pushdown import NotRendered, render
from catalog.model import Lensed, Seed, Stored
from catalog.sqltext import STORE_SCHEMA, quote_ident
from core.expr import Expr
from engine.lensed_columns import OTHER_FORM
from engine.scans import Scan
from rewrite.analysis import Analysis, StatementPlan
from rewrite.context import make_context
from rewrite.namespaces import Namespaces
from rewrite.rules import RULES
from rewrite.scope import RelationRef, is_foreign
from rewrite.tree import Node, Tokens, ast, names_of, walk

TIERS: Final[Mapping[int, str]] = {1: "answered by the store", 2: "merged from scans"}
_PLAIN = re.compile(r"[a-z_][a-z0-9_]*")
_STRING = re.compile(r"('(?:[^']|'')*')")
_RELATION = re.compile(
    r'(?P<head>\bon |"Relation Name": "|Relation Name: "|<Relation-Name>)(?P<name>t\d+(?:s\d+)*)\b'
)
_QUALIFIED = re.compile(rf"\b{STORE_SCHEMA}\.(t\d+(?:s\d+)*)\b")
_SCHEMA = re.compile(rf'("Schema": "|Schema: "|<Schema>){STORE_SCHEMA}\b')
_COLUMN = re.compile(r"(?<![\w\"$.])((?:t(?:_\d+)?|old|new)\.)?(c\d+)(?![\w(\"$])")
_RESERVED = re.compile(r'"?\bmorph_[vw]\d+\b"?\.')
_ARRAY = re.compile(r"(?<=\bunnest\()E?'[^']*(?:''[^']*)*'(?=::)")
_ARRAY_SHOWN: Final = 40
"""Characters of an array up to which the plan shows it: rows of a scan come as arrays."""


@dataclass(frozen=True, slots=True)
class TableUse:
    """A store table of the statement."""

    name: str
    namespace: str
    version: int
    instance: str
    kind: str


@dataclass(frozen=True, slots=True)
class ScanUse:
    """One scan of the merge tier: `taken` and `residual` are SQL over the table's names. `rows` is
    an estimate, 0 for none; `semi_join` says for whose keys the scan waits.
    """

    table: str
    native: str
    taken: str
    residual: str
    reasons: tuple[str, ...]
    rows: int = 0
    semi_join: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Morphgres's part of an EXPLAIN."""

    tier: int
    tables: tuple[TableUse, ...]
    virtual: tuple[str, ...]
    rules: tuple[str, ...]
    native: str
    scans: tuple[ScanUse, ...] = ()
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Options:
    """The options of an EXPLAIN that matter here."""

    format: str = "text"
    verbose: bool = False
    analyze: bool = False


def read_options(node: Node) -> Options:
    """The options of an ExplainStmt; a bad one is PostgreSQL's to refuse."""
    values = {"format": "text", "verbose": "false", "analyze": "false"}
    for option in node.options or ():
        values[option.defname] = _option_text(option.arg)
    on = ("true", "on", "1", "")
    return Options(values["format"], values["verbose"] in on, values["analyze"] in on)


def _option_text(argument: Node) -> str:
    for name in ("sval", "ival", "boolval"):
        value = getattr(argument, name, None)
        if value is not None:
            return str(value).lower()
    return ""


def explain(
    analysis: Analysis,
    statement: StatementPlan,
    namespaces: Namespaces,
    instance: tuple[str, str],
    kind_of: Callable[[str], str] = str,
) -> Explanation:
    """The explanation of an EXPLAIN that the store answers; `instance` is (name, kind) of the
    embedded store, `kind_of` tells the kinds of the others.
    """
    node = statement.node
    query = node.query if isinstance(node, ast.ExplainStmt) else node
    return Explanation(
        tier=1,
        tables=_tables(statement.relations, instance, kind_of),
        virtual=_virtual(query, statement.relations),
        rules=_rules(analysis, statement, namespaces),
        native=without_explain(analysis.part(statement).text),
    )


def scan_use(scan: Scan, plan: ScanPlan, native: str) -> ScanUse:
    """One scan as EXPLAIN shows it."""
    names = {column.id: quote_ident(column.name) for column in scan.placed.table.columns}
    return ScanUse(
        table=scan.alias,
        native=native,
        taken=_sql(plan.taken, names),
        residual=_sql(plan.residual, names),
        reasons=tuple(dict.fromkeys([*scan.reasons, *plan.reasons, *_converted(scan)])),
    )


def _converted(scan: Scan) -> list[str]:
    """Why PostgreSQL is needed for columns that a version shows in another form."""
    shown = (c for c in scan.placed.table.columns if c.id in scan.shown)
    return [f"{c.name} {OTHER_FORM}" for c in shown if isinstance(c.source, Lensed)]


def _sql(expr: Expr | None, names: Mapping[int, str]) -> str:
    if expr is None:
        return ""
    try:
        return render(expr, names)
    except NotRendered as error:
        return f"({error})"


def _tables(
    relations: Iterable[RelationRef], instance: tuple[str, str], kind_of: Callable[[str], str]
) -> tuple[TableUse, ...]:
    uses = []
    for ref in relations:
        table = ref.resolved.table
        place = (table.instance, kind_of(table.instance)) if is_foreign(ref) else instance
        number = ref.resolved.version.number
        uses.append(TableUse(table.name, ref.resolved.schema, number, *place))
    return tuple(dict.fromkeys(uses))


def _virtual(query: Node, relations: Iterable[RelationRef]) -> tuple[str, ...]:
    """Columns made by generators when they are read, with their expressions."""
    mentioned: set[str] = set()
    star = False
    for node in walk(query):
        if isinstance(node, ast.ColumnRef):
            names = names_of(node)
            star = star or names is None
            mentioned |= {names[-1], names[0]} if names else set()
    found = [
        f"{ref.alias}.{column.name} = {column.source.expression}"
        for ref in relations
        for column in ref.resolved.table.columns
        if isinstance(column.source, Seed)
        and (star or ref.alias in mentioned or column.name in mentioned)
    ]
    return tuple(dict.fromkeys(found))


def _rules(analysis: Analysis, statement: StatementPlan, namespaces: Namespaces) -> tuple[str, ...]:
    context = make_context(
        analysis.text,
        statement.start,
        statement.end,
        Tokens(analysis.text),
        statement.node,
        namespaces,
        analysis.widths,
    )
    return tuple(rule.__name__ for rule in RULES if any(True for _ in rule(context)))


def without_explain(text: str) -> str:
    """The statement below EXPLAIN and its options."""
    tokens = Tokens(text)
    index = 1
    if tokens.name(index) == "ASCII_40":
        index = tokens.matching_close(index) + 1
    else:
        while tokens.name(index) in ("ANALYZE", "VERBOSE"):
            index += 1
    return text[tokens.items[index].start :]


def store_plan(relation: str, server: str, options: Options, actual: str = "") -> list[str]:
    """The plan of a statement that another store answers alone, in the format of the options;
    `actual` is what EXPLAIN ANALYZE measured.
    """
    node = f"Store Scan on {relation} ({server}){actual}"
    if options.format == "text":
        return [node]
    plan = {"Node Type": "Store Scan", "Relation Name": relation, "Server": server}
    if options.format == "json":
        body = json.dumps([{"Plan": plan}], indent=2, ensure_ascii=False)
        return [body]
    if options.format == "yaml":
        first, *more = _yaml({"Plan": plan}, 2)
        return ["\n".join(["- " + first.lstrip(), *more])]
    head = '<explain xmlns="http://www.postgresql.org/2009/explain">'
    lines = "\n".join(_xml({"Plan": plan}, 4))
    return [f"{head}\n  <Query>\n{lines}\n  </Query>\n</explain>"]


# The names of the store in PostgreSQL's plan


class Names:
    """The client's names for the store's, of the tables of one statement."""

    def __init__(self, relations: Iterable[RelationRef]) -> None:
        self._tables: dict[str, tuple[str, str]] = {}
        self._columns: dict[str, str] = {}
        self._objects: dict[str, str] = {}
        for ref in relations:
            table = ref.resolved.table
            if not table.store:
                parent = ref.resolved.version.table_by_id(table.parent_id)
                if parent is None:
                    continue
                table = parent
            names = (_plain(ref.resolved.schema), _plain(table.name))
            self._tables.setdefault(table.store, names)
            for column in table.columns:
                if isinstance(column.source, Stored):
                    self._columns.setdefault(column.source.column, _plain(column.name))
                elif isinstance(column.source, Lensed):
                    self._columns.setdefault(f"c{column.id}", _plain(column.name))
            for below in (c for lens in table.lenses for c in lens.under):
                if isinstance(below.source, Stored):
                    self._columns.setdefault(below.source.column, _plain(below.name))
            objects = [(item.store_name, item.name) for item in table.indexes]
            objects += [(item.store_name, item.name) for item in table.constraints]
            for store, name in objects:
                if store:
                    self._objects.setdefault(store, _plain(name))
        words = "|".join(map(re.escape, self._objects))
        self._object = re.compile(rf"\b({words})\b") if words else None

    def put_back(self, plan: str) -> str:
        """A plan in any format with the client's names; string constants stay as they are."""
        parts = _STRING.split(plan)
        parts[::2] = [self._names(part) for part in parts[::2]]
        return "".join(parts)

    def _names(self, text: str) -> str:
        text = _QUALIFIED.sub(lambda m: ".".join(self._tables.get(m[1], (m[0],))), text)
        text = _RELATION.sub(
            lambda m: m["head"] + self._tables.get(m["name"], ("", m["name"]))[1], text
        )
        schema = next((names[0] for names in self._tables.values()), STORE_SCHEMA)
        text = _SCHEMA.sub(lambda m: m[1] + schema, text)
        text = _COLUMN.sub(lambda m: (m[1] or "") + self._columns.get(m[2], m[2]), text)
        if self._object is not None:
            text = self._object.sub(lambda m: self._objects[m[1]], text)
        return _RESERVED.sub("", text)


def _plain(name: str) -> str:
    return name if _PLAIN.fullmatch(name) else quote_ident(name)


def _shortened(array: re.Match[str]) -> str:
    text = array[0]
    return text if len(text) <= _ARRAY_SHOWN else "'{…}'"


# The four formats


def explained(
    rows: Sequence[str], explanation: Explanation, options: Options, names: Names
) -> list[str]:
    """PostgreSQL's rows of QUERY PLAN with the client's names and Morphgres's part."""
    if explanation.tier == 2:
        rows = [_ARRAY.sub(_shortened, row) for row in rows]
    if options.format == "text":
        return [names.put_back(row) for row in rows] + _text(explanation, options.verbose)
    plan = names.put_back("\n".join(rows))
    facts = _facts(explanation, options.verbose)
    if options.format == "json":
        return [_in_json(plan, facts)]
    if options.format == "yaml":
        return [plan.rstrip("\n") + "\n" + "\n".join(_yaml({"Morphgres": facts}, 2))]
    if options.format == "xml":
        lines = "\n".join(_xml({"Morphgres": facts}, 4))
        head, tail, rest = plan.rpartition("  </Query>")
        return [f"{head}{lines}\n{tail}{rest}"]
    return [plan]


def _text(explanation: Explanation, verbose: bool) -> list[str]:
    lines = [f"Morphgres: tier {explanation.tier} ({TIERS[explanation.tier]})"]
    if not verbose:
        return lines
    lines += [
        f"  Table: {t.namespace}.{t.name}, version {t.version}, instance {t.instance} ({t.kind})"
        for t in explanation.tables
    ]
    lines += [f"  Virtual Column: {each}" for each in explanation.virtual]
    if explanation.rules:
        lines.append(f"  Rules: {', '.join(explanation.rules)}")
    lines += [f"  Reason: {each}" for each in explanation.reasons]
    for scan in explanation.scans:
        lines.append(f"  Scan of {scan.table}: {scan.native}")
        lines.append(f"    Pushed: {scan.taken or 'nothing'}")
        lines += [f"    Left: {scan.residual}"] if scan.residual else []
        lines += [f"    Semi-Join: {scan.semi_join}"] if scan.semi_join else []
        lines += [f"    Rows: about {scan.rows}"] if scan.rows else []
        lines += [f"    Reason: {each}" for each in scan.reasons]
    if explanation.tier == 1 and not explanation.scans:
        lines.append("  Pushed: everything")
    if not explanation.native:
        return lines
    first, *more = explanation.native.split("\n")
    return [*lines, f"  Native: {first}", *(f"    {line}" for line in more)]


def _facts(explanation: Explanation, verbose: bool) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "Tier": explanation.tier,
        "Tier Name": TIERS[explanation.tier],
    }
    if not verbose:
        return facts
    facts["Tables"] = [
        {
            "Name": t.name,
            "Namespace": t.namespace,
            "Version": t.version,
            "Instance": t.instance,
            "Kind": t.kind,
        }
        for t in explanation.tables
    ]
    facts["Virtual Columns"] = list(explanation.virtual)
    facts["Rules"] = list(explanation.rules)
    facts["Reasons"] = list(explanation.reasons)
    facts["Scans"] = [
        {
            "Table": s.table,
            "Native": s.native,
            "Pushed": s.taken,
            "Left": s.residual,
            "Reasons": list(s.reasons),
            **({"Semi-Join": s.semi_join} if s.semi_join else {}),
            **({"Estimated Rows": s.rows} if s.rows else {}),
        }
        for s in explanation.scans
    ]
    facts["Pushed"] = "everything" if explanation.tier == 1 else "what the scans say"
    facts["Native"] = explanation.native
    return facts


def _in_json(plan: str, facts: dict[str, Any]) -> str:
    """Text surgery: PostgreSQL's own layout and digits stay."""
    end = "\n  }\n]"
    body = plan.rstrip()
    if not body.endswith(end):
        return plan
    added = json.dumps({"Morphgres": facts}, indent=2, ensure_ascii=False)
    inner = "\n".join("  " + line for line in added.split("\n")[1:-1])
    return f"{body.removesuffix(end)},\n{inner}{end}"


def _yaml(value: Mapping[str, Any], indent: int) -> list[str]:
    lines = []
    pad = " " * indent
    for key, item in value.items():
        if isinstance(item, dict):
            lines += [f"{pad}{key}: ", *_yaml(item, indent + 2)]
        elif isinstance(item, list) and item:
            lines.append(f"{pad}{key}: ")
            for each in item:
                if isinstance(each, dict):
                    first, *more = _yaml(each, indent + 4)
                    lines += [f"{pad}  - {first.lstrip()}", *more]
                else:
                    lines.append(f"{pad}  - {json.dumps(each, ensure_ascii=False)}")
        else:
            lines.append(f"{pad}{key}: {json.dumps(item, ensure_ascii=False)}")
    return lines


def _xml(value: Mapping[str, Any], indent: int) -> list[str]:
    lines = []
    pad = " " * indent
    for key, item in value.items():
        tag = key.replace(" ", "-")
        if isinstance(item, dict):
            lines += [f"{pad}<{tag}>", *_xml(item, indent + 2), f"{pad}</{tag}>"]
        elif isinstance(item, list):
            lines.append(f"{pad}<{tag}>")
            for each in item:
                one = each if isinstance(each, dict) else None
                if one is not None:
                    lines += [f"{pad}  <Item>", *_xml(one, indent + 4), f"{pad}  </Item>"]
                else:
                    lines.append(f"{pad}  <Item>{escape(str(each))}</Item>")
            lines.append(f"{pad}</{tag}>")
        else:
            lines.append(f"{pad}<{tag}>{escape(str(item))}</{tag}>")
    return lines
