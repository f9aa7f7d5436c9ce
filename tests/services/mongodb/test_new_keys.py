"""A row without `_id` gets an ObjectId that RETURNING shows: the one that the store then has."""

from __future__ import annotations

import pytest
from bson.objectid import ObjectId

from tests.services.clients import Shop

pytestmark = [pytest.mark.services, pytest.mark.timeout(300)]
OLD = ObjectId("6650f0a1b2c3d4e5f6a7b801")
TABLE = """CREATE FOREIGN TABLE people (id text OPTIONS (path '_id'), name text, qty bigint)
SERVER s OPTIONS (collection 'people', key 'id')"""


def stored(shop: Shop) -> dict[str, object]:
    """The keys of the documents by their names, as the store has them."""
    return {each["name"]: each["_id"] for each in shop.documents.people.find()}


@pytest.fixture(params=["some", "empty"])
def people(request: pytest.FixtureRequest, shop: Shop) -> Shop:
    """A foreign table over a collection of ObjectIds, or over one that nobody has used."""
    shop.documents.create_collection("people")
    if request.param == "some":
        shop.documents.people.insert_one({"_id": OLD, "name": "old", "qty": 1})
    shop.run(TABLE)
    return shop


# issue 4.1, R1.8: the key is made before the write
@pytest.mark.parametrize(
    "text",
    [
        "INSERT INTO people (name) VALUES ('x'), ('y') RETURNING name, id",
        "INSERT INTO people (id, name) VALUES (DEFAULT, 'x') RETURNING name, id",
        "INSERT INTO people (name) SELECT 'n' || g FROM generate_series(1, 3) g RETURNING name, id",
        "INSERT INTO people (name) VALUES ('x') ON CONFLICT (id) DO NOTHING RETURNING name, id",
        "MERGE INTO people p USING (VALUES ('x')) v(n) ON p.name = v.n "
        "WHEN NOT MATCHED THEN INSERT (name) VALUES (v.n) RETURNING p.name, p.id",
        "WITH made AS (INSERT INTO people (name) VALUES ('x') RETURNING *) "
        "SELECT name, id FROM made",
    ],
)
def test_returning_shows_the_key(people: Shop, text: str) -> None:
    shown = dict(people.rows(text))
    found = stored(people)
    found.pop("old", None)
    assert shown
    assert {name: ObjectId(key) for name, key in shown.items()} == found
    for name, key in shown.items():
        assert people.rows(f"SELECT name FROM people WHERE id = '{key}'") == [(name,)]


def test_copy_makes_keys(people: Shop) -> None:
    with people.client.cursor() as cursor, cursor.copy("COPY people (name) FROM STDIN") as copy:
        copy.write("x\ny\n")
    found = stored(people)
    assert set(found) - {"old"} == {"x", "y"}
    assert {type(key) for key in found.values()} == {ObjectId}
    assert dict(people.rows("SELECT name, id FROM people")) == {
        name: str(key) for name, key in found.items()
    }


def test_an_imported_empty_collection(shop: Shop) -> None:
    shop.documents.create_collection("people")
    shop.run(f"IMPORT FOREIGN SCHEMA {shop.documents.name} FROM SERVER s INTO public")
    [(key,)] = shop.rows("INSERT INTO people DEFAULT VALUES RETURNING _id")
    assert list(shop.documents.people.find()) == [{"_id": ObjectId(key)}]


# A key that is no ObjectId is nobody's to invent
def test_other_keys_must_be_given(shop: Shop) -> None:
    shop.documents.people.insert_one({"_id": 7, "name": "seven"})
    shop.run(TABLE.replace("id text", "id bigint"))
    with pytest.raises(Exception, match='null value in column "id"'):
        shop.rows("INSERT INTO people (name) VALUES ('x') RETURNING id")
    assert stored(shop) == {"seven": 7}
