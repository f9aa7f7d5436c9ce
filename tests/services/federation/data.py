"""The tables of these tests: the same rows for every store and for the judge, made by rule.

No sum depends on the order of its terms (halves only), timestamps have whole milliseconds, numeric
values keep their scale in every store, and no array is empty (Cassandra has none): what differs
between stores by nature has tests of its own beside each backend.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from tests.services.federation.rules import mixed

EPOCH = dt.datetime(2024, 2, 28, 22, 30, tzinfo=dt.UTC)
CUSTOMERS = 40
ORDERS = 300
PRODUCTS = 12
CITIES = ("Berlin", "berlin", "Ciudad de México", "Łódź", "", None, "東京", "O'Hare\\%_")
NOTES = (None, "", "50% off", "a_b", "back\\slash", "quote \" and '", "tab\tand\nline", "naïve ☃")
STATUSES = ("new", "paid", "shipped", None)


@dataclass(frozen=True, slots=True)
class TableData:
    """`columns` are names and PostgreSQL types, the key first."""

    name: str
    columns: Mapping[str, str]
    rows: tuple[tuple[Any, ...], ...]

    @property
    def key(self) -> str:
        """The column that identifies a row."""
        return next(iter(self.columns))


def _customer(n: int) -> tuple[Any, ...]:
    return (
        n,
        f"customer {n % 17}" if n % 11 else None,
        CITIES[mixed(n, 1) % len(CITIES)],
        None if n % 9 == 0 else (mixed(n, 2) % 400 - 200) / 2,
        None if n % 7 == 0 else n % 2 == 0,
        EPOCH + dt.timedelta(hours=mixed(n, 3) % 2_000, milliseconds=n),
        [CITIES[0] or "", f"t{n % 3}", ""][: n % 4] or None,
    )


def _order(n: int) -> tuple[Any, ...]:
    cents = Decimal(mixed(n, 4) % 100_000 - 500).scaleb(-2)
    return (
        n,
        None if n % 23 == 0 else mixed(n, 5) % (CUSTOMERS + 4) + 1,  # some have no customer
        mixed(n, 6) % PRODUCTS + 1,
        (mixed(n, 7) % 9) * (2**33 if n % 50 == 0 else 1),
        None if n % 13 == 0 else cents,
        STATUSES[mixed(n, 8) % len(STATUSES)],
        EPOCH + dt.timedelta(minutes=mixed(n, 9) % 200_000),
        NOTES[mixed(n, 10) % len(NOTES)],
        uuid.UUID(int=mixed(n, 11) << 64 | n),
    )


def _product(n: int) -> tuple[Any, ...]:
    return (n, f"product {n}", Decimal(n * 175).scaleb(-2), bytes([0, n, 255, 92, 39][: n % 6]))


_ALL = (
    TableData(
        "customers",
        {
            "id": "bigint",
            "name": "text",
            "city": "text",
            "score": "double precision",
            "vip": "boolean",
            "joined": "timestamp with time zone",
            "tags": "text[]",
        },
        tuple(_customer(n) for n in range(1, CUSTOMERS + 1)),
    ),
    TableData(
        "orders",
        {
            "id": "bigint",
            "customer": "bigint",
            "product": "bigint",
            "qty": "bigint",
            "total": "numeric",
            "status": "text",
            "placed": "timestamp with time zone",
            "note": "text",
            "ref": "uuid",
        },
        tuple(_order(n) for n in range(1, ORDERS + 1)),
    ),
    TableData(
        "products",
        {"id": "bigint", "title": "text", "price": "numeric", "picture": "bytea"},
        tuple(_product(n) for n in range(1, PRODUCTS + 1)),
    ),
)
TABLES: Mapping[str, TableData] = MappingProxyType({table.name: table for table in _ALL})
