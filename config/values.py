"""From the notation of a value to the value, and back: "30s" → 30.0, "64MB" → 67108864.

Units are PostgreSQL's (manual, section 19.1 "Setting Parameters"): us, ms, s, min, h, d and B, kB,
MB, GB, TB with 1024 steps. A duration needs its unit, since seconds and milliseconds are both
natural guesses; a bare number of bytes has only one reading and is accepted.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

from config.fields import GB, KB, MB, TB, Kind, Spec
from config.secret import Secret

DURATION_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
SIZE_UNITS = {"B": 1, "kB": KB, "MB": MB, "GB": GB, "TB": TB}
SIZE_ALIASES = {"kib": KB, "mib": MB, "gib": GB, "tib": TB} | {
    name.lower(): factor for name, factor in SIZE_UNITS.items()
}
TRUE_WORDS = frozenset({"true", "on", "yes", "1"})
FALSE_WORDS = frozenset({"false", "off", "no", "0"})

_AMOUNT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-zµ]*)\s*")
_INTEGER = re.compile(r"[+-]?\d{1,19}")
_SECRET = re.compile(r"(env):([A-Za-z_][A-Za-z0-9_]*)|(file):(.+)", re.DOTALL)


class BadValue(ValueError):
    """The value does not fit its setting; the message continues "server.port …"."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def parse_duration(raw: str) -> float:
    """Seconds of "250ms", "30s", "5min", "1.5h"; "0" needs no unit."""
    match = _AMOUNT.fullmatch(raw)
    units = ", ".join(DURATION_UNITS)
    if match is None:
        raise BadValue(f'is not a duration: "{raw}"', f"Write a number and a unit: {units}.")
    amount, unit = float(match[1]), match[2]
    if not unit:
        if amount == 0:
            return 0.0
        raise BadValue(
            f'needs a unit: "{raw}"', f'Write for example "{match[1]}s"; units: {units}.'
        )
    if unit not in DURATION_UNITS:
        raise BadValue(f'has an unknown unit of time: "{unit}"', f"Units are {units}.")
    return amount * DURATION_UNITS[unit]


def parse_size(raw: str) -> int:
    """Bytes of "64MB", "512 kB", "1.5GiB" or "4096"."""
    match = _AMOUNT.fullmatch(raw)
    units = ", ".join(SIZE_UNITS)
    if match is None:
        raise BadValue(f'is not a size: "{raw}"', f"Write a number and a unit: {units}.")
    factor = SIZE_ALIASES.get(match[2].lower() or "b")
    if factor is None:
        raise BadValue(f'has an unknown unit of size: "{match[2]}"', f"Units are {units}.")
    amount = float(match[1]) * factor
    if not amount.is_integer():
        raise BadValue(f'is not a whole number of bytes: "{raw}"')
    return int(amount)


def format_duration(seconds: float) -> str:
    """The shortest exact notation: 90.0 → "90s", 300.0 → "5min", 0 → "0s"."""
    for unit, factor in reversed(DURATION_UNITS.items()):
        amount = round(seconds / factor, 9)
        if amount >= 1 and amount.is_integer():
            return f"{int(amount)}{unit}"
    return f"{seconds:g}s"


def format_size(size: int) -> str:
    """The shortest exact notation: 67108864 → "64MB"."""
    for unit, factor in reversed(SIZE_UNITS.items()):
        if size >= factor and size % factor == 0:
            return f"{size // factor}{unit}"
    return f"{size}B"


def parse_address(raw: str) -> tuple[str, int] | None:
    """Host and port of "127.0.0.1:9187" or "[::1]:9187"; None of the empty string."""
    if not raw:
        return None
    host, colon, port = raw.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    number = int(port) if re.fullmatch(r"\d{1,5}", port) else -1
    if not colon or not host or (":" in host) != bracketed or not 0 <= number <= 65535:
        raise BadValue(
            f'is not an address: "{raw}"', 'Write host:port, for example "127.0.0.1:9187".'
        )
    return host, number


def format_amount(spec: Spec, amount: float) -> str:
    """A limit or a number in the notation of its setting."""
    if spec.kind is Kind.DURATION:
        return format_duration(amount)
    if spec.kind is Kind.SIZE:
        return format_size(int(amount))
    return f"{int(amount)}"


