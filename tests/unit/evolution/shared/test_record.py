"""What one transaction does and undoes is no change of it (R4.6)."""

from __future__ import annotations

from dataclasses import replace

from catalog.model import Constraint
from catalog.shared import Shared, SharedConstraint, SharedNull, SharedType
from evolution.shared.record import together

ONE = Constraint("one", "u", (3,), "UNIQUE (x)", "k5_one")
TWO = replace(ONE, name="two", store_name="k6_two")


def _all(*each: Shared) -> tuple[Shared, ...]:
    known: tuple[Shared, ...] = ()
    for one in each:
        known = together(known, one)
    return known


def test_an_added_constraint_that_is_dropped_again_leaves_nothing() -> None:
    added, other = (SharedConstraint(4, True, ((2, c),)) for c in (ONE, TWO))
    assert _all(added, other, replace(added, added=False)) == (other,)


def test_a_dropped_constraint_is_not_undone_by_another_one_of_its_name() -> None:
    dropped = SharedConstraint(4, False, ((1, ONE),))
    added = SharedConstraint(4, True, ((2, replace(TWO, name="one")),))
    assert _all(dropped, added) == (dropped, added)


def test_not_null_there_and_back_leaves_nothing() -> None:
    taken, given = SharedNull(4, 3, False, (1,)), SharedNull(4, 3, True, (1,))
    assert _all(taken, given) == ()
    assert _all(given, SharedNull(4, 7, False), taken) == (SharedNull(4, 7, False),)
    assert _all(given, given) == (given, given)


def test_types_stay_in_their_order() -> None:
    first = SharedType(4, 3, "character varying(5)", "character varying(9)")
    second = SharedType(4, 3, "character varying(9)", "text")
    assert _all(first, second) == (first, second)
