"""Where foreign tables lie: the options of each kind of store."""

from __future__ import annotations

import pytest

from catalog.instances import Instance
from core.errors import DuplicateObject, InvalidOptionName, InvalidParameterValue
from evolution.foreign_options import Placement, column_path, kept_options, placement

MONGO = Instance("m", "mongodb", "sql", (("database", "shop"),))
CASSANDRA = Instance("c", "cassandra", "sql")
POSTGRES = Instance("p", "postgres", "sql", (("database", "app"),))


@pytest.mark.parametrize(
    ("instance", "options", "native"),
    [
        (MONGO, {}, ("shop", "t")),
        (MONGO, {"database": "d", "collection": "C"}, ("d", "C")),
        (MONGO, {"table_name": "C"}, ("shop", "C")),
        (CASSANDRA, {"keyspace": "k"}, ("k", "t")),
        (POSTGRES, {}, ("public", "t")),
        (POSTGRES, {"schema_name": "s", "table_name": "T"}, ("s", "T")),
    ],
)
def test_native_names(  # R1.7
    instance: Instance, options: dict[str, str], native: tuple[str, ...]
) -> None:
    assert placement(instance, options, "t") == Placement(native, None)
    kept = kept_options(instance.kind, native)
    assert placement(instance, kept, "other") == Placement(native, None)


def test_keys() -> None:  # R1.7
    assert placement(MONGO, {"key": " a, b "}, "t").key == ("a", "b")
    assert placement(MONGO, {"key": ""}, "t").key == ()


def test_what_cannot_be_placed() -> None:  # R1.7
    with pytest.raises(InvalidParameterValue, match="keyspace"):
        placement(CASSANDRA, {}, "t")
    with pytest.raises(InvalidOptionName, match='"keyspace"'):
        placement(MONGO, {"keyspace": "k"}, "t")
    with pytest.raises(DuplicateObject):
        placement(MONGO, {"collection": "a", "table": "b"}, "t")


def test_paths_of_columns() -> None:  # R1.7
    assert column_path("mongodb", "address.zip", None) == ("address", "zip")
    assert column_path("postgres", "address.zip", None) == ("address.zip",)
