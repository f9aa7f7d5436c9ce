"""Loading documents: into new tables and into tables that exist (R7)."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import pytest_asyncio

from catalog.model import Column, Seed, Table
from catalog.store import load_snapshot
from core.errors import BadCopyFormat, ReservedName, StoreIOError, WrongObjectType
from evolution.loading import loadable_name
from evolution.publish import publish_in_place, table_statements
from evolution.transaction import AdminTransaction
from private_pg.cluster import Cluster
from tests.integration.loading import Store, open_store

ORDERS = [
    '{"_id":1,"name":"x","qty":5,"tags":["a"],"when":{"$date":"2024-01-01T00:00:00Z"},'
    '"addr":{"city":"B"},"items":[{"sku":"a","n":1},{"sku":"b","n":2}]}',
    '{"_id":2,"name":"y","qty":7,"tags":[],"when":null,"addr":{"city":"C"},"items":[]}',
    '{"_id":3,"qty":9,"price":{"$numberDecimal":"1.50"}}',
]


@pytest_asyncio.fixture
async def store(pg18_cluster: Cluster, tmp_path: Path) -> AsyncIterator[Store]:
    store = await open_store(pg18_cluster, tmp_path)
    yield store
    await store.connection.close()


def _documents(rows: list[tuple[str, ...]]) -> list[object]:
    return [json.loads(row[0]) for row in rows]


class TestNewTable:
    """A table made from documents."""

    async def test_fields_become_columns_and_missing_is_null(self, store: Store) -> None:  # R7.1
        report, _ = await store.load(ORDERS)
        assert (report.created, report.documents, report.rejects) == (True, 3, 0)
        assert await store.columns() == {
            "_id": "bigint",
            "name": "text",
            "qty": "bigint",
            "tags": "text[]",
            "when": "timestamp with time zone",
            "addr": "jsonb",
            "addr.city": "text",
            "items": "jsonb",
            "price": "numeric",
        }
        assert await store.columns(schema="public") == await store.columns()
        rows = await store.rows('SELECT _id, name, "addr.city", price FROM morph_v1.t ORDER BY 1')
        assert [r[:3] for r in rows] == [(1, "x", "B"), (2, "y", "C"), (3, None, None)]
        assert [str(r[3]) for r in rows] == ["None", "None", "1.50"]
        when = 'SELECT _id, "when"::text FROM morph_v1.t ORDER BY 1'
        assert [r[1] for r in await store.rows(when)] == ["2024-01-01 00:00:00+00", None, None]

    async def test_arrays_of_documents_become_child_tables(self, store: Store) -> None:  # R7.1
        await store.load(ORDERS)
        rows = await store.rows("SELECT * FROM morph_v1.t_items")
        assert rows == [(1, 1, "a", 1), (1, 2, "b", 2)]
        assert list(await store.columns("t_items")) == ["t__id", "ordinality", "sku", "n"]

    async def test_the_document_is_shown_whole(self, store: Store) -> None:  # R7.2
        await store.load(ORDERS)
        shown = _documents(await store.rows("SELECT _doc FROM morph_w1.t ORDER BY _id"))
        plain = json.loads(ORDERS[1])
        assert shown[1] == plain  # its null stays a null, missing stays missing
        assert shown[2] == {"_id": 3, "qty": 9, "price": 1.5}

    async def test_one_bad_line_is_named_and_the_rest_loads(self, store: Store) -> None:  # R1.4
        lines = [*ORDERS, "{broken", "", "[1]", '{"_id":4,"name":"\\ud800"}', '{"_id":5}']
        report, told = await store.load(lines)
        assert (report.documents, report.rejects) == (4, 3)
        assert told.lines == [4, 6, 7]
        assert await store.value("SELECT array_agg(_id ORDER BY 1) FROM morph_v1.t") == [1, 2, 3, 5]

    async def test_a_repeated_id_of_mongodb_is_a_reject(self, store: Store) -> None:  # R7.3
        report, told = await store.load([*ORDERS, '{"_id":1,"name":"again"}'])
        assert (report.documents, told.lines) == (3, [4])
        assert "_id" in told.rejects[0][2]
        assert await store.value("SELECT name FROM morph_v1.t WHERE _id = 1") == "x"

    async def test_repeated_ids_can_replace(self, store: Store) -> None:  # R7.3
        report, _ = await store.load(['{"_id":1,"v":1}', '{"_id":1,"v":2}'], conflict="replace")
        assert (report.documents, report.skipped) == (1, 1)
        assert await store.rows("SELECT _id, v FROM morph_v1.t") == [(1, 2)]

    async def test_an_id_that_repeats_is_no_key(self, store: Store) -> None:  # R7.3
        report, told = await store.load(['{"id":1,"v":1}', '{"id":1,"v":2}'])
        assert (report.documents, told.rejects) == (2, [])
        assert await store.rows("SELECT * FROM morph_v1.t ORDER BY v") == [(1, 1, 1), (2, 1, 2)]
        assert list(await store.columns()) == ["_id", "id", "v"]
        more, _ = await store.load(['{"id":1,"v":3}'])
        assert more.documents == 1
        assert await store.value("SELECT _id FROM morph_v1.t WHERE v = 3") == 3

    async def test_keys_of_every_type(self, store: Store) -> None:  # R7.3
        keys = {
            "oid": '{"$oid":"507F1F77BCF86CD799439011"}',
            "uuid": '{"$uuid":"6b2f0a6e-1111-4222-8333-444455556666"}',
            "instant": '{"$date":{"$numberLong":"1700000000000"}}',
            "object": '{"a":1,"b":2}',
            "text": '"a.b"',
            "number": "1.5",
        }
        for name, key in keys.items():
            report, _ = await store.load([f'{{"_id":{key},"v":1}}'], name)
            assert (report.documents, report.rejects) == (1, 0), name
            assert await store.value(f"SELECT _id IS NOT NULL FROM morph_v1.{name}"), name

    async def test_a_key_too_long_for_an_index_is_generated(self, store: Store) -> None:  # R7.3
        long = "".join(chr(0x4E00 + (i * 7919) % 20_000) for i in range(4_000))
        report, _ = await store.load([json.dumps({"_id": long, "v": 1}), '{"_id":"b","v":2}'])
        assert (report.documents, report.rejects) == (2, 0)
        assert next(iter(await store.columns())) == "_id~3"

    async def test_mixed_types_are_jsonb_and_told(self, store: Store) -> None:  # R7.1
        await store.load(['{"_id":1,"v":1}', '{"_id":2,"v":"x"}', '{"_id":3,"v":{"a":1}}'])
        assert (await store.columns())["v"] == "jsonb"
        assert await store.events("mixed_types") == {"v": 3}
        values = await store.rows("SELECT v FROM morph_v1.t ORDER BY _id")
        assert _documents(values) == [1, "x", {"a": 1}]

    async def test_special_values_below_the_first_level(self, store: Store) -> None:  # R7.2
        document = {
            "_id": 1,
            "a": {
                "at": {"$date": {"$numberLong": "-1"}},
                "old": {"$date": {"$numberLong": "-99999999999999"}},
                "id": {"$binary": {"base64": "AAAAAAAAQACAAAAAAAAAAA==", "subType": "04"}},
                "raw": {"$binary": "AAE=", "$type": "00"},
                "nan": {"$numberDouble": "NaN"},
                "times": [{"$date": "2024-01-01T00:00:00Z"}],
            },
            "list": [{"at": {"$date": {"$numberLong": "0"}}, "x": {"$numberDouble": "Infinity"}}],
        }
        await store.load([json.dumps(document)])
        row = await store.rows(
            'SELECT "a.at"::text, "a.old"::text, "a.id"::text, "a.raw"::text, "a.nan"::text, '
            '"a.times" FROM morph_v1.t'
        )
        assert row[0][1].endswith(" BC")
        assert (row[0][0], *row[0][2:5]) == (
            "1969-12-31 23:59:59.999+00",
            "00000000-0000-4000-8000-000000000000",
            "\\x0001",
            "NaN",
        )
        assert json.loads(row[0][5]) == [{"$date": "2024-01-01T00:00:00Z"}]
        child = await store.rows("SELECT at::text, x FROM morph_v1.t_list")
        assert child == [("1970-01-01 00:00:00+00", float("inf"))]

    async def test_all_names_of_a_table_are_found_free(self, store: Store) -> None:  # R7.4
        await store.load(['{"_id":1}'], "t_pkey")
        report, _ = await store.load(['{"_id":1,"x":[{"a":1}]}'], "t")
        assert report.created
        await store.load(['{"_id":1}'], "weird name.with \"quotes\" and 'more'")
        name = loadable_name("x" * 100)
        await store.load(['{"_id":1}'], name)
        assert len(name) == 63
        assert await store.value(f'SELECT count(*) FROM morph_v1."{name}"') == 1

    async def test_names_that_cannot_be_loaded_into(self, store: Store) -> None:  # R7.4
        with pytest.raises(ReservedName):
            loadable_name("morph_x")
        await store.load(ORDERS)
        with pytest.raises(WrongObjectType):
            await store.load(ORDERS, "t_items")


class TestFormats:
    """The same rows from every format."""

    ROWS = ('{"_id":1,"s":"a","f":1.5}', '{"_id":2,"s":"b","f":2.25}')

    async def _check(self, store: Store) -> None:
        assert await store.rows("SELECT _id, s, f FROM morph_v1.t ORDER BY 1") == [
            (1, "a", 1.5),
            (2, "b", 2.25),
        ]

    async def test_json_array(self, store: Store) -> None:  # R1.4
        await store.load("[\n" + ",\n".join(self.ROWS) + "]", name="t.json")
        await self._check(store)

    async def test_gzip_and_zstd(self, store: Store) -> None:  # R1.4
        raw = "\n".join(self.ROWS).encode()
        first = store.file(gzip.compress(raw), "a.ndjson.gz")
        second = store.file(pa.compress(raw, codec="zstd", asbytes=True), "b.ndjson.zst")
        await store.load_files([first], "t")
        await self._check(store)
        await store.load_files([second], "u")
        assert await store.value("SELECT count(*) FROM morph_v1.u") == 2

    async def test_csv(self, store: Store) -> None:  # R1.4
        await store.load("_id,s,f\n1,a,1.5\n2,b,2.25\n", name="t.csv")
        await self._check(store)

    async def test_parquet(self, store: Store) -> None:  # R1.4
        table = pa.table({"_id": [1, 2], "s": ["a", "b"], "f": [1.5, 2.25]})
        path = store.directory / "t.parquet"
        pq.write_table(table, path)
        await store.load_files([str(path)], "t")
        await self._check(store)

    async def test_more_physical_columns_than_a_document_is_put_together_from(
        self, store: Store
    ) -> None:  # R7.2
        day = datetime(2024, 2, 29, tzinfo=UTC)
        columns = {"_id": [1, 2]} | {f"t{n}": [day, None] for n in range(60)}
        columns |= {f"b{n}": [b"\0\1", None] for n in range(9)}
        path = store.directory / "wide.parquet"
        pq.write_table(pa.table(columns), path)
        for conflict in ("reject", "replace"):
            await store.load_files([str(path)], "t", conflict)
            row = await store.rows("SELECT t0::text, t59::text, b8::text FROM morph_v1.t")
            assert sorted(row, key=str) == [
                ("2024-02-29 00:00:00+00", "2024-02-29 00:00:00+00", "\\x0001"),
                (None, None, None),
            ]
        whole = json.loads(await store.value("SELECT _doc FROM morph_w1.t WHERE _id = 1"))
        assert len(whole) == 70

    async def test_several_files_are_one_table(self, store: Store) -> None:  # R1.4
        paths = [store.file([row]) for row in self.ROWS]
        report, _ = await store.load_files([*paths, store.file(["bad"])], "t")
        assert (report.documents, report.rejects) == (2, 1)
        await self._check(store)

    async def test_damaged_compression_loads_nothing(self, store: Store) -> None:  # R1.4
        whole = gzip.compress("\n".join(f'{{"_id":{i}}}' for i in range(20_000)).encode())
        with pytest.raises(BadCopyFormat, match="damaged or ends early"):
            await store.load(whole[: len(whole) // 2], name="t.ndjson.gz")
        assert await store.value("SELECT count(*) FROM morph_catalog.versions") == 0

    async def test_empty_input(self, store: Store) -> None:  # R1.4
        with pytest.raises(BadCopyFormat, match="no document"):
            await store.load("", name="t.ndjson")
        with pytest.raises(StoreIOError):
            await store.load_files([str(store.directory / "none")], "t")


class TestCsv:
    """Cells become values of the column's type."""

    TEXT = "id,b,i,d,n,day,t\n1,true,5,1.5,1.50,2024-02-29,x\n2,false,,-2.5,0.10,,007\n"

    async def test_cells_are_values(self, store: Store) -> None:  # R7.1
        await store.load(self.TEXT, name="t.csv")
        assert await store.columns() == {
            "id": "bigint",
            "b": "boolean",
            "i": "bigint",
            "d": "double precision",
            "n": "numeric",
            "day": "date",
            "t": "text",
        }
        document = "SELECT _doc FROM morph_w1.t ORDER BY id"
        assert _documents(await store.rows(document)) == [
            {"id": 1, "b": True, "i": 5, "d": 1.5, "n": 1.5, "day": "2024-02-29", "t": "x"},
            {"id": 2, "b": False, "i": None, "d": -2.5, "n": 0.1, "day": None, "t": "007"},
        ]
        assert await store.value("SELECT n::text FROM morph_v1.t WHERE id = 1") == "1.50"

    async def test_later_cells_that_do_not_fit(self, store: Store) -> None:  # R7.3
        await store.load(self.TEXT, name="t.csv")
        report, _ = await store.load(
            "id,i,d,day\n3,many,0.5,2024-03-01\n4,6,1e-05,soon\n", name="u.csv"
        )
        assert report.documents == 2
        rows = await store.rows("SELECT id, i, d, day::text FROM morph_v1.t ORDER BY id")
        assert rows == [
            (1, 5, 1.5, "2024-02-29"),
            (2, None, -2.5, None),
            (3, None, 0.5, "2024-03-01"),
            (4, 6, 1e-05, None),
        ]
        assert await store.events() == {"i": 1, "day": 1}
        documents = _documents(await store.rows("SELECT _doc FROM morph_w1.t ORDER BY id"))
        assert documents[2]["i"] == "many"
        assert documents[3]["day"] == "soon"

    async def test_a_negative_zero_and_new_columns(self, store: Store) -> None:  # R7.1
        await store.load("id,z\n1,-0\n2,1e-05\n", name="t.csv")
        assert await store.rows("SELECT z::text FROM morph_v1.t ORDER BY id") == [
            ("-0",),
            ("1e-05",),
        ]
        await store.load("id,z,new,flag\n3,-0,12,true\n", name="u.csv")
        assert await store.rows("SELECT z::text, new, flag FROM morph_v2.t WHERE id = 3") == [
            ("-0", 12, True)
        ]


