"""What new documents bring to a table, as models (R7.3, R4)."""

from __future__ import annotations

import json
from collections.abc import Sequence

from backends.embedded.layout import Layout, lay_out
from backends.files.json_document import DocumentParser
from backends.files.records import ReadOptions
from catalog.inference.infer import infer_table
from catalog.inference.statistics import InferenceLimits, Observer, TableStats
from catalog.model import DocPath, Element, Stored, Version
from engine.loading.drift import Family, Grower, flipped, node_at, suspects

FIRST = [
    '{"_id":1,"n":1,"s":"x","at":{"$date":"2024-01-01T00:00:00Z"},"a":{"b":1},"l":[{"x":1}]}',
    '{"_id":2,"n":2}',
]


def _stats(lines: Sequence[str], limits: InferenceLimits | None = None) -> TableStats:
    observer = Observer(limits or InferenceLimits())
    parser = DocumentParser(ReadOptions())
    for number, line in enumerate(lines, 1):
        observer.observe(parser.parse(line)[1], number)
    return observer.stats


def _table(lines: Sequence[str] = FIRST) -> tuple[Layout, Version]:
    inferred = infer_table("t", _stats(lines))
    layout = lay_out(inferred, inferred.keys[0], 1)
    return layout, Version(1, 0, layout.tables)


def _family(version: Version) -> Family:
    return Family(version.tables[0].id, {1: version})


def test_ids_rise_and_the_key_is_physical() -> None:  # R4
    layout, _ = _table()
    ids = [c.id for t in layout.tables for c in t.columns] + [t.id for t in layout.tables]
    assert len(set(ids)) == len(ids)
    assert max(ids) + 1 == layout.next_id
    stored = {c.name for c in layout.table.columns if isinstance(c.source, Stored)}
    assert stored == {"_id", "at"}
    assert layout.table.constraints[0].store_name == "i1_t_pkey"


def test_values_that_fit_are_no_suspects() -> None:  # R7.3
    _, version = _table()
    assert suspects(_family(version), _stats(FIRST)) == []
    found = suspects(_family(version), _stats(['{"_id":1,"n":"x","a":{"b":2.5},"l":[{"x":"y"}]}']))
    assert [(r.name, r.type) for r in found] == [
        ("a.b", "bigint"),
        ("n", "bigint"),
        ("l.x", "bigint"),
    ]


def test_what_inference_did_not_look_at_is_a_suspect() -> None:  # R7.3
    _, version = _table()
    wide = {"_id": 1, "a": {f"k{i}": i for i in range(9)}}
    stats = _stats([json.dumps(wide)], InferenceLimits(width_max=4))
    assert node_at(stats, (), ("a", "b")) == (True, None)
    assert [r.name for r in suspects(_family(version), stats)] == ["a.b"]
    assert node_at(_stats(FIRST), (), ("nothing",)) == (False, None)


def test_a_misfit_gives_old_versions_a_guard_and_a_new_one_a_type() -> None:  # R7.3
    layout, version = _table()
    family = _family(version)
    stats = _stats(['{"_id":3,"n":"x","l":[{"x":1.5}]}'])
    wrong = suspects(family, stats)
    ((guarded, tables),) = flipped(family, wrong).values()
    assert [t.name for t in tables] == ["t", "t_l"]
    clean = {
        c.name: c.source.clean
        for t in guarded.tables
        for c in t.columns
        if isinstance(c.source, DocPath | Element)
    }
    assert (clean["n"], clean["s"], clean["x"]) == (False, True, False)
    grower = Grower(family, version, infer_table("t", stats), stats, layout.next_id)
    growth = grower.grow(2, wrong, (), ())
    assert growth is not None
    kinds = [(c.kind, c.relation, c.column, c.type) for c in growth.changes]
    assert kinds == [
        ("change type", "t", "n", "jsonb"),
        ("change type", "t_l", "x", "numeric"),  # old integers may be no doubles
    ]
    assert growth.version.parent == 1
    old = layout.table.column("n")
    new = growth.version.tables[0].column("n")
    assert old is not None
    assert new is not None
    assert old.id == new.id


def test_new_fields_come_last_and_read_the_document() -> None:  # R7.3
    layout, version = _table()
    line = (
        '{"_id":3,"new":{"$date":"2024-01-01T00:00:00Z"},"a":{"c":1},"l":[{"y":1}],"m":[{"z":1}]}'
    )
    stats = _stats([line])
    grower = Grower(_family(version), version, infer_table("t", stats), stats, layout.next_id)
    assert ((), ("new",)) in grower.new_paths()
    growth = grower.grow(2, (), {((), ("a", "c"))}, {"t_m"})
    assert growth is not None
    table, child, fresh = growth.version.tables
    added = table.columns[len(layout.table.columns) :]
    assert [(c.name, c.type, c.source) for c in added] == [
        ("new", "timestamp with time zone", DocPath(("new",))),
        ("a.c", "jsonb", DocPath(("a", "c"))),  # older documents hold something there
        ("m", "jsonb", DocPath(("m",))),
    ]
    assert child.columns[-1].source == Element(("y",))
    assert fresh.name.startswith("t_m")
    assert fresh.name != "t_m"  # taken by another relation
    ids = [c.id for t in growth.version.tables for c in t.columns]
    ids += [t.id for t in growth.version.tables]
    assert len(ids) == len(set(ids))
    assert growth.next_id == max(ids) + 1


def test_nothing_new_is_no_version() -> None:  # R4
    layout, version = _table()
    stats = _stats(FIRST)
    grower = Grower(_family(version), version, infer_table("t", stats), stats, layout.next_id)
    assert grower.grow(2, (), (), ()) is None
