"""The generators against an independent implementation (hashlib, uuid) and under every setting that
could reach them: values are the same in every session, server process and after a restart
(R3.1, R3.2).
"""

from __future__ import annotations

import hashlib
import re
import tempfile
import uuid
from bisect import bisect_right
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from evolution.seeds import function_kinds
from evolution.seeds.library import GENERATORS, library_sql
from evolution.seeds.library.reference import reference
from private_pg.binaries import find_binaries
from private_pg.cluster import Cluster, ClusterLimits, prepare_cluster
from private_pg.identity import choose_identity
from private_pg.supervisor import Supervisor

DATABASE = "seed_library"
NAMESPACE = uuid.UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
DOCS = Path(__file__).parents[2] / "docs" / "generators.md"

KEYS = [
    "",
    "a",
    "alice",
    "42",
    "-7",
    "Zoë",
    "日本語",
    "😀",
    "back\\slash",
    "\\x41",
    "it's",
    " " * 70,
]

PARALLEL = {
    "debug_parallel_query": "on",
    "parallel_setup_cost": "0",
    "parallel_tuple_cost": "0",
    "min_parallel_table_scan_size": "0",
}

# What a session can set that changes how some values are read, printed or computed.
SETTINGS: tuple[dict[str, str], ...] = (
    {"TimeZone": "UTC", "DateStyle": "ISO, MDY"},
    {
        "TimeZone": "Asia/Kathmandu",
        "DateStyle": "German, DMY",
        "IntervalStyle": "sql_standard",
        "bytea_output": "escape",
        "extra_float_digits": "-15",
        "lc_numeric": "C",
        "lc_time": "C",
        "lc_monetary": "C",
        "client_encoding": "LATIN1",
        "search_path": "pg_temp",
        "xmloption": "document",
    },
    {"search_path": "evil, pg_catalog"},
    {"standard_conforming_strings": "off", "escape_string_warning": "off", "array_nulls": "off"},
    PARALLEL,
    {"max_parallel_workers_per_gather": "0", "plan_cache_mode": "force_generic_plan", "jit": "off"},
)

GENERATED = """
SELECT pg_catalog.string_agg(pg_catalog.concat_ws('|', id,
  morph.hash_int(name, -50, 50), morph.hash_int(id, 1, 6, 'die'), morph.hash_int(key, 0, 9),
  pg_catalog.encode(pg_catalog.float8send(morph.hash_float(name, name)), 'hex'),
  morph.hash_bucket(key, 16), morph.hash_choice(id, ARRAY['a', 'b', 'c']),
  morph.hash_choice(name, ARRAY['a', 'b', 'c'], ARRAY[0.1, 0.2, 0.7], 'w'),
  morph.uuid5(key, name), morph.uuid8(key, name), morph.uuid8(name),
  morph.keyed_sequence(id, 100, 7), morph.permute(id, 1000), morph.permute(id, 997, name),
  morph.template('{1}-{2}', name, id::text),
  morph.template('{n}', pg_catalog.jsonb_build_object('n', name)),
  morph.mask(name, 1, 1), morph.mask_email(pg_catalog.concat(name, '@example.com')),
  morph.key(at), morph.key(day), morph.key(local), morph.key(amount), morph.key(raw),
  morph.key(flag), morph.key(fields)), ';' ORDER BY id)
FROM public.keys"""

# What a client may put before pg_catalog in its search_path.
EVIL = """
CREATE SCHEMA evil;
CREATE FUNCTION evil.zero(bigint, bigint) RETURNS bigint LANGUAGE sql RETURN 0;
CREATE FUNCTION evil.none(text, text) RETURNS text LANGUAGE sql RETURN '';
CREATE FUNCTION evil.md5(text) RETURNS text LANGUAGE sql RETURN repeat('0', 32);
CREATE FUNCTION evil.substr(bytea, int, int) RETURNS bytea LANGUAGE sql RETURN ''::bytea;
CREATE OPERATOR evil.# (FUNCTION = evil.zero, LEFTARG = bigint, RIGHTARG = bigint);
CREATE OPERATOR evil.+ (FUNCTION = evil.zero, LEFTARG = bigint, RIGHTARG = bigint);
CREATE OPERATOR evil.|| (FUNCTION = evil.none, LEFTARG = text, RIGHTARG = text);"""

