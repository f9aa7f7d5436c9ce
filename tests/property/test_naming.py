"""Laws of names: different paths have different names, and uncut names can be read back."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from catalog.naming import (
    NAME_BYTES_MAX,
    Path,
    assign_names,
    column_name,
    fixed_name,
    name_cut,
)

SEGMENTS = st.one_of(
    st.text(alphabet="~.0123ab_", max_size=6),
    st.sampled_from(["", "ctid", "xmin", "_doc", "_doc~3", "ctid~3", "~2", "~3", "_id"]),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40),
)
PATHS = st.lists(SEGMENTS, min_size=1, max_size=5).map(tuple)


def read_back(name: str) -> Path:
    """The path of an uncut name: the escapes undone."""
    segments = name.removesuffix("~3").split(".")
    return tuple(
        "" if segment == "~2" else segment.replace("~1", ".").replace("~0", "~")
        for segment in segments
    )


# R0.4: injective, because every uncut name has exactly one path.
@given(PATHS)
@example(("~2",))
@example(("a~", "1"))
def test_uncut_names_can_be_read_back(path: Path) -> None:
    if not name_cut(path):
        assert read_back(column_name(path)) == path


# R0.4
@given(st.sets(PATHS, max_size=20))
def test_names_of_a_table_are_different_and_fit(paths: set[Path]) -> None:
    names = assign_names(paths)
    assert set(names) == paths
    assert len(set(names.values())) == len(paths)
    for path, name in names.items():
        assert 0 < len(name.encode()) <= NAME_BYTES_MAX
        assert name == column_name(path)
        assert not name.startswith("_doc") or name.endswith("~3") or name_cut(path)


# R0.4: a document cannot be made so that its key takes the name of a cut one.
@given(st.text(alphabet="ab~.", min_size=55, max_size=90))
def test_cut_names_cannot_be_forged(key: str) -> None:
    name = column_name((key,))
    assert column_name(read_back(name)) != name or not name_cut((key,))


# R0.4
@given(st.sets(PATHS, max_size=10), st.sampled_from(["ordinality", "_id", "orders__id"]))
def test_fixed_columns_never_take_a_fields_name(paths: set[Path], fixed: str) -> None:
    names = set(assign_names(paths).values())
    assert fixed_name(fixed, names) not in names