def format_range(spec: Spec) -> str:
    """ "1 to 64", or empty where there are no limits."""
    if spec.low is None or spec.high is None:
        return ""
    return f"{format_amount(spec, spec.low)} to {format_amount(spec, spec.high)}"


def parse_value(spec: Spec, raw: object, base: Path, *, from_text: bool) -> object:
    """The typed value of one setting, checked against its limits.

    `from_text`: raw came from the environment or a flag, where everything is a string.
    """
    match spec.kind:
        case Kind.INTEGER | Kind.DURATION | Kind.SIZE:
            return _in_range(spec, _parse_number(spec, raw, from_text=from_text))
        case Kind.BOOLEAN:
            return _parse_boolean(raw, from_text=from_text)
        case Kind.SECRET:
            return _parse_secret(raw, base)
        case _:
            return _parse_word(spec, _expect_text(raw, "a string"), base)


def _parse_number(spec: Spec, raw: object, *, from_text: bool) -> float:
    whole = raw if isinstance(raw, int) and not isinstance(raw, bool) else None
    if spec.kind is Kind.INTEGER:
        if whole is not None:
            return whole
        if from_text and isinstance(raw, str) and _INTEGER.fullmatch(raw.strip()):
            return int(raw)
        raise BadValue(f"must be an integer, not {_describe(raw)}", _kubernetes_hint(raw))
    if spec.kind is Kind.SIZE:
        return whole if whole is not None else parse_size(_expect_text(raw, 'a size like "64MB"'))
    if whole == 0:
        return 0.0
    if whole is not None or isinstance(raw, float):
        raise BadValue(f"needs a unit: {raw}", f'Write a string such as "{raw}s" or "{raw}ms".')
    return parse_duration(_expect_text(raw, 'a duration like "30s"'))


def _in_range(spec: Spec, amount: float) -> float:
    if amount == 0 and spec.zero:
        return amount
    low = -math.inf if spec.low is None else spec.low
    high = math.inf if spec.high is None else spec.high
    if low <= amount <= high:
        return amount
    zero = f" (or 0: {spec.zero})" if spec.zero else ""
    shown = format_amount(spec, amount)
    raise BadValue(f"must be {format_range(spec)}{zero}, not {shown}")


def _parse_boolean(raw: object, *, from_text: bool) -> bool:
    if isinstance(raw, bool):
        return raw
    if from_text and isinstance(raw, str):
        word = raw.strip().lower()
        if word in TRUE_WORDS | FALSE_WORDS:
            return word in TRUE_WORDS
    raise BadValue(f"must be true or false, not {_describe(raw)}")


def _parse_secret(raw: object, base: Path) -> Secret:
    match = _SECRET.fullmatch(raw) if isinstance(raw, str) else None
    if match is None:
        raise BadValue(
            "must be a reference to a secret, not the secret itself",
            'Write "env:NAME" or "file:PATH".',
        )
    if match[1]:
        return Secret("env", match[2])
    return Secret("file", str(base / Path(match[4]).expanduser()))


def _parse_word(spec: Spec, raw: str, base: Path) -> object:
    if "\0" in raw:
        raise BadValue("must not contain a zero byte")
    if spec.kind is Kind.PATH:
        if not raw:
            raise BadValue("must be a path, not an empty string")
        return base / Path(raw).expanduser()
    if spec.kind is Kind.CHOICE and raw not in spec.choices:
        raise BadValue(f'must be one of {", ".join(spec.choices)}, not "{raw}"')
    if spec.kind is Kind.ADDRESS:
        parse_address(raw)
    return raw


def _expect_text(raw: object, wanted: str) -> str:
    if isinstance(raw, str):
        return raw
    raise BadValue(f"must be {wanted}, not {_describe(raw)}")


def _describe(raw: object) -> str:
    if isinstance(raw, bool):
        return "true" if raw else "false"
    if isinstance(raw, str):
        return f'the string "{raw}"'
    if isinstance(raw, int | float):
        return f"{raw}"
    if isinstance(raw, dict):
        return "a table"
    return "an array" if isinstance(raw, list) else f"a {type(raw).__name__}"


def _kubernetes_hint(raw: object) -> str:
    if isinstance(raw, str) and raw.startswith("tcp://"):
        return (
            "Kubernetes sets such a variable for a service of that name;"
            " set enableServiceLinks: false in the pod."
        )
    return ""