KEYS_TABLE = """
CREATE TABLE keys AS SELECT i::bigint AS id, 'name-' || i AS name,
  md5(i::text)::uuid AS key, timestamptz '2024-02-29 23:30:00+00' + i * interval '1 h 1 s' AS at,
  date '2024-02-28' + i AS day, timestamp '1999-12-31 23:59:59.5' + i * interval '1 s' AS local,
  (i * 1.50)::numeric AS amount, decode(md5(i::text), 'hex') AS raw, i % 2 = 0 AS flag,
  jsonb_build_object('i', i) AS fields
FROM generate_series(0, 300) i"""


async def _install(cluster: Cluster) -> None:
    admin = await asyncpg.connect(
        host=str(cluster.socket_directory), user="morph_root", database="postgres"
    )
    await admin.execute(f"CREATE DATABASE {DATABASE}")
    await admin.close()
    connection = await _connect(cluster)
    await connection.execute("CREATE SCHEMA morph")
    await connection.execute(library_sql())
    await connection.execute(KEYS_TABLE)
    await connection.execute(EVIL)
    await connection.close()


async def _connect(cluster: Cluster, settings: dict[str, str] | None = None) -> asyncpg.Connection:
    return await asyncpg.connect(
        host=str(cluster.socket_directory),
        user="morph_root",
        database=DATABASE,
        server_settings=settings or {},
    )


@pytest_asyncio.fixture(scope="module")
async def library(pg18_cluster: Cluster) -> AsyncIterator[asyncpg.Connection]:
    await _install(pg18_cluster)
    connection = await _connect(pg18_cluster)
    yield connection
    await connection.close()


