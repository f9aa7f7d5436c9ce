"""The sqllogictest runner itself: the format, the rules of skipping, completing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.slt.compare import differences, result_lines, shown, type_letters
from tests.slt.engines import Field, Outcome
from tests.slt.oracle import Number, parse, to_json, to_sql, value_at
from tests.slt.records import FormatError, complete_text, pattern_matches, read_records
from tests.slt.runner import FileRun, Sides, _recorded


def _file(directory: Path, text: str, name: str = "a.slt") -> Path:
    path = directory / name
    path.write_text(text)
    return path


def _rows(*rows: tuple[bytes | None, ...], oids: str = "23") -> Outcome:
    fields = tuple(Field(f"c{n}", oid, 4, -1, 0, "0", 0) for n, oid in enumerate(oids.split(",")))
    return Outcome(fields, list(rows), f"SELECT {len(rows)}")


class _Fake:
    """An engine whose outcomes are known."""

    idle, failed = True, False

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self.modes: list[str] = []

    def run(self, sql: str, mode: str = "simple", params: Any = None, data: Any = ()) -> Outcome:
        self.modes.append(mode)
        return self.outcome

    def command(self, sql: str) -> None:
        self.modes.append(sql)

    def close(self) -> None:
        pass


def _run(directory: Path, text: str, ours: Outcome, theirs: Outcome, *, merge: bool = False) -> Any:
    engines = (_Fake(ours), _Fake(theirs))
    sides: Any = Sides(lambda: engines[0], lambda: engines[1], merge)  # type: ignore[arg-type, return-value]
    run = FileRun(sides)
    for record in read_records(_file(directory, text)):
        run.run(record)
    return run.report.failures, engines[0].modes


def test_reads_all_kinds_of_records(tmp_path: Path) -> None:  # R0.5
    path = _file(
        tmp_path,
        "# head\n\nstatement ok\nSELECT 1\n\nstatement error 42P01\nSELECT x\n\n"
        "connection two\nparams 1|NULL|(empty)\nquery IT rowsort name\nSELECT $1,\n  2\n----\n"
        "1\ta\n2\tb\n\nstatement count 3\nDELETE FROM t\n\nquery error no .* here\nSELECT y\n\n"
        "hash-threshold 8\nquery I\nSELECT 1\n-- oracle\nSELECT 2\n----\n"
        "9 values hashing to 0123456789abcdef0123456789abcdef\n\nhalt\n\nnonsense\n",
    )
    records = read_records(path)
    assert [r.kind for r in records] == ["ok", "error", "query", "count", "error", "query"]
    assert records[1].pattern == "42P01"
    query = records[2]
    assert (query.types, query.sort, query.label) == ("IT", "rowsort", "name")
    assert (query.connection, query.params) == ("two", ("1", None, ""))
    assert (query.sql, query.results) == ("SELECT $1,\n  2", ["1\ta", "2\tb"])
    assert records[3].connection == "default"
    assert records[3].count == 3
    assert (records[5].sql, records[5].oracle_sql) == ("SELECT 1", "SELECT 2")
    assert records[5].hash_threshold == 8
    assert records[5].hashed == (9, "0123456789abcdef0123456789abcdef")


def test_includes_other_files_once(tmp_path: Path) -> None:
    _file(tmp_path, "query I\nSELECT 2\n----\n2\n", "b.slt")
    path = _file(tmp_path, "include b.slt\n\nquery I\nSELECT 1\n----\n1\n")
    assert [r.sql for r in read_records(path)] == ["SELECT 2", "SELECT 1"]
    with pytest.raises(FormatError, match="itself"):
        read_records(_file(tmp_path, "include a.slt\n"))


@pytest.mark.parametrize(
    "text",
    [
        "skipif morphgres\nstatement ok\nSELECT 1\n",
        "skipif oracle # why\nstatement ok\nSELECT 1\n",
        "differs detail\nstatement ok\nSELECT 1\n",
        "statement maybe\nSELECT 1\n",
        "query XYZ\nSELECT 1\n",
        "query I nosort a b\nSELECT 1\n",
        "statement ok\n\n",
        "what\n",
        "include nothing.slt\n",
        "skipif morphgres # why\n",
    ],
)
def test_refuses_what_is_not_the_format(tmp_path: Path, text: str) -> None:
    with pytest.raises(FormatError):
        read_records(_file(tmp_path, text))


def test_results_are_one_line_a_row_and_never_empty(tmp_path: Path) -> None:
    (record,) = read_records(_file(tmp_path, "query TT rowsort\nSELECT 1\n"))
    outcome = _rows((b"b", None), (b"a\tx\ny", b""), oids="25,25")
    assert result_lines(record, outcome) == ["a\\tx\\ny\t(empty)", "b\tNULL"]
    record.sort = "valuesort"
    assert result_lines(record, outcome) == ["(empty)", "NULL", "a\\tx\\ny", "b"]
    record.hash_threshold = 2
    assert result_lines(record, outcome)[0].startswith("4 values hashing to ")
    assert shown(None) == "NULL"
    assert type_letters(_rows(oids="20,701,16,25")) == "IRBT"


def test_compares_names_types_values_tags_errors_and_notices(tmp_path: Path) -> None:
    (record,) = read_records(_file(tmp_path, "query I rowsort\nSELECT 1\n"))
    good = _rows((b"1",), (b"2",))
    assert differences(record, _rows((b"2",), (b"1",)), good) == []
    assert differences(record, _rows((b"1",)), good) != []
    assert differences(record, _rows((b"1",), (b"3",)), good) != []
    assert differences(record, _rows((b"1",), (b"2",), oids="20"), good) != []
    failed = Outcome(error={"sqlstate": "22012", "message": "m", "position": "8"})
    moved = Outcome(error={"sqlstate": "22012", "message": "m", "position": "9"})
    assert differences(record, failed, good) != []
    assert differences(record, moved, failed) == ["error position: '9' instead of '8'"]
    record.oracle_sql = "SELECT 2"
    assert differences(record, moved, failed) == []
    noisy = _rows((b"1",), (b"2",))
    noisy.notices.append({"message": "n"})
    assert differences(record, noisy, good) != []


def test_runs_every_way_and_the_merge_tier(tmp_path: Path) -> None:
    text = "query I nosort\nSELECT 1\n----\n1\n"
    failures, modes = _run(tmp_path, text, _rows((b"1",)), _rows((b"1",)), merge=True)
    assert failures == []
    assert modes == [
        *("simple", "SET morph.pushdown = 'off'", "simple", "SET morph.pushdown = on"),
        *("SET morph.pushdown = 'scan'", "simple", "SET morph.pushdown = on"),
        *("extended", "binary"),
    ]


def test_undoes_all_runs_of_a_write_but_the_last(tmp_path: Path) -> None:
    text = "query I nosort\nINSERT INTO t VALUES (1) RETURNING 1\n----\n1\n"
    _, modes = _run(tmp_path, text, _rows((b"1",)), _rows((b"1",)))
    assert modes[0] == "BEGIN"
    assert modes[-1] == "binary"


def test_a_skip_that_would_pass_fails(tmp_path: Path) -> None:
    text = "skipif morphgres # not yet\nquery I nosort\nSELECT 1\n----\n1\n"
    one, two = _rows((b"1",)), _rows((b"2",))
    assert _run(tmp_path, text, two, one)[0] == []
    assert "would pass now (not yet)" in _run(tmp_path, text, one, one)[0][0]
    known = "differs rows # why\nquery I nosort\nSELECT 1\n----\n1\n"
    assert "does not differ now" in _run(tmp_path, known, one, one)[0][0]


def test_differs_leaves_the_rest_checked(tmp_path: Path) -> None:
    text = "differs detail # why\nstatement error 23505\nSELECT 1\n"
    theirs = Outcome(error={"sqlstate": "23505", "message": "m", "detail": "d"})
    ours = Outcome(error={"sqlstate": "23505", "message": "m"})
    assert _run(tmp_path, text, ours, theirs)[0] == []
    ours.error["message"] = "other"
    assert len(_run(tmp_path, text, ours, theirs)[0]) == 1


def test_expected_errors_are_a_sqlstate_or_a_pattern(tmp_path: Path) -> None:
    assert pattern_matches("", "42P01", "x")
    assert pattern_matches("42P01", "42P01", "x")
    assert not pattern_matches("42P01", "42703", "42P01")
    assert pattern_matches("no .* here", "42P01", "there is no dog here")
    (record,) = read_records(_file(tmp_path, "statement error 42P01\nSELECT 1\n"))
    assert _recorded(record, _rows((b"1",))) == ["no error"]


def test_completing_changes_heads_and_results_only(tmp_path: Path) -> None:
    text = "# head\n\nquery rowsort\nSELECT 1\n----\nold\n\n# more\n\nstatement ok\nSELECT 2\n"
    first, second = read_records(_file(tmp_path, text))
    first.types, first.results = "I", ["1"]
    second.kind, second.pattern = "error", "42P01"
    assert complete_text(text, [first, second]) == (
        "# head\n\nquery I rowsort\nSELECT 1\n----\n1\n\n# more\n\n"
        "statement error 42P01\nSELECT 2\n"
    )


def test_the_oracle_reads_documents_by_itself() -> None:
    document = parse(
        '{"a":{"b.c":[1.0,1e3]},"n":{"$numberDecimal":"1.50"},"t":{"$date":{"$numberLong":"0"}},'
        '"":{"~":null},"x":{"$numberDouble":"NaN"},"z":-0.0,"big":12345678901234567890}'
    )
    assert value_at(document, "a.b~1c") == [Number("1.0"), Number("1e3")]
    assert value_at(document, "~2.~0") is None
    assert value_at(document, "a.nope.deeper") is None
    assert to_json(document["a"]) == '{"b.c":[1.0,1e3]}'
    assert to_sql(document["n"], "numeric") == "1.50"
    assert to_sql(document["t"], "timestamp with time zone") == "1970-01-01T00:00:00+00:00"
    assert to_sql(document["x"], "double precision") == "NaN"
    assert to_sql(document["z"], "double precision") == "0"
    assert to_sql(document["big"], "numeric") == "12345678901234567890"
    assert to_sql([True, None], "boolean[]") == [True, None]