class TestExistingTable:
    """Documents for a table that is there."""

    async def test_documents_that_fit_change_nothing(self, store: Store) -> None:  # R7.3
        await store.load(ORDERS)
        report, _ = await store.load(['{"_id":4,"name":"z","qty":1,"tags":["q"]}'])
        assert (report.documents, report.version, report.created) == (1, 0, False)
        assert await store.value("SELECT count(*) FROM morph_v1.t") == 4
        assert await store.events() == {}

    async def test_new_fields_are_a_new_version(self, store: Store) -> None:  # R7.3, R4
        await store.load(ORDERS)
        before = await store.columns()
        new = '{"_id":4,"color":"red","addr":{"zip":"1"},"born":{"$date":{"$numberLong":"0"}}}'
        report, _ = await store.load([new])
        assert report.version == 2
        assert await store.columns() == before
        added = list((await store.columns(schema="v2")).items())[len(before) :]
        assert added == [
            ("color", "text"),
            ("addr.zip", "text"),
            ("born", "timestamp with time zone"),
        ]
        row = 'SELECT color, "addr.zip", born::text FROM morph_v2.t ORDER BY _id DESC LIMIT 2'
        assert await store.rows(row) == [
            ("red", "1", "1970-01-01 00:00:00+00"),
            (None, None, None),
        ]
        old = await store.value("SELECT _doc FROM morph_w1.t WHERE _id = 4")
        assert json.loads(old)["color"] == "red"
        origins = await store.rows("SELECT DISTINCT origin FROM morph_catalog.changes ORDER BY 1")
        assert origins == [("drift",), ("load",)]
        assert (await store.events("add_column"))["color"] == 1
        state = "SELECT current_version, head_version FROM morph_catalog.state"
        assert await store.rows(state) == [(1, 2)]

    async def test_a_misfit_is_never_lost(self, store: Store) -> None:  # R7.3
        await store.load(ORDERS)
        report, told = await store.load(
            ['{"_id":4,"qty":"many"}', '{"_id":5,"qty":6}', '{"_id":6,"when":"soon","name":7}']
        )
        assert (report.documents, told.rejects) == (3, [])
        old = await store.rows("SELECT _id, qty, name FROM morph_v1.t WHERE _id > 3 ORDER BY 1")
        assert old == [(4, None, None), (5, 6, None), (6, None, None)]
        assert await store.events() == {"qty": 1, "name": 1, "when": 1}
        new = await store.columns(schema="v2")
        assert (new["qty"], new["name"], new["when"]) == (
            "jsonb",
            "jsonb",
            "timestamp with time zone",
        )
        rows = await store.rows("SELECT qty FROM morph_v2.t WHERE qty IS NOT NULL ORDER BY _id")
        assert _documents(rows) == [5, 7, 9, "many", 6]
        late = json.loads(await store.value("SELECT _doc FROM morph_w1.t WHERE _id = 6"))
        assert late == {"_id": 6, "when": "soon", "name": 7}

    async def test_numbers_widen_in_the_new_version(self, store: Store) -> None:  # R7.3
        await store.load(['{"_id":1,"n":1}', '{"_id":2,"n":9007199254740993}'])
        await store.load(['{"_id":3,"n":2.5}'])
        assert (await store.columns(schema="v2"))["n"] == "numeric"
        rows = await store.rows("SELECT n::text FROM morph_v2.t ORDER BY _id")
        assert rows == [("1",), ("9007199254740993",), ("2.5",)]
        assert await store.rows("SELECT n FROM morph_v1.t ORDER BY _id") == [
            (1,),
            (9007199254740993,),
            (None,),
        ]

    async def test_misfits_again_are_counted_again(self, store: Store) -> None:  # R7.3
        await store.load(['{"_id":1,"n":1}'])
        await store.load(['{"_id":2,"n":"a"}'])
        report, _ = await store.load(['{"_id":3,"n":"b"}', '{"_id":4,"n":"c"}'])
        assert report.version == 0  # version 2 holds them all
        counts = await store.rows("SELECT documents FROM morph_catalog.events WHERE kind='misfit'")
        assert counts == [(1,), (2,)]
        assert await store.rows("SELECT n FROM morph_v1.t ORDER BY _id") == [
            (1,),
            (None,),
            (None,),
            (None,),
        ]

    async def test_elements_of_child_tables(self, store: Store) -> None:  # R7.3
        await store.load(ORDERS)
        await store.load(['{"_id":4,"items":[{"sku":1,"n":3,"extra":true}]}'])
        assert await store.rows("SELECT sku, n FROM morph_v1.t_items WHERE t__id = 4") == [
            (None, 3)
        ]
        new = await store.rows("SELECT sku, n, extra FROM morph_v2.t_items WHERE t__id = 4")
        assert new == [("1", 3, True)]
        assert await store.events() == {"items.sku": 1}

    async def test_new_arrays_of_documents(self, store: Store) -> None:  # R7.3
        await store.load(ORDERS)
        await store.load(['{"_id":4,"visits":[{"at":{"$date":"2024-01-01T00:00:00Z"}}]}'])
        rows = await store.rows("SELECT t__id, ordinality, at::text FROM morph_v2.t_visits")
        assert rows == [(4, 1, "2024-01-01 00:00:00+00")]

    async def test_a_column_of_nulls_takes_its_first_type(self, store: Store) -> None:  # R7.1
        await store.load(['{"_id":1,"n":null,"l":[]}'])
        assert (await store.columns())["n"] == "jsonb"
        await store.load(['{"_id":2,"n":5,"l":["a"]}'])
        new = await store.columns(schema="v2")
        assert (new["n"], new["l"]) == ("bigint", "text[]")
        assert await store.rows("SELECT n, l FROM morph_v2.t ORDER BY _id") == [
            (None, []),
            (5, ["a"]),
        ]

    async def test_columns_are_bounded_and_the_rest_is_in_the_document(
        self, store: Store
    ) -> None:  # R7.1
        await store.load(['{"_id":1}'])
        many = {f"f{n}": n for n in range(1_200)}
        report, _ = await store.load([json.dumps({"_id": 2, **many})])
        assert (report.documents, report.version) == (1, 2)
        assert len(await store.columns(schema="v2")) == 1_000
        whole = json.loads(await store.value("SELECT _doc FROM morph_w2.t WHERE _id = 2"))
        assert len(whole) == 1_201

    async def test_keys_that_exist(self, store: Store) -> None:  # R7.3
        again = ['{"_id":1,"name":"new"}', '{"_id":9,"name":"nine"}', '{"_id":9,"name":"last"}']
        await store.load(ORDERS)
        report, told = await store.load(again)
        assert (report.documents, told.lines) == (1, [1, 3])
        report, told = await store.load(again, conflict="skip")
        assert (report.documents, report.skipped, told.rejects) == (0, 3, [])
        report, told = await store.load(again, conflict="replace")
        assert (report.documents, report.skipped, told.rejects) == (2, 1, [])
        rows = await store.rows("SELECT _id, name, qty FROM morph_v1.t WHERE _id IN (1, 9)")
        assert sorted(rows) == [(1, "new", None), (9, "last", None)]

    async def test_documents_without_a_key_are_rejects(self, store: Store) -> None:  # R7.3
        await store.load(ORDERS)
        report, told = await store.load(['{"name":"x"}', '{"_id":"text"}', '{"_id":8}'])
        assert (report.documents, told.lines) == (1, [1, 2])

    async def test_values_that_no_reader_can_bear_are_rejects(self, store: Store) -> None:  # R7.3
        await store.load(['{"_id":1,"l":[1,2],"a":{"at":{"$date":"2024-01-01T00:00:00Z"}}}'])
        report, told = await store.load(
            ['{"_id":2,"l":[1,"x"]}', '{"_id":3,"a":{"at":{"$date":"soon"}}}', '{"_id":4,"l":7}']
        )
        assert (report.documents, told.lines) == (1, [1, 2])
        assert await store.rows('SELECT l, "a.at" FROM morph_v1.t WHERE _id = 4') == [(None, None)]

    async def test_older_documents_keep_their_values_under_a_new_field(
        self, store: Store
    ) -> None:  # R7.3
        await store.load(['{"_id":1,"v":1}'])
        await store.connection.execute(
            """UPDATE morph_store.t1 SET _doc = _doc || '{"late": "text"}'"""
        )
        await store.load(['{"_id":2,"late":5}'])
        assert (await store.columns(schema="v2"))["late"] == "jsonb"
        rows = await store.rows("SELECT late FROM morph_v2.t ORDER BY _id")
        assert _documents(rows) == ["text", 5]

    async def test_objects_that_need_the_old_type_keep_it(self, store: Store) -> None:  # R7.3
        await store.load(['{"_id":1,"n":1}'])
        await _add_view(store, "SELECT _id, n + 1 AS m FROM t")
        report, _ = await store.load(['{"_id":2,"n":"x","new":1}'])
        assert report.version == 2
        columns = await store.columns(schema="v2")
        assert (columns["n"], columns["new"]) == ("bigint", "bigint")
        assert await store.rows("SELECT m FROM morph_v1.w ORDER BY _id") == [(2,), (None,)]
        assert await store.rows("SELECT m FROM morph_v2.w ORDER BY _id") == [(2,), (None,)]


async def _add_view(store: Store, definition: str) -> None:
    """A client's view in version 1."""
    snapshot = await load_snapshot(store.connection)
    columns = (Column(901, "_id", "bigint", Seed("")), Column(902, "m", "bigint", Seed("")))
    view = Table(900, "w", "view", columns, definition=definition)
    version = snapshot.version(1).with_table(view)
    fresh = replace(snapshot, versions={1: version})
    async with store.connection.transaction():
        await publish_in_place(
            AdminTransaction(store.connection),
            snapshot,
            {1: version},
            table_statements(fresh, version, [view]),
            [],
            next_id=1000,
        )