def _examples() -> list[tuple[str, str]]:
    blocks = re.findall(r"```sql\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    return [pair for block in blocks for pair in re.findall(r"SELECT (.*?);\n-- (.*)\n", block)]


def test_the_page_is_what_the_registry_says() -> None:
    # Make it anew: python -m evolution.seeds.library.reference > docs/generators.md
    assert DOCS.read_text("utf-8") == reference()
    assert len(_examples()) == sum(len(g.examples) for g in GENERATORS)


@pytest.mark.parametrize(("call", "shown"), _examples())
async def test_examples_of_the_page(
    library: asyncpg.Connection, call: str, shown: str
) -> None:  # R3.1
    if shown.startswith("ERROR "):
        with pytest.raises(asyncpg.PostgresError) as caught:
            await library.fetchval(f"SELECT {call}")
        assert caught.value.sqlstate == shown.removeprefix("ERROR ")
    else:
        value = await library.fetchval(f"SELECT ({call})::text")
        assert ("NULL" if value is None else value) == shown


async def test_the_library_can_be_run_again(library: asyncpg.Connection) -> None:
    before = await library.fetch("SELECT oid, prosrc FROM pg_proc ORDER BY oid")
    async with library.transaction():
        await library.execute(library_sql())
    assert await library.fetch("SELECT oid, prosrc FROM pg_proc ORDER BY oid") == before


async def test_every_function_is_immutable_and_parallel_safe(library: asyncpg.Connection) -> None:
    wrong = await library.fetch(
        "SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'morph'::regnamespace "
        "AND (provolatile <> 'i' OR proparallel <> 's' "
        "OR proconfig IS NOT NULL "
        "AND prolang = (SELECT oid FROM pg_language WHERE lanname = 'sql'))"
    )
    assert wrong == []
    made = {
        row[0]
        for row in await library.fetch(
            "SELECT DISTINCT proname FROM pg_proc WHERE pronamespace = 'morph'::regnamespace "
            "AND proname NOT LIKE '\\_%'"
        )
    }
    assert made == {g.name for g in GENERATORS}


async def test_functions_that_should_be_inlined_are(library: asyncpg.Connection) -> None:
    calls = (
        "hash_int(name, 1, 100)", "hash_int(id, 1, 100, 'x')", "hash_float(key)",
        "hash_bucket(name, 5)", "hash_choice(name, ARRAY['a', 'b'])", "key(at)", "key(amount)",
        "hash_choice(name, ARRAY['a', 'b'], ARRAY[1, 2.5], 's')", "uuid8(name)",
        "uuid8(key, name)", "keyed_sequence(id, 1, 2)", "mask(name, 1, 2)", "mask_email(name)",
    )  # fmt: skip
    for call in calls:
        plan = await library.fetch(f"EXPLAIN (VERBOSE, COSTS OFF) SELECT morph.{call} FROM keys")
        assert "morph." not in "".join(row[0] for row in plan), call


# -- an independent implementation ---------------------------------------------------------------


def _bits(key: str, salt: str | None) -> bytes:
    prefix = hashlib.md5(salt.encode()).hexdigest().encode() if salt is not None else b""
    return hashlib.md5(prefix + key.encode()).digest()


def _hash63(key: str, salt: str | None) -> int:
    return int.from_bytes(_bits(key, salt)[:8], "big") & (1 << 63) - 1


def _hash_float(key: str, salt: str | None) -> float:
    return (int.from_bytes(_bits(key, salt)[:8], "big") >> 11) / 2**53


def _weighted(key: str, choices: Sequence[str], weights: Sequence[float]) -> str:
    sums: list[float] = []
    for weight in weights:
        sums.append((sums[-1] if sums else 0.0) + weight)
    bounds = [s / sums[-1] for s in sums[:-1]]
    return choices[bisect_right(bounds, _hash_float(key, None))]


def _uuid8(data: bytes) -> uuid.UUID:
    digest = bytearray(hashlib.sha256(data).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x80
    digest[8] = digest[8] & 0x3F | 0x80
    return uuid.UUID(bytes=bytes(digest))


def _permute(key: int, n: int, salt: str = "") -> int:
    bits = max(2, (n - 1).bit_length())
    low = bits - bits // 2
    keys = [
        int.from_bytes(hashlib.md5(f"{salt}:{i}".encode()).digest()[:4], "big") & 0x7FFFFFFF
        for i in range(1, 7)
    ]
    while True:
        halves = [key & (1 << low) - 1, key >> low]
        masks = [(1 << low) - 1, (1 << bits // 2) - 1]
        for number, round_key in enumerate(keys):
            target = (number + 1) % 2
            mixed = (halves[1 - target] ^ round_key) * 2654435761
            mixed = ((mixed ^ mixed >> 29) & 0x7FFFFFFF) * 2246822519
            halves[target] ^= (mixed ^ mixed >> 31) & masks[target]
        key = halves[1] << low | halves[0]
        if key < n:
            return key


SALTS = [None, "", "risk", "Ö"]


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("salt", SALTS)
async def test_hashes_are_those_of_python(
    library: asyncpg.Connection, key: str, salt: str | None
) -> None:  # R3.1
    more, salts = (", $2", (salt,)) if salt is not None else ("", ())
    row = await library.fetchrow(
        f"SELECT morph.hash_int($1::text, -500, 500{more}), "
        f"morph.hash_int($1::text, 0, 9223372036854775806{more}), "
        f"morph.hash_float($1::text{more}), "
        f"morph.hash_bucket($1::text, 7{more}), "
        f"morph.hash_choice($1::text, ARRAY['x', NULL, 'z']{more})",
        key,
        *salts,
    )
    number = _hash63(key, salt)
    assert tuple(row) == (
        number % 1001 - 500,
        number % (2**63 - 1),
        _hash_float(key, salt),
        number % 7,
        ["x", None, "z"][number % 3],
    )


async def test_keys_of_other_types_hash_as_their_text(library: asyncpg.Connection) -> None:
    for number in (0, 42, -7, 2**63 - 1, -(2**63)):
        got = await library.fetchval("SELECT morph.hash_int($1::bigint, 0, 999999, 's')", number)
        assert got == _hash63(str(number), "s") % 1000000
    got = await library.fetchval("SELECT morph.hash_bucket($1::uuid, 1000)", NAMESPACE)
    assert got == _hash63(str(NAMESPACE), None) % 1000


async def test_weights(library: asyncpg.Connection) -> None:
    choices, weights = ["a", "b", "c", "d"], [0.1, 0.0, 0.7, 0.2]
    rows = await library.fetch(
        "SELECT i::text, morph.hash_choice(i::text, $1, $2::float8[]) "
        "FROM generate_series(1, 3000) i",
        choices,
        weights,
    )
    assert [r[1] for r in rows] == [_weighted(r[0], choices, weights) for r in rows]
    counts = Counter(r[1] for r in rows)
    assert "b" not in counts
    assert abs(counts["c"] / 3000 - 0.7) < 0.04


@pytest.mark.parametrize(
    ("choices", "weights"),
    [
        (["a"], []),
        ([], []),
        (["a"], [0.0]),
        (["a", "b"], [1.0, -1.0]),
        (["a"], [float("nan")]),
        (["a"], [float("inf")]),
        (["a"], [None]),
    ],
)
async def test_bad_weights_are_refused(
    library: asyncpg.Connection, choices: list[str], weights: list[float | None]
) -> None:
    with pytest.raises(asyncpg.InvalidParameterValueError):
        await library.fetchval(
            "SELECT morph.hash_choice('k', $1::text[], $2::float8[])", choices, weights
        )


async def test_numbers_are_uniform(library: asyncpg.Connection) -> None:
    rows = await library.fetch(
        "SELECT morph.hash_int(i, 0, 15, 'u') FROM generate_series(1, 16000) i"
    )
    counts = Counter(r[0] for r in rows)
    # 15 degrees of freedom; 44 is exceeded once in ten thousand, and the keys are fixed.
    assert sum((counts[v] - 1000) ** 2 / 1000 for v in range(16)) < 44


async def test_salts_are_independent(library: asyncpg.Connection) -> None:
    same = await library.fetchval(
        "SELECT count(*) FROM generate_series(1, 10000) i "
        "WHERE morph.hash_bucket(i, 10, 'a') = morph.hash_bucket(i, 10, 'b')"
    )
    assert 880 < same < 1120


async def test_uuid5_is_that_of_python(library: asyncpg.Connection) -> None:
    # All lengths around the blocks of SHA-1: 16 + 39 bytes is the last name that fits one.
    names = [("é" if n % 2 else "x\\") * n for n in range(70)] + KEYS + ["x" * 1000]
    names += ["y" * n for n in range(30, 200)]
    got = await library.fetch(
        "SELECT morph.uuid5($1, name) "
        "FROM unnest($2::text[]) WITH ORDINALITY n(name, i) ORDER BY i",
        NAMESPACE,
        names,
    )
    assert [r[0] for r in got] == [uuid.uuid5(NAMESPACE, name) for name in names]


async def test_uuid8_is_that_of_python(library: asyncpg.Connection) -> None:
    for name in KEYS:
        row = await library.fetchrow("SELECT morph.uuid8($1), morph.uuid8($2, $1)", name, NAMESPACE)
        assert row[0] == _uuid8(name.encode())
        assert row[1] == _uuid8(NAMESPACE.bytes + name.encode())


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 10, 16, 17, 100, 1023, 1025])
async def test_permutations(library: asyncpg.Connection, n: int) -> None:
    rows = await library.fetch(
        "SELECT morph.permute(i, $1), morph.permute(i, $1, 's') "
        "FROM generate_series(0, $1::bigint - 1) i",
        n,
    )
    assert sorted(r[0] for r in rows) == list(range(n))
    assert sorted(r[1] for r in rows) == list(range(n))
    assert [r[0] for r in rows] == [_permute(i, n) for i in range(n)]
    assert [r[1] for r in rows] == [_permute(i, n, "s") for i in range(n)]
    if n >= 100:
        assert [r[0] for r in rows] != [r[1] for r in rows]


async def test_permutations_of_large_sets(library: asyncpg.Connection) -> None:
    for n in (2**31, 2**40 + 1, 2**62):
        for key in (0, 1, n // 2, n - 1):
            assert await library.fetchval("SELECT morph.permute($1, $2, 'x')", key, n) == _permute(
                key, n, "x"
            )


@pytest.mark.parametrize(("key", "n"), [(-1, 10), (10, 10), (0, 0), (0, -1), (0, 2**62 + 1)])
async def test_permutations_refuse(library: asyncpg.Connection, key: int, n: int) -> None:
    with pytest.raises(asyncpg.InvalidParameterValueError):
        await library.fetchval("SELECT morph.permute($1::bigint, $2::bigint)", key, n)


async def test_templates(library: asyncpg.Connection) -> None:
    cases: list[tuple[str, str, str | None]] = [
        ("{a}", '{"a": "x"}', "x"),
        ("{a}{a}", '{"a": 1.50}', "1.501.50"),
        ("", "{}", ""),
        ("no field", "{}", "no field"),
        ("{{a}} {a}", '{"a": true}', "{a} true"),
        ("é{Größe}é", '{"Größe": [1, 2]}', "é[1, 2]é"),
        ("{}", '{"": "empty"}', "empty"),
        ("{a}", '{"a": null}', ""),
        ("\\{a}\\", '{"a": "\\\\"}', "\\\\\\"),
    ]
    for pattern, fields, result in cases:
        got = await library.fetchval("SELECT morph.template($1, $2::jsonb)", pattern, fields)
        assert got == result, pattern
    with pytest.raises(asyncpg.InvalidParameterValueError, match='no value for "last"'):
        await library.fetchval("SELECT morph.template('{last}', '{\"first\": 1}'::jsonb)")


async def test_errors_stay_with_the_rows_they_are_about(library: asyncpg.Connection) -> None:
    # The branch that raises must not be evaluated for rows that never reach it.
    rows = await library.fetch(
        "SELECT CASE WHEN n > 0 THEN morph.hash_bucket('k', n) END, "
        "CASE WHEN n > 0 THEN morph.hash_int('k', 1, n) END FROM (VALUES (0), (1)) v(n) ORDER BY n"
    )
    assert [tuple(r) for r in rows] == [(None, None), (0, 1)]


# -- every process, every setting ----------------------------------------------------------------


async def _values(cluster: Cluster, settings: dict[str, str]) -> bytes:
    connection = await _connect(cluster, settings)
    try:
        value = await connection.fetchval(f"SELECT pg_catalog.sha256(({GENERATED})::bytea)")
        assert isinstance(value, bytes)
        return value
    finally:
        await connection.close()


# Changes only when a generator's values change, which must never happen.
GOLDEN = "e7bbd6faa61cdc916efa51cafffe39240f3685a6736bf955ecf4ebfb1c7c6c3d"


@pytest.mark.parametrize("settings", SETTINGS)
async def test_values_do_not_depend_on_settings(
    library: asyncpg.Connection, pg18_cluster: Cluster, settings: dict[str, str]
) -> None:  # R3.1, R3.2
    assert (await _values(pg18_cluster, settings)).hex() == GOLDEN


async def test_parallel_workers_compute_the_same(
    library: asyncpg.Connection, pg18_cluster: Cluster
) -> None:
    connection = await _connect(pg18_cluster, PARALLEL)
    plan = await connection.fetch(f"EXPLAIN (COSTS OFF) {GENERATED}")
    await connection.close()
    assert any("Gather" in row[0] for row in plan)


async def test_another_server_and_a_restart_give_the_same_values() -> None:  # R3.1
    with tempfile.TemporaryDirectory(prefix="morph-pg-") as directory:
        Path(directory).chmod(0o755)
        for start in range(2):
            cluster = prepare_cluster(
                Path(directory) / "data",
                find_binaries(),
                choose_identity(),
                ClusterLimits(durable=False),
            )
            supervisor = Supervisor(cluster)
            await supervisor.start()
            try:
                if start == 0:
                    await _install(cluster)
                assert (await _values(cluster, {})).hex() == GOLDEN
            finally:
                await supervisor.stop()


# -- names of built-in functions -----------------------------------------------------------------


async def test_function_kinds_are_those_of_the_server(library: asyncpg.Connection) -> None:
    rows = await library.fetch(
        "SELECT proname, array_agg(DISTINCT prokind::text), "
        "bool_and(proretset), bool_or(proretset) "
        "FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace GROUP BY 1"
    )
    kinds = {r[0]: set(r[1]) for r in rows}
    assert {n for n, k in kinds.items() if k == {"a"}} == function_kinds.AGGREGATES
    assert {n for n, k in kinds.items() if "w" in k} == function_kinds.WINDOW_FUNCTIONS
    sets = {r[0] for r in rows if r[2] and not r[0].startswith("pg_")}
    assert sets == function_kinds.SET_RETURNING
    assert not any(r[3] and not r[2] for r in rows)
