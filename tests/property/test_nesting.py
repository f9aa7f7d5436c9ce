"""Lens laws of documents and columns over the real store (EVOLUTION 2): random chains of nesting
and unnesting among the other changes of columns, random documents, random writes.

GetPut: writing back what a version shows changes nothing that any version shows. PutGet: what was
written through a version is what it shows, to the letter, the columns beside it as before.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.conftest import open_directory as _open_directory
from tests.integration.fresh_catalog import empty_catalog
from tests.integration.server_process import ServerProcess, running

open_directory = _open_directory
Connection = psycopg.Connection[Any]
ROWS = 3
FIRST = {"a": "text", "b": "integer", "doc": "jsonb"}
KEYS = ("a", "b", "k.a", "k.b", "x")
SCALARS = st.sampled_from(["null", '"a b"', "5", "5.0", "true", "[1, 2]", "{}", '{"a": 1}'])
DOCUMENTS = SCALARS | st.dictionaries(
    st.sampled_from(["a", "b", "k", "x", "zip"]), SCALARS, max_size=4
).map(lambda d: "{" + ", ".join(f'"{k}": {v}' for k, v in d.items()) + "}")
VALUES: dict[str, st.SearchStrategy[str | None]] = {
    "text": st.text("abé'\\ ", max_size=4),
    "integer": st.integers(-99999, 99999).map(str),
    "numeric": st.decimals(-999, 999, places=2).map(str),
    "jsonb": DOCUMENTS,
}
KINDS = ("nest", "unnest", "unnest", "rename", "convert", "merge", "split")


@pytest.fixture(scope="module")
def lens_server(open_directory: Path) -> Iterator[ServerProcess]:
    with running(open_directory / "nesting") as process:
        yield process


def names(shown: dict[str, str], *types: str) -> list[str]:
    return [name for name, kind in shown.items() if kind in types]


def quoted(name: str) -> str:
    return '"' + name + '"'


def nest(draw: st.DrawFn, shown: dict[str, str], made: int) -> str:
    chosen = draw(st.lists(st.sampled_from(list(shown)), min_size=1, max_size=3, unique=True))
    if any(one != two and one.startswith(f"{two}.") for one in chosen for two in chosen):
        chosen = chosen[:1]
    for name in chosen:
        del shown[name]
    shown[f"n{made}"] = "jsonb"
    return f"CALL morph.nest_columns('t', 'n{made}', '{{{','.join(chosen)}}}')"


def unnest(draw: st.DrawFn, shown: dict[str, str], made: int) -> str:
    name = draw(st.sampled_from(names(shown, "jsonb")))
    del shown[name]
    keys = [k for k in draw(st.lists(st.sampled_from(KEYS), max_size=3, unique=True))
            if k not in shown] or [f"u{made}"]  # fmt: skip
    types = {key: draw(st.sampled_from(list(VALUES))) for key in keys}
    shown.update(types)
    listed = ", ".join(f'"{key}": "{kind}"' for key, kind in types.items())
    return f"CALL morph.unnest_column('t', '{name}', '{{{listed}}}')"


def change(draw: st.DrawFn, shown: dict[str, str], made: int) -> str:
    """The DDL of a random change to the newest version, whose columns become those after it."""
    kind = draw(st.sampled_from(KINDS))
    texts, numbers = names(shown, "text"), names(shown, "integer")
    if kind == "nest":
        return nest(draw, shown, made)
    if kind == "unnest" and names(shown, "jsonb"):
        return unnest(draw, shown, made)
    if kind == "convert" and numbers:
        name = draw(st.sampled_from(numbers))
        shown[name] = "numeric"
        return f"ALTER TABLE t ALTER COLUMN {quoted(name)} TYPE numeric"
    if kind == "split" and texts:
        name = draw(st.sampled_from(texts))
        del shown[name]
        one, two = f"l{made}", f"r{made}"
        shown.update({one: "text", two: "text"})
        up = f'{{"{one}": "left(\\"{name}\\", 2)", "{two}": "substr(\\"{name}\\", 3)"}}'
        return f"CALL morph.split_column('t', '{name}', '{up}', '{one} || {two}')"
    if kind == "merge" and len(texts) > 1:
        one, two = texts[:2]
        del shown[one], shown[two]
        shown[f"m{made}"] = "text"
        back = f'{{"{one}": "left(m{made}, 1)", "{two}": "substr(m{made}, 2)"}}'
        up = f"{quoted(one)} || {quoted(two)}"
        return f"CALL morph.merge_columns('t', 'm{made}', '{up}', '{back}')"
    name = draw(st.sampled_from(list(shown)))
    new = f"c{made}"
    listed = {(new if n == name else n): k for n, k in shown.items()}
    shown.clear()
    shown.update(listed)
    return f"ALTER TABLE t RENAME COLUMN {quoted(name)} TO {new}"


@st.composite
def histories(draw: st.DrawFn, longest: int = 6) -> tuple[list[str], list[Any], list[Any]]:
    """Changes, rows, and writes as (version, column, row, value)."""
    shown = dict(FIRST)
    versions, ddl = [dict(shown)], []
    for made in range(draw(st.integers(1, longest))):
        ddl.append(change(draw, shown, made))
        versions.append(dict(shown))
    row = st.tuples(*(st.none() | VALUES[kind] for kind in FIRST.values()))
    start = draw(st.lists(row, min_size=ROWS, max_size=ROWS))
    writes = []
    for _ in range(draw(st.integers(1, 6))):
        number = draw(st.integers(0, len(versions) - 1))
        name = draw(st.sampled_from(list(versions[number])))
        value = draw(st.none() | VALUES[versions[number][name]])
        writes.append((number + 1, name, draw(st.integers(1, ROWS)), value))
    return ddl, start, [versions, writes]


def everything(client: Connection, versions: list[dict[str, str]]) -> list[list[Any]]:
    found = []
    for number, shown in enumerate(versions, 1):
        listed = ", ".join(f"{quoted(name)}::text" for name in shown)
        found.append(client.execute(f"SELECT {listed} FROM v{number}.t ORDER BY id").fetchall())
    return found


def put_back(client: Connection, versions: list[dict[str, str]]) -> None:
    """GetPut: every version writes what it shows."""
    before = everything(client, versions)
    for number, shown in enumerate(versions, 1):
        sets = ", ".join(f"{quoted(name)} = {quoted(name)}" for name in shown)
        client.execute(f"UPDATE v{number}.t SET {sets}")
        assert everything(client, versions) == before, f"version {number}"


def check(server: ServerProcess, history: tuple[list[str], list[Any], list[Any]]) -> None:
    """The laws for one history, and that promotion and rollback change nothing."""
    ddl, start, (versions, writes) = history
    empty_catalog(server)
    with server.connect() as client:
        client.execute("CREATE TABLE t (id int PRIMARY KEY, a text, b int, doc jsonb)")
        for number, row in enumerate(start, 1):
            client.execute("INSERT INTO t VALUES (%s, %s, %s, %s)", (number, *row))
        client.execute("SET morph.ddl_mode = virtual; SET client_min_messages = error")
        for statement in ddl:
            client.execute(statement)
        put_back(client, versions)
        for number, name, row, value in writes:  # PutGet
            shown = list(versions[number - 1])
            before = everything(client, versions)[number - 1][row - 1]
            kind = versions[number - 1][name]
            client.execute(f"UPDATE v{number}.t SET {quoted(name)} = %s WHERE id = {row}", [value])
            ((wanted,),) = client.execute(f"SELECT %s::{kind}::text", [value]).fetchall()
            expected = tuple(wanted if n == name else b for n, b in zip(shown, before, strict=True))
            assert everything(client, versions)[number - 1][row - 1] == expected, (number, name)
        put_back(client, versions)
        now = everything(client, versions)
        client.execute(f"CALL morph.promote({len(versions)})")
        client.execute("CALL morph.rollback(2)")
        assert everything(client, versions) == now


LIMITS = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@settings(LIMITS, max_examples=8)
@given(history=histories())
def test_lens_laws_of_chains(
    lens_server: ServerProcess, history: tuple[list[str], list[Any], list[Any]]
) -> None:  # R4.1 R1.5
    check(lens_server, history)


@settings(LIMITS, max_examples=6)
@given(history=histories(longest=1))
def test_lens_laws_of_one_change(
    lens_server: ServerProcess, history: tuple[list[str], list[Any], list[Any]]
) -> None:  # R4.1
    check(lens_server, history)
