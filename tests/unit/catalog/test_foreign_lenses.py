"""Lenses over a foreign table change roles when another layout of its rows is promoted (R4.6)."""

from __future__ import annotations

from catalog.codec import decode_version, encode_version
from catalog.lenses import mirror, swap
from catalog.model import Column, Lens, Lensed, Native, Table, Version

OLD = Column(2, "total", "double precision", Native(("sum", "total"), "double"))
MID = Column(3, "total", "numeric(12,2)", Native(("sum", "total"), clean=False))
NEW = Column(5, "amount", "text", Native(("sum", "total"), clean=False))
KEY = Column(1, "id", "bigint", Native(("_id",), "long"))
FIRST = Lens(4, (OLD,), (MID,), ('("$1")::numeric(12,2)',), ('("$1")::double precision',))
SECOND = Lens(
    6, (Column(3, "total", "numeric(12,2)", Lensed(4, path=("sum", "total"))),), (NEW,),
    ('("$1")::text',), ('("$1")::numeric(12,2)',),
)  # fmt: skip


def table(shown: Column, *lenses: Lens) -> Table:
    """Orders as one version shows them."""
    return Table(
        9, "orders", "foreign", (KEY, shown), instance="m", native=("shop", "orders"), key=(1,),
        lenses=lenses,
    )  # fmt: skip


def lensed(column: Column, lens: int) -> Column:
    """The column as a version shows it that reads it through a lens."""
    return Column(column.id, column.name, column.type, Lensed(lens, path=("sum", "total")))


V1 = table(OLD)
V2 = table(lensed(MID, 4), FIRST)
V3 = table(lensed(NEW, 6), FIRST, SECOND)


def test_the_promoted_form_is_read_as_it_lies() -> None:
    [_, shown] = swap(V2, (FIRST,)).columns
    assert shown == MID
    assert swap(V2, (FIRST,)).lenses == ()
    old = swap(V1, (FIRST,))
    assert old.columns[1].source == Lensed(4, path=("sum", "total"))
    assert old.lenses == (mirror(FIRST),)
    assert mirror(FIRST).over == (OLD,)


def test_there_and_back_is_where_it_was() -> None:
    for version in (V1, V2):
        assert swap(swap(version, (FIRST,)), (mirror(FIRST),)) == version


def test_a_lens_over_a_lens() -> None:
    promoted = (FIRST, SECOND)
    assert swap(V3, promoted).columns[1] == NEW
    assert swap(V3, promoted).lenses == ()
    middle = swap(V2, promoted)
    assert [lens.id for lens in middle.lenses] == [6]
    assert middle.lenses[0].under == (NEW,)
    old = swap(V1, promoted)
    assert [lens.id for lens in old.lenses] == [6, 4]
    assert old.lenses[1].under[0].source == Lensed(6, path=("sum", "total"))


def test_only_the_lower_one_is_promoted() -> None:
    upper = swap(V3, (FIRST,))
    assert [lens.id for lens in upper.lenses] == [6]
    assert upper.lenses[0].under == (MID,)


def test_the_catalog_keeps_them() -> None:
    version = Version(3, 2, (V3,))
    assert decode_version(3, 2, "", encode_version(version)) == version
