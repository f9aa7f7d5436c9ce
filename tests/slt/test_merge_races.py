"""Errors that arrive while a script of the merge tier starts: each gets its answer, once."""

from __future__ import annotations

from tests.slt.engines import BINARY, EXTENDED
from tests.slt.runner import Sides

ROUNDS = 40  # the error of Bind comes before or after the script's first message, by chance


def test_a_failing_bind_before_a_merged_execute_is_answered(sides: Sides) -> None:  # R0.5
    engine = sides.morphgres()
    engine.command("SET morph.pushdown = off")
    for _ in range(ROUNDS):
        for mode in (EXTENDED, BINARY):
            outcome = engine.run("SELECT _id / $1 FROM people", mode, ["2.5"])
            assert outcome.error["sqlstate"] == "22P02"
        assert engine.run("SELECT count(*) FROM people").rows == [(b"8",)]
    engine.close()
