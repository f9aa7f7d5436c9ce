"""How much may differ where only a sample was compared: a bound that holds at any time.

For a share p of differing rows, the likelihood ratio of smaller shares u*p against p, averaged over
u ~ Beta(1/2, 1), is a martingale when p is the true share. By Ville's inequality it exceeds
1/0.05 at any time at all with a probability of at most 5 %. So all p for which it does are excluded
at 95 %, however often one looks and whenever one stops.
"""

from __future__ import annotations

from math import exp, inf, log, log1p
from typing import Final

CONFIDENCE: Final = 0.95
_POINTS: Final = 500
_HALVINGS: Final = 40


def upper_bound(rows: int, different: int, confidence: float = CONFIDENCE) -> float:
    """The upper bound of the share of rows that differ, after `different` of `rows` did."""
    if rows <= 0 or different >= rows:
        return 1.0
    threshold = -log(1.0 - confidence)
    low, high = different / rows, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        if log_evidence(rows, different, middle) > threshold:
            high = middle
        else:
            low = middle
        if high - low < 1e-4 * high:
            break
    return high


def log_evidence(rows: int, different: int, share: float) -> float:
    """The logarithm of the averaged likelihood ratio against `share`.

    With u = v², Beta(1/2, 1) is the uniform distribution of v: a plain mean over v in (0, 1).
    """
    if share >= 1.0:
        return inf
    equal = rows - different
    base = equal * log1p(-share)
    terms = []
    for n in range(_POINTS):
        v = (n + 0.5) / _POINTS
        u = v * v
        terms.append(different * log(u) + equal * log1p(-u * share) - base)
    largest = max(terms)
    return largest + log(sum(exp(term - largest) for term in terms) / _POINTS)


def rows_for(bound: float, confidence: float = CONFIDENCE) -> int:
    """How many equal rows show that at most this share differs."""
    low, high = 1, 1
    while upper_bound(high, 0, confidence) > bound:
        low, high = high, high * 2
    while low + 1 < high:
        middle = (low + high) // 2
        if upper_bound(middle, 0, confidence) > bound:
            low = middle
        else:
            high = middle
    return high
