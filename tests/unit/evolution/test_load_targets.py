"""Which tables a load goes into."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core.errors import FeatureNotSupported
from evolution.loading import existing_table
from tests.unit.rewrite.shop_model import SNAPSHOT


def test_no_table_whose_values_are_to_be_converted() -> None:  # R4.1
    """The documents could be in either form."""
    snapshot = replace(SNAPSHOT, head=1)
    assert existing_table(snapshot, "customers") is not None
    with pytest.raises(FeatureNotSupported, match="in another form"):
        existing_table(snapshot, "prices")
