"""Columns of foreign tables in another form, as SQL over what is staged (R4.2; decision 0008)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from catalog.model import (
    CatalogSnapshot,
    Column,
    Lens,
    Lensed,
    Native,
    Seed,
    Version,
)
from core.errors import FeatureNotSupported
from engine.changes import (
    Target,
    create_texts,
    insert_target,
    load_columns,
    lost_value_text,
    read_back_text,
    shown_text,
    target_of,
)
from engine.direct import direct_of
from engine.federate import FederatedPlan, plan_federated
from engine.grouped import grouped_of
from engine.lensed_columns import (
    as_stored,
    document_text,
    down_texts,
    not_kept,
    shown_names,
    under_columns,
    up_text,
    with_unders,
)
from engine.predicates import PlacedTable
from engine.scans import Scan
from engine.virtual_columns import fetched, shown_relation, value_of
from rewrite.analysis import analyse
from rewrite.namespaces import Namespaces
from tests.unit.engine.foreign_tables import PEOPLE, kind_of

AGE = Column(17, "age", "text", Lensed(31, path=("age",)))
FIRST = Column(18, "first", "text", Lensed(32, path=("first",)))
LAST = Column(19, "last", "text", Lensed(32, path=("last",)))
YEARS = Column(20, "years", "numeric(5,1)", Lensed(33, path=("age",)))


def _over(column: Column) -> Column:
    assert isinstance(column.source, Lensed)
    return replace(column, source=Native(column.source.path, clean=False))


OF_AGE = Lens(31, (PEOPLE.columns[2],), (_over(AGE),), ('("$1")::text',), ('("$1")::integer',))
OF_NAME = Lens(
    32, (PEOPLE.columns[1],), (_over(FIRST), _over(LAST)),
    ("split_part(\"$1\", ' '::text, 1)", "split_part(\"$1\", ' '::text, 2)"),
    ("((\"$1\" || ' '::text) || \"$2\")",),
)  # fmt: skip
OF_YEARS = Lens(33, (AGE,), (_over(YEARS),), ('("$1")::numeric',), ('("$1")::text',))
KEY, CITY = PEOPLE.columns[0], PEOPLE.columns[3]
LABEL = Column(21, "label", "text", Seed("first || years", (18, 20)))
TABLE = replace(
    PEOPLE,
    columns=(KEY, CITY, FIRST, LAST, YEARS, LABEL),
    lenses=(OF_AGE, OF_NAME, OF_YEARS),
)
NAMESPACES = Namespaces(CatalogSnapshot(1, 1, 1, {1: Version(1, 0, (TABLE,))}), ("public",))
UP_YEARS = '((((("_morph_c13"))::text))::numeric)::numeric(5,1)'


def planned(text: str) -> FederatedPlan:
    """The plan of a statement over the table."""
    analysis = analyse(text, NAMESPACES)
    return plan_federated(analysis, analysis.statements[-1], NAMESPACES, {}, kind_of)


def scan(*columns: int) -> Scan:
    """A scan that wants these columns."""
    return Scan(0, "", "people", "p", PlacedTable(TABLE, 1, "mongodb"), columns)


def test_what_the_store_is_asked_for() -> None:
    assert [(c.id, c.name, c.type) for c in under_columns(TABLE)] == [
        (13, "_morph_c13", "integer"),
        (12, "_morph_c12", "text"),
    ]
    assert with_unders(PEOPLE) is PEOPLE
    assert [c.id for c in with_unders(TABLE).columns] == [11, 14, 18, 19, 20, 21, 13, 12]
    assert with_unders(with_unders(TABLE)) == with_unders(TABLE)
    assert load_columns(TABLE).names == (
        "id", "address.city", "_morph_c13", "_morph_c12", "_morph_row",
    )  # fmt: skip


def test_up_goes_through_all_lenses() -> None:
    assert up_text(TABLE, YEARS) == UP_YEARS
    assert up_text(TABLE, LAST) == "split_part((\"_morph_c12\"), ' '::text, 2)"
    first = up_text(TABLE, FIRST)
    assert value_of(TABLE, LABEL) == f"((({first}) || ({UP_YEARS})\n)::text)"
    assert value_of(TABLE, LABEL, lensed=False) == "((first || years\n)::text)"


def test_down_goes_through_all_lenses() -> None:
    assert down_texts(TABLE, fresh=True) == {
        12: '(((("first") || \' \'::text) || ("last")))::text',
        13: '(((((("years"))::text)::text))::integer)::integer',
    }
    without = replace(TABLE, columns=tuple(c for c in TABLE.columns if c is not FIRST))
    assert "NULL::text" in down_texts(without, fresh=True)[12]
    assert 'split_part(("_morph_c12")' in down_texts(without, fresh=False)[12]


@pytest.mark.parametrize(
    ("wanted", "fetch"),
    [((11,), (11,)), ((20,), (13,)), ((18, 11), (11, 12)), ((21,), (13, 12))],
)
def test_what_is_fetched(wanted: tuple[int, ...], fetch: tuple[int, ...]) -> None:
    found = fetched(scan(*wanted))
    assert found.columns == fetch
    assert found.shown == (wanted if wanted != fetch else ())
    assert all(found.placed.table.column_by_id(each) for each in fetch)


def test_the_relation() -> None:
    assert shown_relation(fetched(scan(11, 20)), "<0>") == (
        f'(SELECT "id", ({UP_YEARS}) AS "years" FROM <0> AS _m)'
    )


def test_nothing_of_another_form_is_pushed() -> None:
    plan = planned("SELECT id FROM people WHERE years > 3 AND id = 4")
    [made] = plan.scans
    assert made.predicate is not None
    assert "years has another form in the store" in made.reasons
    assert direct_of(plan) is None
    assert direct_of(planned("SELECT id FROM people WHERE id = 4")) is not None
    assert direct_of(planned("SELECT years FROM people WHERE id = 4")) is None
    assert planned("SELECT id FROM people ORDER BY years LIMIT 3").scans[0].limit is None
    assert planned("SELECT id FROM people ORDER BY id LIMIT 3").scans[0].limit == 3
    assert grouped_of(planned("SELECT years, count(*) FROM people GROUP BY years")) is None
    assert grouped_of(planned("SELECT max(years) FROM people")) is None
    assert grouped_of(planned("SELECT count(*) FROM people")) is not None
    join = planned("SELECT 1 FROM people a JOIN people b ON a.years = b.years")
    assert [each.joins for each in join.scans] == [(), ()]


def test_whole_documents() -> None:
    document = Column(40, "_doc", "jsonb", Native(()))
    assert not as_stored(TABLE, document)
    assert as_stored(PEOPLE, document)
    text = document_text(TABLE, document)
    assert "ARRAY['name']::text[], NULL)" in text
    assert f"ARRAY['age']::text[], pg_catalog.to_jsonb({UP_YEARS}))" in text
    [made] = planned("SELECT _doc FROM people WHERE _doc->>'age' = '3'").scans
    assert made.predicate is None
    assert {12, 13} <= set(made.columns)
    with pytest.raises(FeatureNotSupported, match="_doc"):
        target_of(planned("UPDATE people SET _doc = '{}'"))


# ------------------------------------------------------------------ the copy of a target


def target(text: str) -> Target:
    """What a statement does."""
    return target_of(planned(text))


def test_what_is_assigned() -> None:
    assert target("UPDATE people SET years = 3").assigned == (13,)
    assert target("UPDATE people SET first = 'a', city = 'b' WHERE id = 1").assigned == (12,)
    found = target("UPDATE people SET years = 3")
    assert (set(found.shows), set(found.repairs)) == ({20}, {20})
    found = target("UPDATE people SET years = years + 1")
    assert (set(found.shows), set(found.repairs)) == ({20}, set())
    # Parts of one value are put together: all of them must be there.
    found = target("UPDATE people SET first = 'a'")
    assert (set(found.shows), set(found.repairs)) == ({18, 19}, set())
    found = target("DELETE FROM people WHERE id = 3")
    assert (set(found.shows), set(found.repairs)) == (set(), set())
    assert target("DELETE FROM people WHERE label = 'x'").shows == {18, 19, 20}
    assert insert_target(TABLE, Version(1, 0, (TABLE,))).shows == {18, 19, 20}


def test_the_copy_has_what_is_shown_before_what_is_not() -> None:
    found = insert_target(TABLE, Version(1, 0, (TABLE,)))
    [text] = create_texts("people", found, ())
    names = [part.split()[0] for part in text.partition("(")[2].split(", ")]
    at = names.index("_morph_mark")
    assert names.index('"years"') < at < names.index('"_morph_c13"') < names.index("_morph_row")
    assert "GENERATED ALWAYS AS (((first || years\n)::text)) STORED" in text


def test_rows_are_shown_and_put_down() -> None:
    found = target("UPDATE people SET years = years + 1")
    shown = shown_text("copy", "bare", found)
    assert UP_YEARS in shown
    assert '"first"' not in shown
    back = read_back_text("copy", found, 0, 5).native
    assert "record_image_ne" in back
    assert back.count("CASE WHEN") == 1
    assert "FROM copy" in lost_value_text(found, "copy")
    assert lost_value_text(target("DELETE FROM people WHERE id = 1"), "copy") == ""


def test_rows_with_nothing_to_show_can_be_repaired() -> None:
    found = target("UPDATE people SET years = 3")
    assert "LATERAL (SELECT f(_m) AS x" in shown_text("copy", "bare", found, "f")
    assert "cmin" in read_back_text("copy", found, 0, 5, "7").native
    read = target("UPDATE people SET years = years + 3")
    assert "cmin" not in read_back_text("copy", read, 0, 5).native


def test_the_words_of_what_is_not_kept() -> None:
    error = not_kept(TABLE, YEARS, "3.5", None)
    assert error.sqlstate == "22000"
    assert error.detail == (
        'Foreign table "people" has it as integer in its store: 3.5 would come back as null.'
    )
    table = with_unders(TABLE)
    under = table.column_by_id(12)
    assert under is not None
    assert shown_names(table, under) == ["first", "last"]


def test_a_table_without_lenses_has_nothing_of_it() -> None:
    plain = insert_target(PEOPLE, Version(1, 0, (PEOPLE,)))
    [text] = create_texts("people", plain, ())
    assert "_morph_mark" not in text
    assert lost_value_text(plain, "copy") == ""
    assert "CASE" not in read_back_text("copy", plain, 0, 5).native
