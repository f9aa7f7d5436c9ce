"""The model of the protocol: no invariant breaks, and every part of it is needed (R4.2, R4.6;
EVOLUTION 7, issue 5 point 8a).

I1 acknowledged writes are in the serving layout; I2 every logged write reaches the shadow; I3 the
checkpoint only grows; I5 at the flip the shadow is the live layout; I6 after a rollback the old
layout has every write; I7 no writer between fence and flip; I8 the root moves by compare-and-set,
epochs grow; I10 what was deleted does not come back; I11 a discarded change leaves nothing. (I4,
the overlay read, is a read of the live rows through a lens here; I9 is the store's own locking; I12
to I14 are of generators, indexes and versions.)
"""

from __future__ import annotations

import pytest

from evolution.changes.states import Phase
from tests.model.protocol import Found, Model, Rules, Write, explore

MORE_WRITES = (Write(0), Write(0, delete=True), Write(1), Write(1, delete=True))
REACHED = frozenset(Phase) - {
    Phase.PROPOSED, Phase.REJECTED, Phase.CANARY, Phase.CONTRACTING, Phase.COMPLETED,
    Phase.FAILED_REVIEW,
}  # fmt: skip


def told(found: Found) -> str:
    return f"{found.violation} after {found.states} states: {', '.join(found.trace)}"


@pytest.mark.parametrize(
    ("writes", "crashes", "states_min"),
    [
        pytest.param(Model().writes, 1, 5_000, id="three writes, one death"),
        pytest.param(Model().writes, 2, 8_000, id="three writes, two deaths"),
        pytest.param(MORE_WRITES, 1, 20_000, id="four writes, one death"),
    ],
)
def test_no_interleaving_breaks_an_invariant(
    writes: tuple[Write, ...], crashes: int, states_min: int
) -> None:
    found = explore(Model(writes=writes, crashes_max=crashes))
    assert found.violation == "", told(found)
    assert found.states > states_min, "the model has lost actions"
    assert found.phases == REACHED
    for action in ("flip", "flip back", "flip refused", "remove", "claim and unfence"):
        assert action in found.labels
    for death in ("server dies", "controller dies", "controller is thought dead"):
        assert death in found.labels


@pytest.mark.parametrize(
    ("part", "invariants", "needs"),
    [
        ("snapshot_guard", {"I2"}, "commit"),
        ("apply_before_chunk", {"I5"}, "apply beside: commit"),
        ("checkpoint_with_effects", {"I2", "I10"}, "dies"),
        ("capture_waits", {"I2", "I5"}, "capture"),
        ("fence", {"I5", "I7"}, "lock"),
        ("drain", {"I5"}, "flip"),
        ("reverse", {"I6"}, "flip back"),
        ("log", {"I5"}, "server dies"),
        ("deletes", {"I10"}, "commit 1"),
        ("truncate_by_checkpoint", {"I2"}, "truncate"),
        ("compare_and_set", {"I8"}, "controller is thought dead"),
    ],
)
def test_without_a_part_there_is_a_counterexample(
    part: str, invariants: set[str], needs: str
) -> None:
    found = explore(Model(Rules(**{part: False})))
    assert found.violation in invariants, told(found)
    assert any(needs in label for label in found.trace), told(found)
    assert len(found.trace) <= 24, told(found)


def test_every_part_has_its_ablation() -> None:
    marks = test_without_a_part_there_is_a_counterexample.pytestmark
    cases = {case[0] for mark in marks for case in mark.args[1]}
    assert cases == set(Rules.__dataclass_fields__)
