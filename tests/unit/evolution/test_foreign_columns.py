"""Which columns of a foreign table can be shown in another form, and where it would lie (R4.2)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from catalog.model import Column, Lens, Lensed, Native, Ordinality, Table, Version
from core.errors import FeatureNotSupported
from evolution.foreign_columns import (
    foreign_column,
    free_path,
    require_foreign_convertible,
    stored_path,
)
from evolution.introspect import ScratchColumn

KEY = Column(1, "id", "bigint", Native(("_id",)))
CITY = Column(2, "address.city", "text", Native(("address", "city")))
TOTAL = Column(3, "total", "numeric", Native(("total",)))
TABLE = Table(
    9, "orders", "foreign", (KEY, CITY, TOTAL), instance="m", native=("db", "orders"), key=(1,),
    options=(("database", "db"), ("collection", "orders")),
)  # fmt: skip
SHOWN = Column(5, "total", "text", Lensed(6, path=("total",)))
LENS = Lens(6, (TOTAL,), (replace(SHOWN, source=Native(("total",))),), ('("$1")::text',),
            ('("$1")::numeric',))  # fmt: skip
LENSED = replace(TABLE, columns=(KEY, CITY, SHOWN), lenses=(LENS,))


def require(column: Column, *tables: Table, direct: bool = False) -> None:
    """Ask for the column of the table as versions show it."""
    versions = [Version(n, n - 1, (table,)) for n, table in enumerate(tables, 1)]
    require_foreign_convertible(versions, TABLE, column, "cannot", direct=direct)


def test_a_column_of_its_own_can_be() -> None:
    require(TOTAL, TABLE)
    require(CITY, TABLE)
    require(SHOWN, TABLE, LENSED)


@pytest.mark.parametrize(
    ("column", "more", "why"),
    [
        (KEY, None, "part of the table's key"),
        (CITY, Column(7, "address", "jsonb", Native(("address",))), '"address" shows values'),
        (TOTAL, Column(7, "deep", "text", Native(("total", "net"))), '"deep" shows values'),
        (Column(8, "_doc", "jsonb", Native(())), None, "no single value"),
        (Column(8, "n", "bigint", Ordinality()), None, "no single value"),
    ],
)
def test_what_is_refused(column: Column, more: Column | None, why: str) -> None:
    table = replace(TABLE, columns=(*TABLE.columns, more)) if more else TABLE
    with pytest.raises(FeatureNotSupported, match=why):
        require(column, TABLE, table)


def test_arrays_that_are_tables_and_direct_changes_are_refused() -> None:
    lines = Column(7, "lines", "jsonb", Native(("lines",)))
    child = Table(10, "orders_lines", "foreign", (), parent_id=9, parent_path=("lines",))
    version = Version(1, 0, (TABLE, child))
    with pytest.raises(FeatureNotSupported, match='"orders_lines" shows values'):
        require_foreign_convertible([version], TABLE, lines, "cannot", direct=False)
    with pytest.raises(FeatureNotSupported, match="another store"):
        require(TOTAL, TABLE, direct=True)


def test_places() -> None:
    assert stored_path(SHOWN) == ("total",)
    assert stored_path(Column(8, "n", "bigint", Ordinality())) == ()
    assert free_path(TABLE, "net", 11) == ("net",)
    assert free_path(TABLE, "total", 11) == ("total_11",)
    assert free_path(LENSED, "address", 11) == ("address_11",)


def test_a_value_below_a_lens_is_not_added_again() -> None:
    found = ScratchColumn(4, "total", "numeric", False, "", "", None, None)
    with pytest.raises(FeatureNotSupported, match='cannot add column "total"'):
        foreign_column(LENSED, 12, found, None)
    assert foreign_column(TABLE, 12, replace(found, name="net"), None).source == Native(
        ("net",), "", clean=False
    )
