"""CONTEXT of the private PostgreSQL's errors, without the calls of Morphgres' own functions."""

from __future__ import annotations

import pytest

from proxy.errors import _drop_internal_context

OWN = "PL/pgSQL function morph_catalog.read_date(text) line 3 at RETURN"
THEIRS = "PL/pgSQL function public.total(integer) line 7 at SQL statement"


@pytest.mark.parametrize(
    ("context", "left"),
    [
        (OWN, None),
        (THEIRS, THEIRS),
        (f"{OWN}\n{THEIRS}", THEIRS),
        ("PL/pgSQL function morph_store.t35_lenses() line 6 at RAISE", None),
        (f"PL/pgSQL function morph_store.t35_lenses() line 6 at RAISE\n{THEIRS}", THEIRS),
        (f"{THEIRS}\n{OWN}", THEIRS),
        (f'SQL statement "SELECT 1,\n  morph_catalog.f()"\n{THEIRS}', THEIRS),
        (f'SQL statement "SELECT 1,\n  2"\n{OWN}', 'SQL statement "SELECT 1,\n  2"'),
    ],
)
def test_calls_of_our_own_functions_are_not_shown(context: str, left: str | None) -> None:
    fields = {"M": "invalid input", "W": context}
    _drop_internal_context(fields)
    assert fields.get("W") == left


def test_an_error_without_context_stays() -> None:
    fields = {"M": "invalid input"}
    _drop_internal_context(fields)
    assert fields == {"M": "invalid input"}
