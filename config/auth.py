"""Section `auth`: who may connect from where, and how they prove it.

Rules are read from the top as in pg_hba.conf: the first that fits decides; when none does, the
connection is rejected. Here they are texts; proxy/auth/policy.py reads and applies them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from config.fields import choice, integer, secret, tables, text
from config.secret import Secret

AuthMethod = Literal["trust", "scram", "cert", "reject"]
ConnectionKind = Literal["any", "tls", "plain"]
RULES_MAX = 1000
USERS_MAX = 10_000

_RULE_EXAMPLE = """\
address = "10.0.0.0/8"
user = "all"
method = "scram"
"""
_USER_EXAMPLE = """\
name = "app"
password = "env:APP_PASSWORD"
"""


@dataclass(frozen=True, slots=True)
class HostRule:
    """One rule: connections from `address` as `user` authenticate by `method`."""

    address: Annotated[str, text('"loopback", "all", or a network such as "10.0.0.0/8".')]
    method: Annotated[
        AuthMethod,
        choice(
            "trust asks for nothing, scram for a password (SCRAM-SHA-256), cert for a client"
            " certificate whose common name is the user; reject refuses.",
            get_args(AuthMethod),
        ),
    ]
    user: Annotated[str, text('Name of the user, or "all".')] = "all"
    kind: Annotated[
        ConnectionKind,
        choice("Which connections: any, with TLS, or without (plain).", get_args(ConnectionKind)),
    ] = "any"


@dataclass(frozen=True, slots=True)
class UserSettings:
    """A user who can log in, with a password or a SCRAM verifier by reference."""

    name: Annotated[str, text("Name of the user; letters are compared exactly.")]
    password: Annotated[
        Secret | None, secret("Reference to the password; not together with verifier.")
    ] = None
    verifier: Annotated[
        Secret | None,
        secret(
            "Reference to a SCRAM verifier as PostgreSQL writes it:"
            " SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>."
        ),
    ] = None


DEFAULT_RULES = (HostRule(address="loopback", method="trust"),)


@dataclass(frozen=True, slots=True)
class AuthSettings:
    """Who may connect from where, and how they prove it."""

    scram_iterations: Annotated[
        int,
        integer("Iterations of the verifier that is made from a password.", 4096, 10_000_000),
    ] = 4096
    rules: Annotated[
        tuple[HostRule, ...],
        tables(
            "Host rules, the first match decides; without a match the connection is rejected."
            " Without any rule in the file, connections from this machine are trusted.",
            HostRule,
            key="rule",
            high=RULES_MAX,
            example=_RULE_EXAMPLE,
        ),
    ] = DEFAULT_RULES
    users: Annotated[
        tuple[UserSettings, ...],
        tables(
            "Users with a password or verifier.",
            UserSettings,
            key="user",
            high=USERS_MAX,
            example=_USER_EXAMPLE,
        ),
    ] = ()

    def user(self, name: str) -> UserSettings | None:
        """The entry of a user, or None."""
        return next((user for user in self.users if user.name == name), None)
