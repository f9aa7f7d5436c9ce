"""Digits of wide integers: exact, and soon enough for the event loop (R1.3)."""

from __future__ import annotations

import random
import time
from decimal import Decimal

import pytest

from backends.cassandra.digits import decimal_digits


@pytest.mark.parametrize("bits", [0, 1, 999, 1_000, 1_001, 2_001, 4_096, 33_333])
def test_digits_are_those_of_the_number(bits: int) -> None:
    chance = random.Random(bits)
    for number in (chance.getrandbits(bits), 1 << bits, (1 << bits) - 1, 1 << bits | 1):
        assert decimal_digits(number) == f"{Decimal(number):f}"


def test_powers_of_ten_keep_their_zeros() -> None:
    assert decimal_digits(10**131_071) == "1" + "0" * 131_071
    assert decimal_digits(10**131_072 - 1) == "9" * 131_072


def test_a_value_of_60_kilobytes_does_not_hold_up_the_loop() -> None:
    number = int.from_bytes(b"\x7f" + bytes(60_000), "big")
    started = time.process_time()
    assert len(decimal_digits(number)) == 144_497
    assert time.process_time() - started < 0.7
