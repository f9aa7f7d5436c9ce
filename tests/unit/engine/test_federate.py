"""What statements over foreign tables become: staged texts, scans, refusals (R1.8, R0.5)."""

from __future__ import annotations

import pytest

from core.errors import FeatureNotSupported
from engine.federate import DOC_ID
from rewrite.analysis import Action, analyse
from tests.unit.engine.foreign_tables import NAMESPACES, planned


@pytest.mark.parametrize(
    ("text", "staged"),
    [
        ("SELECT id FROM people", 'SELECT id FROM <0> AS "people"'),
        ("SELECT p.id FROM public.people p", "SELECT p.id FROM <0> p"),
        ("SELECT public.people.id FROM people", 'SELECT people.id FROM <0> AS "people"'),
        ("TABLE people", 'SELECT * FROM <0> AS "people"'),
        ("TABLE ONLY people", 'SELECT * FROM <0> AS "people"'),
        ("TABLE ONLY (people) LIMIT 1", 'SELECT * FROM <0> AS "people" LIMIT 1'),
        ("SELECT id FROM ONLY people", 'SELECT id FROM <0> AS "people"'),
        ("SELECT id FROM ONLY (people) p", "SELECT id FROM <0> p"),
        ("SELECT id FROM people *", 'SELECT id FROM <0> AS "people"'),
        ("SELECT address.city FROM people", 'SELECT "address.city" FROM <0> AS "people"'),
        ("SELECT note FROM vips JOIN people ON id = pid",
         'SELECT note FROM "morph_v1".vips JOIN <0> AS "people" ON id = pid'),
        ("SELECT 1; SELECT * FROM people p, orders o", "SELECT * FROM <0> p, <1> o"),
        ("DECLARE c CURSOR FOR SELECT id FROM people",
         'DECLARE c CURSOR FOR SELECT id FROM <0> AS "people"'),
        ("COPY people TO STDOUT",
         'COPY (SELECT "id", "name", "age", "address.city" FROM <0> AS _m) TO STDOUT'),
        ("COPY people (name) TO STDOUT", 'COPY (SELECT "name" FROM <0> AS _m) TO STDOUT'),
        ("INSERT INTO vips SELECT id, name FROM people",
         'INSERT INTO "morph_v1".vips SELECT id, name FROM <0> AS "people"'),
        ("UPDATE vips SET note = name FROM people WHERE id = pid",
         'UPDATE "morph_v1".vips SET note = name FROM <0> AS "people" WHERE id = pid'),
        ("UPDATE people SET age = 1", 'UPDATE <0> AS "people" SET age = 1'),
        ("UPDATE people SET address.city = 'x'",
         'UPDATE <0> AS "people" SET "address.city" = \'x\''),
        ("UPDATE people p SET age = 1 RETURNING *",
         'UPDATE <0> p SET age = 1 RETURNING "p"."id", "p"."name", "p"."age", "p"."address.city"'),
        ("DELETE FROM orders o USING vips v RETURNING v.*, o.*",
         'DELETE FROM <0> o USING "morph_v1".vips v '
         'RETURNING v.*, "o"."id", "o"."person", "o"."total"'),
        ("DELETE FROM people p WHERE id = 1", "DELETE FROM <0> p WHERE id = 1"),
        ("INSERT INTO people (id) VALUES (1)", 'INSERT INTO <0> AS "people" (id) VALUES (1)'),
        ("WITH people AS (SELECT id FROM people) SELECT * FROM people",
         'WITH people AS (SELECT id FROM <0> AS "people") SELECT * FROM people'),
        ("SELECT id, name FROM people GROUP BY id",
         'SELECT id, name FROM <0> AS "people" GROUP BY id, "people"."name"'),
    ],
)  # fmt: skip
def test_the_text_over_staged_relations(text: str, staged: str) -> None:
    plan = planned(text)
    assert plan.text([f"<{n}>" for n in range(len(plan.scans))]).strip() == staged


def test_statements_over_foreign_tables_are_never_relayed() -> None:
    for text in ("SELECT 1 FROM people", "PREPARE x AS SELECT 1 FROM people", "LOCK people"):
        assert analyse(text, NAMESPACES).statements[0].action is Action.FEDERATE


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SELECT ctid FROM people", 'system column "ctid"'),
        ("SELECT p.xmin FROM people p", 'system column "xmin"'),
        ("SELECT id FROM people FOR UPDATE", "cannot be locked"),
        ("SELECT id FROM people TABLESAMPLE system (1)", "TABLESAMPLE"),
        ("PREPARE x AS SELECT id FROM people", "Prepare over foreign table"),
        ("WITH x AS (DELETE FROM orders RETURNING id) UPDATE people SET age = 1", "one foreign"),
    ],
)
def test_refusals_say_why(text: str, message: str) -> None:
    with pytest.raises(FeatureNotSupported, match=message):
        planned(text)


def test_predicates_of_update_and_delete_reduce_what_is_staged() -> None:
    for text in ("UPDATE people SET age = 1 WHERE id = 7", "DELETE FROM people WHERE id = 7"):
        [scan] = planned(text).scans
        assert scan.predicate is not None
        assert scan.columns == (11, 12, 13, 14, DOC_ID)


def test_the_whole_document_is_scanned_where_it_is_named() -> None:
    assert planned("SELECT name FROM people").scans[0].columns == (12,)
    assert DOC_ID in planned("SELECT _doc FROM people").scans[0].columns


def test_a_limit_does_not_reduce_what_a_change_reads() -> None:
    [scan] = planned("UPDATE people SET age = 1").scans
    assert scan.limit is None


def test_parameters_are_pushed_when_their_types_are_known() -> None:
    text = "SELECT id FROM people WHERE age = $1"
    assert planned(text).scans[0].predicate is None
    assert planned(text, {1: "integer"}).scans[0].predicate is not None
