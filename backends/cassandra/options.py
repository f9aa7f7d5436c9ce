"""How an instance is reached: the connection string and parts of a Cassandra store, checked.

`cassandra://user:password@host1,host2:9042/keyspace?consistency=LOCAL_QUORUM&local_dc=dc1`, or the
same as parts. Unknown names are refused (22023): a mistyped consistency must not go unnoticed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from backends.stores import StoreOptions
from core.errors import InvalidParameterValue

PORT: Final = 9042
CONSISTENCIES: Final = (
    "ANY ONE TWO THREE QUORUM ALL LOCAL_QUORUM EACH_QUORUM LOCAL_ONE".split()  # noqa: SIM905
)
SERIAL: Final = ("SERIAL", "LOCAL_SERIAL")
INSERT_MODES: Final = ("unique", "upsert")
TLS_MODES: Final = ("disable", "require", "verify-full")


@dataclass(frozen=True, slots=True, repr=False)
class CassandraOptions:
    """One instance. `keyspace` is that of tables whose native name has one part.

    `consistency` is of reads and writes, `serial_consistency` of the Paxos round of a conditional
    write. `insert_mode`: `unique` makes INSERT of a key that exists 23505 (a lightweight
    transaction), `upsert` is CQL's own INSERT, which overwrites. `allow_filtering` lets a scan
    have Cassandra read whole tables to filter them, with a notice. `scan_ranges` is how many parts
    of the token ring a full scan reads at a time, `page_rows` the most rows of a page.
    """

    hosts: tuple[str, ...] = ("127.0.0.1",)
    port: int = PORT
    keyspace: str = ""
    user: str = ""
    password: str = ""
    consistency: str = "LOCAL_QUORUM"
    serial_consistency: str = "SERIAL"
    local_dc: str = ""
    tls: str = "disable"
    tls_ca: str = ""
    tls_certificate: str = ""
    tls_key: str = ""
    insert_mode: str = "unique"
    allow_filtering: bool = False
    scan_ranges: int = 4
    page_rows: int = 5_000
    connect_timeout: float = 5.0
    batch_rows: int = 10_000
    connections_max: int = 8

    def __repr__(self) -> str:
        return f"CassandraOptions({','.join(self.hosts)}:{self.port}, ***)"


def read_options(options: StoreOptions) -> CassandraOptions:
    """The options of an instance; InvalidParameterValue (22023) names what is wrong."""
    found = {**_from_dsn(options.dsn), **options.parts}
    values: dict[str, Any] = {
        "connect_timeout": options.connect_timeout,
        "batch_rows": max(1, options.batch_rows),
        "connections_max": max(1, options.connections_max),
    }
    for name, text in found.items():
        reader = _READERS.get(name)
        if reader is None:
            raise InvalidParameterValue(
                f'a Cassandra store has no option "{name}"',
                hint=f"Its options are {', '.join(sorted(_READERS))}.",
            )
        values[_TARGETS.get(name, name)] = reader(name, text)
    return CassandraOptions(**values)


def _from_dsn(dsn: str) -> Mapping[str, str]:
    if not dsn:
        return {}
    parts = urlsplit(dsn)
    if parts.scheme != "cassandra":
        raise InvalidParameterValue("the address of a Cassandra store begins with cassandra://")
    login, at, hosts = parts.netloc.rpartition("@")
    found = dict(parse_qsl(parts.query, keep_blank_values=True))
    if at:
        user, _, password = login.partition(":")
        found |= {"user": unquote(user), "password": unquote(password)}
    if hosts:
        found["host"] = hosts
    if parts.path.strip("/"):
        found["database"] = unquote(parts.path.strip("/"))
    # host1,host2:9042 or host1:9042,host2:9042: one port for all, as the driver has it.
    names, ports = [], set()
    for each in filter(None, hosts.split(",")):
        name, colon, port = each.rpartition(":") if "]" not in each[-1:] else (each, "", "")
        names.append((name if colon else each).strip("[]"))
        if colon:
            ports.add(port)
    if len(ports) > 1:
        raise InvalidParameterValue("all hosts of a Cassandra store have the same port")
    if names:
        found["host"] = ",".join(names)
    if ports:
        found["port"] = ports.pop()
    return found


def _text(_name: str, text: str) -> str:
    return text


def _hosts(_name: str, text: str) -> tuple[str, ...]:
    return tuple(each.strip() for each in text.split(",") if each.strip())


def _number(name: str, text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= 65_535:
        raise InvalidParameterValue(f'option "{name}" must be a number from 1 to 65535')
    return int(text)


def _flag(name: str, text: str) -> bool:
    if text.lower() not in ("true", "false", "on", "off"):
        raise InvalidParameterValue(f'option "{name}" must be true or false')
    return text.lower() in ("true", "on")


def _choice(allowed: tuple[str, ...] | list[str], change: Callable[[str], str]) -> Any:
    def read(name: str, text: str) -> str:
        if change(text) not in allowed:
            raise InvalidParameterValue(
                f'option "{name}" cannot be "{text}"', hint=f"It is one of {', '.join(allowed)}."
            )
        return change(text)

    return read


_READERS: Final[Mapping[str, Callable[[str, str], Any]]] = {
    "host": _hosts,
    "port": _number,
    "database": _text,
    "keyspace": _text,
    "user": _text,
    "password": _text,
    "consistency": _choice(CONSISTENCIES, str.upper),
    "serial_consistency": _choice(SERIAL, str.upper),
    "local_dc": _text,
    "tls": _choice(TLS_MODES, str.lower),
    "tls_ca": _text,
    "tls_certificate": _text,
    "tls_key": _text,
    "insert_mode": _choice(INSERT_MODES, str.lower),
    "allow_filtering": _flag,
    "scan_ranges": _number,
    "page_rows": _number,
}
_TARGETS: Final = {"host": "hosts", "database": "keyspace"}
assert {_TARGETS.get(name, name) for name in _READERS} < {f.name for f in fields(CassandraOptions)}


def table_flag(options: tuple[tuple[str, str], ...], name: str, default: bool) -> bool:
    """A boolean option of a foreign table, or the instance's."""
    return next((_flag(name, value) for key, value in options if key == name), default)


def table_choice(options: tuple[tuple[str, str], ...], name: str, default: str) -> str:
    """An option of a foreign table that has a few values, or the instance's."""
    found = next((value for key, value in options if key == name), None)
    if found is None:
        return default
    value: str = _READERS[name](name, found)
    return value
