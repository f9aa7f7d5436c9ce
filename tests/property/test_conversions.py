"""Lens laws of conversions over the real store (EVOLUTION 2): random chains of type changes, random
rows, random writes through random versions.

GetPut: writing back what a version shows changes nothing that any version shows. PutGet: what was
written through a version is what it shows, to the letter.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
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
ROWS = 4


@dataclass(frozen=True)
class Conversion:
    """One ALTER COLUMN x TYPE: from which type to which, by USING, and `back` when it is needed."""

    old: str
    new: str
    using: str = ""
    back: str = ""

    @property
    def ddl(self) -> str:
        using = f" USING {self.using}" if self.using else ""
        return f"ALTER TABLE t ALTER COLUMN x TYPE {self.new}{using}"


CONVERSIONS = (
    Conversion("integer", "numeric(12,2)"),
    Conversion("integer", "text"),
    Conversion("integer", "double precision"),
    Conversion("integer", "bigint", "x::bigint * 100", "(x / 100)::int"),
    Conversion("integer", "integer", "coalesce(x, 0)"),
    Conversion("bigint", "numeric(12,2)"),
    Conversion("bigint", "text"),
    Conversion("numeric(12,2)", "numeric(8,1)", "round(x % 1000000, 1)", "x"),
    Conversion("numeric(12,2)", "text", "'n' || x", "substr(x, 2)::numeric(12,2)"),
    Conversion("numeric(8,1)", "integer"),
    Conversion("double precision", "numeric(12,2)", "x::numeric(12,2)"),
    Conversion("text", "text", "upper(x)", "x"),
    Conversion("text", "varchar(6)", "left(x, 6)", "x"),
    Conversion("text", "bytea", "decode(md5(x), 'hex')", "encode(x, 'hex')"),
    Conversion("text", "jsonb", "('{\"n\": ' || length(x) || '}')::jsonb", "x ->> 'n'"),
    Conversion("text", "text[]", "ARRAY[x]", "x[1]"),
    Conversion("text", "json", "('[' || length(x) || ']')::json", "x ->> 0"),
    Conversion("character varying(6)", "text"),
    Conversion("character varying(6)", "integer", "length(x)", "repeat('.', x % 6)"),
    Conversion("bytea", "text", "encode(x, 'hex')", "decode(x, 'hex')"),
    Conversion("jsonb", "text", "x::text"),
    Conversion("json", "text", "x::text"),
    Conversion("text[]", "text", "x[1]", "ARRAY[x]"),
)
"""Conversions that have a value for every value of their type, so that reading never fails."""
WORDS = st.text("abcé'\\ ", max_size=7)
VALUES: dict[str, st.SearchStrategy[str | None]] = {
    "integer": st.integers(-99999, 99999).map(str),
    "bigint": st.integers(-9999999, 9999999).map(str),
    "numeric(12,2)": st.decimals(-9999, 9999, places=2).map(str),
    "numeric(8,1)": st.decimals(-9999, 9999, places=1).map(str),
    "double precision": st.floats(-1e6, 1e6).map(repr),
    "text": WORDS,
    "character varying(6)": st.text("abcé'\\ ", max_size=6),
    "bytea": st.binary(max_size=4).map(lambda b: "\\x" + b.hex()),
    "jsonb": st.sampled_from(['"a b"', "null", "12.50", '{"k": [1, 2]}', '"é"']),
    "json": st.sampled_from(['"a b"', "null", "12.50", '{"k":  [1, 2]}', '{"k":1,"k":2}']),
    "text[]": st.sampled_from(["{}", "{a,b}", '{"a b",NULL}', '{""}', "{é}"]),
}


@pytest.fixture(scope="module")
def lens_server(open_directory: Path) -> Iterator[ServerProcess]:
    with running(open_directory / "conversions") as process:
        yield process


def chains(draw: st.DrawFn, first: str, length: int) -> list[Conversion]:
    found: list[Conversion] = []
    current = first
    for _ in range(length):
        following = [c for c in CONVERSIONS if c.old == current]
        if not following:
            break
        found.append(draw(st.sampled_from(following)))
        current = found[-1].new.replace("varchar", "character varying")
    return found


@st.composite
def histories(draw: st.DrawFn) -> tuple[str, list[Conversion], list[str | None], list[Any]]:
    """First type, chain of conversions, rows, and writes as (version, row, value)."""
    first = draw(st.sampled_from(["integer", "text"]))
    chain = chains(draw, first, draw(st.integers(1, 6)))
    types = [first, *(c.new.replace("varchar", "character varying") for c in chain)]
    start = draw(st.lists(st.none() | VALUES[first], min_size=ROWS, max_size=ROWS))
    writes = []
    for _ in range(draw(st.integers(1, 6))):
        number = draw(st.integers(0, len(types) - 1))
        value = draw(st.none() | VALUES[types[number]])
        writes.append((number + 1, types[number], draw(st.integers(1, ROWS)), value))
    return first, chain, start, writes


def change(client: Connection, conversion: Conversion) -> None:
    client.execute("SELECT set_config('morph.back', %s, false)", [conversion.back])
    client.execute(conversion.ddl)


def everything(client: Connection, versions: int) -> list[list[Any]]:
    return [
        client.execute(f"SELECT id, x::text FROM v{n}.t ORDER BY id").fetchall()
        for n in range(1, versions + 1)
    ]


def put_back(client: Connection, versions: int) -> None:
    """GetPut: every version writes what it shows."""
    before = everything(client, versions)
    for number in range(1, versions + 1):
        client.execute(f"UPDATE v{number}.t SET x = x")
        assert everything(client, versions) == before, f"version {number}"


def start_with(client: Connection, first: str, values: list[str | None]) -> None:
    client.execute(f"CREATE TABLE t (id int PRIMARY KEY, x {first})")
    client.cursor().executemany("INSERT INTO t VALUES (%s, %s)", list(enumerate(values, 1)))


LIMITS = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.mark.parametrize("conversion", CONVERSIONS, ids=lambda c: f"{c.old}-{c.new}")
@settings(LIMITS, max_examples=2)
@given(data=st.data())
def test_laws_of_one_conversion(
    lens_server: ServerProcess, conversion: Conversion, data: st.DataObject
) -> None:  # R4.1
    """Each conversion alone, over values of both types."""
    new = conversion.new.replace("varchar", "character varying")
    olds = data.draw(st.lists(st.none() | VALUES[conversion.old], min_size=ROWS, max_size=ROWS))
    news = data.draw(st.lists(st.none() | VALUES[new], min_size=ROWS, max_size=ROWS))
    empty_catalog(lens_server)
    with lens_server.connect() as client:
        start_with(client, conversion.old, olds)
        client.execute("SET morph.ddl_mode = virtual")
        change(client, conversion)
        put_back(client, 2)
        for row, value in enumerate(news, 1):
            client.execute("UPDATE v2.t SET x = %s WHERE id = %s", [value, row])
            shown = f"SELECT x::text, %s::{new}::text FROM v2.t WHERE id = %s"
            assert len(set(client.execute(shown, [value, row]).fetchone() or ())) == 1
        put_back(client, 2)


@LIMITS
@given(histories())
def test_laws_of_chains(
    lens_server: ServerProcess,
    history: tuple[str, list[Conversion], list[str | None], list[Any]],
) -> None:  # R4.1
    first, chain, values, writes = history
    versions = len(chain) + 1
    empty_catalog(lens_server)
    with lens_server.connect() as client:
        start_with(client, first, values)
        client.execute("SET morph.ddl_mode = virtual")
        for conversion in chain:
            change(client, conversion)
        put_back(client, versions)
        for number, sql_type, row, value in writes:
            others = everything(client, versions)
            client.execute(f"UPDATE v{number}.t SET x = %s WHERE id = %s", [value, row])
            shown = f"SELECT x::text, %s::{sql_type}::text FROM v{number}.t WHERE id = %s"
            got, wanted = client.execute(shown, [value, row]).fetchone() or ("", "none")
            assert got == wanted, (number, row, value)
            now = everything(client, versions)
            for before, after in zip(others, now, strict=True):  # and no other row
                assert [r for r in before if r[0] != row] == [r for r in after if r[0] != row]
        put_back(client, versions)
