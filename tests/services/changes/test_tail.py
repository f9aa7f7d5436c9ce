"""Documents that are written past Morphgres while a change is built and served (EVOLUTION 3,
"writers that bypass the proxy"; issue 5 point 3): a change stream tells of them, where the server
has one.
"""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.errors import PyMongoError

from tests.integration.changes.prices import rows, state
from tests.integration.server_process import ServerProcess, eventually
from tests.services.changes.conftest import ROWS, Prices
from tests.services.changes.dying import CONFIG, Killer, connected, database_of, storm_on
from tests.services.conftest import PROPERTY
from tests.services.servers import mongojava, secantus
from tests.services.servers.process import RunningServer

pytestmark = [pytest.mark.services, pytest.mark.timeout(300)]
WITH_STREAMS = f"{secantus.PRODUCT}-{secantus.VERSION}"
WITHOUT = f"{mongojava.PRODUCT}-{mongojava.VERSION}"
CENT = Decimal("0.01")
DEATHS = 3
TAILED = "SELECT tailed FROM morph.progress"
streams = pytest.mark.parametrize("mongodb", [WITH_STREAMS], indirect=True)


def _new(total: float) -> Decimal:
    return Decimal(total).quantize(CENT, ROUND_HALF_UP)


def _shown(prices: Prices) -> dict[int, Decimal]:
    """What the new version shows."""
    return dict(prices.rows("SELECT id, total FROM v2.price"))


def _meant(collection: Collection[dict[str, Any]]) -> dict[int, Decimal]:
    """What the collection means in the new form."""
    return {each["_id"]: _new(each["total"]) for each in collection.find({})}


@dataclass
class Others(threading.Thread):
    """An application that writes the collection without Morphgres, until it is told to stop."""

    uri: str
    database: str
    column: str
    told: threading.Event = field(default_factory=threading.Event)
    writes: int = 0
    failed: list[PyMongoError] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        """See Thread."""
        rng = random.Random(self.database)
        client: MongoClient[dict[str, Any]] = MongoClient(self.uri)
        with client:
            target = client[self.database].price
            try:
                while not self.told.wait(0.002):
                    _write(target, rng, self.column)
                    self.writes += 1
            except PyMongoError as error:
                self.failed.append(error)


def _write(target: Collection[dict[str, Any]], rng: random.Random, column: str) -> None:
    key, value = rng.randint(1, ROWS + 50), rng.randint(1, 10_000)
    fields = {column: value / 8 if column == "total" else value}
    match rng.randrange(4):
        case 0:
            target.delete_one({"_id": key})
        case 1:
            target.replace_one({"_id": key}, fields, upsert=True)
        case _:
            target.update_one({"_id": key}, {"$set": fields}, upsert=True)


@contextlib.contextmanager
def writing(mongodb: RunningServer, database: str, column: str = "total") -> Iterator[Others]:
    """Others write as long as this lasts, and were not refused."""
    others = Others(mongodb.uri, database, column)
    others.start()
    try:
        yield others
    finally:
        others.told.set()
        others.join()
    assert others.failed == []


# What others inserted, updated, replaced and deleted while it was ready is in the new layout
@streams
def test_writes_past_morphgres_reach_the_other_layout(prices: Prices) -> None:
    prices.change()
    prices.reaches("ready")
    assert prices.rows(TAILED) == [(True,)]
    old = prices.documents.price
    old.insert_many([{"_id": n, "name": "others", "total": n + 0.125} for n in range(1001, 1006)])
    old.update_one({"_id": 1}, {"$set": {"total": 77.625}})
    old.update_many({"_id": {"$in": [2, 3]}}, {"$inc": {"total": 1}})
    old.replace_one({"_id": 4}, {"total": 4.375})
    old.delete_many({"_id": {"$in": [5, 6]}})
    old.insert_one({"_id": "not shown", "total": 1})
    meant = _meant(old)
    del meant["not shown"]  # type: ignore[arg-type]
    prices.run("CALL morph.promote(2)")
    assert state(prices.client) == "promoted"
    assert prices.documents.price is not None
    assert _shown(prices) == meant
    assert prices.rows("SELECT name FROM price WHERE id = 4") == [(None,)]


