"""The generated documentation is complete and up to date (R0.7, R6.4)."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.document import parse_document
from config.fields import Kind, fields_of
from config.loader import check_file, load_settings
from config.reference import EXAMPLE_PATH, configuration_page, example_file, main
from config.settings import SECTIONS, Settings, env_name

PAGE = Path(__file__).parents[3] / "docs" / "configuration.md"
ALL_FIELDS = [
    (name, field) for name, section in SECTIONS.items() for field in fields_of(section)
] + [("", field) for field in fields_of(Settings)]
ITEMS = [(field.key, field.spec.item) for _, field in ALL_FIELDS if field.spec.item is not None]


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == configuration_page(), "run: make docs"


def test_the_example_is_up_to_date() -> None:
    expected = example_file()
    assert EXAMPLE_PATH.read_text() == expected, (
        "run: python -m config.reference example > config/example.toml"
    )


def test_the_example_as_it_is_gives_the_defaults() -> None:
    assert check_file(EXAMPLE_PATH, {}) == []
    assert load_settings(EXAMPLE_PATH, {}) == Settings()


def test_every_line_of_the_example_works_when_it_is_uncommented(tmp_path: Path) -> None:
    lines = [line[1:] if _commented_out(line) else line for line in example_file().splitlines()]
    path = tmp_path / "all.toml"
    # certificates would have to exist
    path.write_text("\n".join(line for line in lines if ".pem" not in line))
    assert check_file(path, {"APP_PASSWORD": "x", "ORDERS_DSN": "mongodb://h"}) == []
    settings = load_settings(path, {"APP_PASSWORD": "x", "ORDERS_DSN": "x"})
    defaults = Settings()
    assert settings.server == defaults.server
    assert settings.private_pg == defaults.private_pg
    assert [(i.name, i.kind) for i in settings.instances] == [("orders", "mongodb")]
    assert settings.auth.users[0].name == "app"
    document = parse_document("\n".join(lines), "example")
    for name, field in ALL_FIELDS:
        assert field.key in (document.values[name] if name else document.values), field.key


def _commented_out(line: str) -> bool:
    return line.startswith("#") and not line.startswith("# ")


@pytest.mark.parametrize(
    ("section", "field"), ALL_FIELDS, ids=lambda value: getattr(value, "key", value)
)
def test_every_setting_is_documented_and_limited(section: str, field: object) -> None:
    found = next(f for name, f in ALL_FIELDS if name == section and f is field)
    spec, page = found.spec, configuration_page()
    assert spec.text.endswith("."), found.key
    assert f"`{found.key}`" in page or f"`[[{section}{'.' * bool(section)}{found.key}]]`" in page
    if spec.kind is not Kind.TABLES:
        assert env_name(section, found.key) in page
    if spec.kind in (Kind.INTEGER, Kind.SIZE, Kind.DURATION):
        assert spec.low is not None
        assert spec.high is not None
        in_range = spec.low <= found.default <= spec.high
        assert in_range or (found.default == 0 and spec.zero)
    if spec.kind is Kind.CHOICE:
        assert found.default in spec.choices


@pytest.mark.parametrize(("key", "item"), ITEMS)
def test_every_key_of_a_table_is_documented(key: str, item: type) -> None:
    for field in fields_of(item):
        assert field.spec.text.endswith(".")
        assert f"`{field.key}`" in configuration_page()


def test_every_field_of_a_section_is_a_setting() -> None:
    for section in SECTIONS.values():
        assert {field.name for field in fields_of(section)} == set(section.__dataclass_fields__)
    assert set(Settings.__dataclass_fields__) == {*SECTIONS, "instances"}


def test_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert capsys.readouterr().out == configuration_page()
    assert main(["example"]) == 0
    assert capsys.readouterr().out == example_file()
    assert main(["nope"]) == 2
