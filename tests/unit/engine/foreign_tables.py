"""Two foreign tables and an embedded one, and plans of statements over them."""

from __future__ import annotations

from collections.abc import Mapping

from catalog.model import CatalogSnapshot, Column, Constraint, Native, Stored, Table, Version
from engine.federate import FederatedPlan, plan_federated
from rewrite.analysis import analyse
from rewrite.namespaces import Namespaces

PEOPLE = Table(
    1,
    "people",
    "foreign",
    (
        Column(11, "id", "bigint", Native(("id",)), not_null=True),
        Column(12, "name", "text", Native(("name",))),
        Column(13, "age", "integer", Native(("age",)), default="18"),
        Column(14, "address.city", "text", Native(("address", "city"))),
    ),
    constraints=(Constraint("people_pkey", "p", (11,), "PRIMARY KEY (id)"),),
    instance="m",
    native=("db", "people"),
    key=(11,),
    has_doc=True,
)
ORDERS = Table(
    2,
    "orders",
    "foreign",
    (
        Column(21, "id", "bigint", Native(("id",))),
        Column(22, "person", "bigint", Native(("person",))),
        Column(23, "total", "numeric", Native(("total",))),
    ),
    instance="c",
    native=("ks", "orders"),
    key=(21,),
)
VIPS = Table(
    3,
    "vips",
    "table",
    (
        Column(31, "pid", "bigint", Stored("c31", "bigint")),
        Column(32, "note", "text", Stored("c32", "text")),
    ),
    store="t3",
)
NAMESPACES = Namespaces(
    CatalogSnapshot(1, 1, 1, {1: Version(1, 0, (PEOPLE, ORDERS, VIPS))}), ("public",)
)


def kind_of(_: str) -> str:
    """A kind whose entries of the exactness table are all exact."""
    return "embedded"


def planned(text: str, parameters: Mapping[int, str] | None = None) -> FederatedPlan:
    """The plan of the last statement of a text."""
    analysis = analyse(text, NAMESPACES)
    return plan_federated(analysis, analysis.statements[-1], NAMESPACES, parameters or {}, kind_of)
