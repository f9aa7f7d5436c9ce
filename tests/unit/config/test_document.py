"""Where keys stand, and that every fault of syntax is told (R0.7)."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.document import FILE_BYTES_MAX, dotted, parse_document, read_document

TEXT = """\
# heading
top = 1
[server]   # comment
host = "a # no comment"
 'port' = 5
"max connections" = 3
nested.key.deep = 1979-05-27 07:32:00

[a.b]
multi = \"\"\"
line = "x"
[not.a.table]
\"\"\"
list = [
  1, # one
  { inner = 2, "quoted.key" = [ { deep = 1 } ] },
]
[[rule]]
x = { y = 1, z.w = 2 }
[[rule]]
x = '''q'''
[rule.sub]
last = true
"""


def test_places_of_keys() -> None:
    document = parse_document(TEXT, "t.toml")
    assert document.problems == []
    assert document.values == tomllib.loads(TEXT)
    expected: dict[tuple[str | int, ...], tuple[int, int]] = {
        ("top",): (2, 1),
        ("server",): (3, 1),
        ("server", "host"): (4, 1),
        ("server", "port"): (5, 2),
        ("server", "max connections"): (6, 1),
        ("server", "nested", "key", "deep"): (7, 1),
        ("a", "b"): (9, 1),
        ("a", "b", "multi"): (10, 1),
        ("a", "b", "list"): (14, 1),
        ("a", "b", "list", 1): (16, 3),
        ("a", "b", "list", 1, "inner"): (16, 5),
        ("a", "b", "list", 1, "quoted.key"): (16, 16),
        ("a", "b", "list", 1, "quoted.key", 0, "deep"): (16, 35),
        ("rule",): (18, 1),
        ("rule", 0): (18, 1),
        ("rule", 0, "x", "y"): (19, 7),
        ("rule", 0, "x", "z", "w"): (19, 14),
        ("rule", 1): (20, 1),
        ("rule", 1, "x"): (21, 1),
        ("rule", 1, "sub", "last"): (23, 1),
    }
    for path, place in expected.items():
        assert document.places.get(path) == place, dotted(path)


def test_a_key_without_place_has_that_of_its_table() -> None:
    document = parse_document("[a]\nb = [1]\n", "t")
    assert document.place(("a", "b", 0, "x")) == (2, 1)
    assert document.place(("a", "c")) == (1, 1)
    assert document.place(("z",)) == (0, 0)


def _faults(text: str) -> list[tuple[int, str, str]]:
    problems = parse_document(text, "t").problems
    return [(p.line, p.key, p.message) for p in sorted(problems)]


@pytest.mark.parametrize(
    ("text", "line", "key", "message"),
    [
        ("[s]\na = 1\nb = \na = 2\n", 3, "s.b", "syntax error: invalid value"),
        ("a = 1\na = 2", 2, "a", "duplicate key"),
        ("a = 1\n'a' = 2", 2, "a", "duplicate key"),
        ("[s]\n[t]\n[s]\n", 3, "s", "table is defined twice"),
        ("s = 1\n[s]\n", 2, "s", "is a value and a table at once"),
        ("s = 1\n[[s]]\n", 2, "s", "is a value and a table at once"),
        ("s = 1\ns.x = 2\n", 2, "s", "is a value and a table at once"),
        ("[s]\noops\n", 2, "", 'syntax error: expected "=" after the key'),
        ("= 1\n", 1, "", "syntax error: expected a key"),
        ("[s\n", 1, "", 'syntax error: expected "]" after the name'),
        ("[[s]\n", 1, "", 'syntax error: expected "]]" after the name'),
        ("[s] x = 1\n", 1, "", "syntax error: expected the end of the line"),
        ('a = "open\n', 1, "a", "syntax error: "),
        ('x = 1\na = """open\nb = 2\n', 2, "a", "syntax error: "),
        ("a = [1, 2\nb = 2\n", 1, "a", "syntax error: "),
        ("a = {x = 1\nb = 2\n", 1, "a", "syntax error: "),
        ("a = [\n 1,\n nope,\n]\n", 3, "a", "syntax error: invalid value"),
        ("a = 1 2\n", 1, "a", "syntax error: expected newline"),
        ("a = {x = 1, x = 2}\n", 1, "a", "syntax error: duplicate inline table key"),
        ('"\\q" = 1\n', 1, "", "syntax error: bad quoted key"),
        ("a = " + "[" * 500 + "]" * 500, 1, "a", "syntax error: "),
        # only tomllib sees these, in the whole
        ("a = {}\n[a.b]\n", 2, "", "syntax error: cannot"),
        ("a = 1 # \x01\n", 1, "a", "syntax error: "),
    ],
)
def test_faults_have_their_line(text: str, line: int, key: str, message: str) -> None:
    first = _faults(text)[0]
    assert first[:2] == (line, key)
    assert first[2].startswith(message)


def test_one_fault_hides_no_other() -> None:
    text = 'a = \nb = "x\n[s\nc = nope\n[t]\nd = 1\nd = 2\ne = [1,\nf = 3\n'
    assert [line for line, *_ in _faults(text)] == [1, 2, 3, 4, 7, 8]


def test_column_of_a_fault_within_a_value() -> None:
    (problem,) = parse_document("[s]\nkey =   [1, nope]\n", "t").problems
    assert (problem.line, problem.column) == (2, 13)


def test_windows_text_is_read() -> None:
    document = parse_document("a = 1\r\n[b]\r\nc = 2\r\n", "t")
    assert document.values == {"a": 1, "b": {"c": 2}}
    assert document.place(("b", "c")) == (3, 1)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "morphgres.toml"
    (missing,) = read_document(path).problems
    assert missing.message == "could not read: no such file or directory"
    assert missing.source == str(path)
    path.write_bytes(b"a = 1\nb = '\xff'\n")
    (binary,) = read_document(path).problems
    assert (binary.line, binary.column, binary.message) == (2, 6, "is not UTF-8 text")
    path.write_bytes(b"#" * (FILE_BYTES_MAX + 1))
    assert "is larger than" in read_document(path).problems[0].message
    path.write_bytes(b"\xef\xbb\xbfa = 1\n")
    assert read_document(path).values == {"a": 1}


@given(st.text(alphabet="ab.=[]{}\"'#,\\\n 1\t", max_size=60))
def test_any_text_is_read_as_tomllib_reads_it_or_has_a_problem(text: str) -> None:
    document = parse_document(text, "t")
    try:
        values: dict[str, Any] | None = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        values = None
    if values is None:
        assert document.problems
        lines = text.count("\n") + 1
        assert all(1 <= problem.line <= lines for problem in document.problems)
    else:
        assert document.problems == []
        assert document.values == values


_names = st.sampled_from(["a", "b", "c_d", "e-1"])
_scalars = st.integers() | st.booleans() | st.sampled_from(["x", "y # z", "[t]", "a = 1"])


@given(st.dictionaries(_names, st.dictionaries(_names, st.lists(_scalars) | _scalars)))
def test_every_key_of_a_good_file_has_its_line(tables: dict[str, dict[str, Any]]) -> None:
    lines: list[str] = []
    expected: dict[tuple[str | int, ...], int] = {}
    for name, table in tables.items():
        lines.append(f"[{name}]")
        expected[(name,)] = len(lines)
        for key, value in table.items():
            lines.append(f"{key} = {_toml(value)}")
            expected[name, key] = len(lines)
    document = parse_document("\n".join(lines), "t")
    assert document.values == tables
    assert {path: line for path, (line, _) in document.places.items()} == expected


def _toml(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return str(value).lower() if isinstance(value, bool) else repr(value)