# The judge has no false alarm although nobody tells it of writes; then the last of them is brought
# in inside the fence (I1; "equal content: 0 discrepancies")
@streams
def test_a_change_goes_on_while_others_write(prices: Prices, mongodb: RunningServer) -> None:
    with writing(mongodb, prices.documents.name) as others:
        prices.change()
        prices.reaches("ready")
        for method in ("checksum", "full", "sample"):
            prices.run(f"CALL morph.validate(2, '{method}')")
        assert prices.rows("SELECT * FROM morph.discrepancies") == []
        assert others.writes > 50
    meant = _meant(prices.documents.price)
    prices.run("CALL morph.promote(2)")
    assert _shown(prices) == meant


# The fence holds Morphgres's clients only: others go on, and the cut-over is made all the same
@streams
def test_the_cut_over_does_not_wait_for_others(prices: Prices, mongodb: RunningServer) -> None:
    with writing(mongodb, prices.documents.name):
        prices.change()
        prices.run("CALL morph.promote(2)")
        assert state(prices.client) == "promoted"


# After the flip the collection that serves is the new one: what others write there comes back, too
@streams
def test_the_way_back_has_what_others_wrote(prices: Prices) -> None:
    prices.change()
    prices.run("CALL morph.promote(2)")
    [(place,)] = prices.rows(
        "SELECT substring(f, 'collection=(.*)') FROM pg_foreign_table, unnest(ftoptions) f "
        "WHERE ftrelid = 'price'::regclass AND f LIKE 'collection=%'"
    )
    new = prices.documents[place]
    new.update_one({"_id": 7}, {"$set": {"name": "others"}})
    new.delete_one({"_id": 8})
    prices.run("CALL morph.rollback(2)")
    old = prices.documents.price
    kept = {"_id": 7, "name": "others", "total": 0.875, "more": {"n": [7]}}
    assert old.find_one({"_id": 7}) == kept
    assert old.find_one({"_id": 8}) is None
    old.delete_one({"_id": 9})
    prices.run("CALL morph.promote(2)")
    assert prices.rows("SELECT id FROM price WHERE id IN (7, 8, 9)") == [(7,)]


# A stream that broke off has a gap: all rows are copied once more, deletions are found by the judge
@streams
def test_a_stream_that_is_lost_makes_the_copy_begin_anew(prices: Prices) -> None:
    prices.change()
    prices.reaches("ready")
    old = prices.documents.price
    documents = list(old.find({}))
    old.drop()
    old.insert_many([{**each, "total": each["total"] + 1} for each in documents])
    prices.run("CALL morph.promote(2)")
    assert state(prices.client) == "promoted"
    assert _shown(prices) == {each["_id"]: _new(each["total"] + 1) for each in documents}


# I5: whoever owns the change next goes on from the token that was kept: what others wrote may be
# brought in twice, and nothing is skipped
@streams
def test_deaths_skip_nothing(
    directory: Path,
    mongodb: RunningServer,
    own_name: str,
    record_property: Callable[[str, object], None],
) -> None:
    record_property(PROPERTY, mongodb.label)
    server = ServerProcess(directory / "data", CONFIG, durable=True)
    server.start()
    try:
        with database_of(mongodb, own_name) as database:
            storm_on(server, mongodb, own_name, 1)
            killer = Killer(server, random.Random(7), kinds=("workers",))
            for _ in range(DEATHS):
                with writing(mongodb, own_name, "x") as others:
                    eventually(lambda: others.writes > 50, timeout_s=60, what="writes")
                    killer.strike()
                    eventually(lambda: others.writes > 150, timeout_s=60, what="writes")
            meant = {each["_id"]: Decimal(each["x"]) / 100 for each in database.price.find({})}
            with connected(server) as client:
                client.execute("CALL morph.promote(2)")
                assert dict(rows(client, "SELECT id, x FROM v2.price")) == meant
    finally:
        server.stop()


# Where nobody tells, morph.progress says so, and the judge finds what others wrote
@pytest.mark.parametrize("mongodb", [WITHOUT], indirect=True)
def test_without_streams(prices: Prices) -> None:
    prices.change()
    prices.reaches("ready")
    assert prices.rows(TAILED) == [(False,)]
    prices.documents.price.update_one({"_id": 1}, {"$set": {"total": 77.625}})
    prices.run("CALL morph.validate(2, 'full')")
    found = prices.rows("SELECT type, record_id FROM morph.discrepancies")
    assert found == [("VALUE_MISMATCH", "1")]
