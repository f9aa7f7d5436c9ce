"""Instances: the stores behind this endpoint, as the catalog keeps them (pure, and its SQL).

Options hold no secret. What is secret stands there as a reference: an option whose name ends in
`_ref` and whose value is `env:NAME` or `file:PATH`; the secret is read when a connection is made.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, cast, get_args

from catalog.sqltext import quote_literal
from core.errors import InternalError

Origin = Literal["built in", "config", "gone", "sql"]
EMBEDDED: Final = "embedded"

INSTANCES_QUERY: Final = (
    "SELECT name, kind, origin, options, login FROM morph_catalog.instance_rows()"
)
HEALTH_STATEMENT: Final = (
    "INSERT INTO morph_catalog.instance_health (worker, instance_id, health, server, checked_at) "
    "VALUES ($1, $2, $3, $4, $5) ON CONFLICT (worker, instance_id) DO UPDATE SET "
    "health = EXCLUDED.health, server = EXCLUDED.server, checked_at = EXCLUDED.checked_at"
)


@dataclass(frozen=True, slots=True)
class Instance:
    """A store. `options` are the server's, `login` those of the user mapping, None without one.

    `origin` says who registered it: the configuration, SQL, or Morphgres itself (embedded); "gone"
    is one that the configuration had and has no more while tables lie in it.
    """

    name: str
    kind: str
    origin: Origin
    options: tuple[tuple[str, str], ...] = ()
    login: tuple[tuple[str, str], ...] | None = None

    @property
    def all_options(self) -> dict[str, str]:
        """The server's options and over them the login's."""
        return {**dict(self.options), **dict(self.login or ())}


def option_pairs(options: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Options in the order of their names, as an Instance has them."""
    return tuple(sorted(options.items()))


def instances_from_rows(rows: Iterable[Sequence[str | None]]) -> tuple[Instance, ...]:
    """Instances from the rows of INSTANCES_QUERY."""
    return tuple(_from_row(row) for row in rows)


def _from_row(row: Sequence[str | None]) -> Instance:
    name, kind, origin, options, login = row
    if origin not in get_args(Origin):
        raise InternalError(f"the catalog holds an unknown origin of an instance: {origin}")
    return Instance(
        str(name),
        str(kind),
        cast("Origin", origin),
        option_pairs(json.loads(options or "{}")),
        None if login is None else option_pairs(json.loads(login)),
    )


def _json(options: tuple[tuple[str, str], ...] | None) -> str:
    if options is None:
        return "NULL"
    return quote_literal(json.dumps(dict(options), ensure_ascii=False)) + "::jsonb"


def connection_text(instance: Instance) -> str:
    """The connection as `morph.instances` shows it: options and references, no secret."""
    return " ".join(f"{name}={value}" for name, value in sorted(instance.all_options.items()))


def save_statement(instance: Instance) -> str:
    """Add the instance, or replace what the catalog says of it."""
    values = ", ".join(
        quote_literal(v)
        for v in (instance.name, instance.kind, connection_text(instance), "primary")
    )
    return (
        "INSERT INTO morph_catalog.instances (instance_id, kind, dsn_ref, role, model_version, "
        f"health, origin, options, login) SELECT {values}, s.current_version, '', "
        f"{quote_literal(instance.origin)}, {_json(instance.options)}, {_json(instance.login)} "
        "FROM morph_catalog.state s ON CONFLICT (instance_id) DO UPDATE SET kind = EXCLUDED.kind, "
        "dsn_ref = EXCLUDED.dsn_ref, origin = EXCLUDED.origin, options = EXCLUDED.options, "
        "login = EXCLUDED.login"
    )


def remove_statement(name: str) -> str:
    """Forget an instance."""
    return f"DELETE FROM morph_catalog.instances WHERE instance_id = {quote_literal(name)}"


def touch_statement(name: str) -> str:
    """Its tables were looked at just now."""
    return (
        "UPDATE morph_catalog.instances SET freshness_at = now(), model_version = "
        "(SELECT current_version FROM morph_catalog.state) "
        f"WHERE instance_id = {quote_literal(name)}"
    )


def forget_health_statement(name: str) -> str:
    """What was found of an instance does not hold any more."""
    return f"DELETE FROM morph_catalog.instance_health WHERE instance_id = {quote_literal(name)}"
