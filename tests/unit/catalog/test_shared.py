"""What a change did to the rows of all versions, as JSON and back (R4.6)."""

from __future__ import annotations

import pytest

from catalog.model import Constraint
from catalog.shared import (
    Shared,
    SharedConstraint,
    SharedNull,
    SharedType,
    decode_shared,
    encode_shared,
    shared_statement,
)
from core.errors import InternalError

KEY = Constraint("b_x", "f", (3,), "FOREIGN KEY (x) REFERENCES a(x)", "k9_b_x", 1, (2,))
ALL: tuple[Shared, ...] = (
    SharedConstraint(4, True, ((2, KEY), (1, KEY))),
    SharedConstraint(4, False, ((1, KEY),), in_force=False),
    SharedNull(4, 3, False, (1, 2)),
    SharedNull(4, 3, True),
    SharedType(4, 3, "character varying(5)", "text", in_force=False),
)


def test_it_comes_back_as_it_was() -> None:
    assert decode_shared(encode_shared(ALL)) == ALL
    assert decode_shared("[]") == ()
    assert ALL[0].store_name == "k9_b_x"  # type: ignore[union-attr]


@pytest.mark.parametrize("text", ['[{"kind": "colour"}]', '[{"kind": "null", "shape": 1}]'])
def test_what_another_build_wrote_is_an_error(text: str) -> None:
    with pytest.raises(InternalError):
        decode_shared(text)


def test_it_is_written_as_a_text_of_sql() -> None:
    quoted = Constraint("it's", "c", (3,), "CHECK ((x <> ''''::text))", "k9_its")
    statement = shared_statement(2, (SharedConstraint(4, True, ((2, quoted),)),))
    assert statement.endswith("::jsonb WHERE version = 2")
    assert "it''s" in statement
