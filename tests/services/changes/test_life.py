"""The life of a change on a table of MongoDB (R4.2, R4.6; issue 5 points 4 to 6)."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.integration.changes.prices import STEPS, events, state
from tests.services.changes.conftest import ROWS, Prices

pytestmark = [pytest.mark.services, pytest.mark.timeout(300)]


# A user's story: the new version shows all data at once, and gets a layout of its own
def test_promoted_written_and_rolled_back(prices: Prices) -> None:
    prices.change()
    assert prices.rows("SELECT total FROM v2.price WHERE id = 1") == [(Decimal("0.13"),)]
    prices.reaches("ready")
    assert events(prices.client) == STEPS[:-2]
    assert prices.rows("SELECT rows, percent::int, pending FROM morph.progress") == [(ROWS, 100, 0)]
    prices.run("UPDATE price SET name = 'other' WHERE id = 7", "DELETE FROM price WHERE id = 9")
    prices.run("CALL morph.promote(2)")
    assert state(prices.client) == "promoted"
    assert prices.rows("SELECT count(*), sum(total) FROM price") == [
        (
            ROWS - 1,
            sum(round(Decimal(n) / 8 + Decimal("0.000001"), 2) for n in range(1, 501) if n != 9),
        )
    ]
