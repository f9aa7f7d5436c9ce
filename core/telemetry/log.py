"""Structured logs: one line an event, its name and key=value fields, as text or JSON.

Levels: ERROR = an invariant is gone, WARNING = look first, INFO = a state changed, DEBUG = the
rest. Values of SQL statements never appear above DEBUG and secrets never at all: fields named like
one are masked, and so are passwords within texts. An event is always one line: control characters
are escaped.

    log = Log("proxy.session")
    log.info("session.started", user=user, pid=pid)
"""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
from datetime import UTC, datetime
from typing import Any, TextIO

from core.errors import MorphError

MASK = "***"
VALUE_CHARACTERS_MAX = 4096
FIELD = "morphgres_fields"

_EVENT = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)*")
_SECRET_NAME = re.compile(r"passw|secret|verifier|token|credential|dsn|private_key|authorization")
_SECRET_TEXT = re.compile(
    r"(?<=://)[^\s/@]*:[^\s@]*(?=@)"
    r"|(?P<name>(?i:\b(?:password|passwd|pwd|sslpassword)[\"']?\s*(?:[=:]\s*|(?='))))"
    r"(?:'(?:[^'\\]|\\.|'')*'|\"(?:[^\"\\]|\\.)*\"|[^\s'\"&;,]+)"
    r"|SCRAM-SHA-256\$\S+"
)
# line ends and controls that JSON leaves as they are, text direction marks, lone surrogates
_UNSAFE = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_PLAIN = re.compile(r"[^\s\"'=\\\x00-\x1f\x7f-\x9f]+")


class Log:
    """Writes the events of one part; `name` is dotted, as modules are."""

    __slots__ = ("_logger",)

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def debug(self, event: str, **fields: object) -> None:
        """The rest; may show SQL."""
        self._write(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: object) -> None:
        """A state changed."""
        self._write(logging.INFO, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Where to look first when something is wrong."""
        self._write(logging.WARNING, event, fields)

    def error(self, event: str, **fields: object) -> None:
        """An invariant is gone. A field `error` that is an exception brings its traceback."""
        self._write(logging.ERROR, event, fields)

    def _write(self, level: int, event: str, fields: dict[str, object]) -> None:
        if self._logger.isEnabledFor(level):
            assert _EVENT.fullmatch(event), f"not the name of an event: {event!r}"
            self._logger.log(level, event, extra={FIELD: fields})


class _LineFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return self.line(_head(record), _body(record))

    def line(self, head: dict[str, str], body: dict[str, object]) -> str:
        raise NotImplementedError


class TextFormatter(_LineFormatter):
    """`2026-01-31T12:00:00.000Z info proxy.session session.started user=app pid=7`"""

    def line(self, head: dict[str, str], body: dict[str, object]) -> str:
        """One line of text."""
        return " ".join([*head.values(), *(f"{name}={_quote(v)}" for name, v in body.items())])


class JsonFormatter(_LineFormatter):
    """One JSON object a line; a field that has the name of a head field gets an underscore."""

    def line(self, head: dict[str, str], body: dict[str, object]) -> str:
        """One line of JSON."""
        fields = {f"{name}_" if name in head else name: value for name, value in body.items()}
        return json.dumps(head | fields, ensure_ascii=False, separators=(",", ":"))


def configure(level: str = "info", style: str = "text", stream: TextIO | None = None) -> None:
    """Send all logs of the process, libraries' included, to one stream (standard error)."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    root = logging.getLogger()
    for old in tuple(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    logging.captureWarnings(capture=True)


def redact(text: str) -> str:
    """The text without passwords in URLs, connection strings and SCRAM verifiers."""
    return _SECRET_TEXT.sub(lambda match: f"{match['name'] or ''}{MASK}", text)


def _head(record: logging.LogRecord) -> dict[str, str]:
    stamp = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    ours = hasattr(record, FIELD)
    return {
        "at": stamp.replace("+00:00", "Z"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "event": record.msg if ours else "library.message",
    }


def _body(record: logging.LogRecord) -> dict[str, object]:
    fields: dict[str, object] = getattr(record, FIELD, {})
    body: dict[str, object] = {}
    if not hasattr(record, FIELD):
        body["message"] = _value(record.getMessage())
    for name, value in fields.items():
        body[name] = MASK if _SECRET_NAME.search(name.lower()) else _value(value)
        if isinstance(value, MorphError):
            body.setdefault("sqlstate", value.sqlstate)
        if isinstance(value, BaseException) and record.levelno >= logging.ERROR:
            body["traceback"] = _traceback(value)
    if record.exc_info and record.exc_info[1] is not None:
        body.setdefault("error", _value(record.exc_info[1]))
        body.setdefault("traceback", _traceback(record.exc_info[1]))
    return body


def _value(value: object) -> object:
    """A value that JSON knows, without secrets, and of bounded length."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, BaseException):
        text = f"{type(value).__name__}: {value}"
    else:
        text = value if isinstance(value, str) else str(value)
    text = redact(text)
    if len(text) > VALUE_CHARACTERS_MAX:
        text = f"{text[:VALUE_CHARACTERS_MAX]}… ({len(text)} characters)"
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _traceback(error: BaseException) -> str:
    lines = traceback.format_exception(error)
    text = redact("".join(lines).strip())
    # the end names the fault, so the middle goes when it is too long
    half = VALUE_CHARACTERS_MAX * 2
    return text if len(text) <= 2 * half else f"{text[:half]}\n…\n{text[-half:]}"


def _quote(value: Any) -> str:
    if isinstance(value, str) and not _PLAIN.fullmatch(value):
        return json.dumps(value, ensure_ascii=False)
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return str(value)
