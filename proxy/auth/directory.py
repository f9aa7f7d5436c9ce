"""Who may log in and how, from the settings: host rules, roles and their SCRAM verifiers."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping

from config.auth import AuthSettings
from core.errors import ConfigError
from proxy.auth.policy import HostRule, Method, Peer, choose_method, parse_rule, peer_address
from proxy.auth.scram import Verifier, build_verifier

DEFAULT_ROLE = "morph"
RESERVED_ROLES = ("morph_", "pg_")
SALT_BYTES = 16
NONCE_BYTES = 18


class UserDirectory:
    """The users of the settings plus the default role, and the rules that let them in."""

    def __init__(self, settings: AuthSettings, environment: Mapping[str, str]) -> None:
        self._rules: tuple[HostRule, ...] = tuple(
            parse_rule(r.address, r.method, r.user, r.kind) for r in settings.rules
        )
        self._verifiers: dict[str, Verifier] = {}
        self.roles = [DEFAULT_ROLE]
        self.mock_secret = secrets.token_bytes(32)
        for user in settings.users:
            if user.name.startswith(RESERVED_ROLES):
                raise ConfigError(
                    f'the name of user "{user.name}" is reserved',
                    hint='Names that begin with "morph_" or "pg_" belong to Morphgres.',
                )
            if user.name not in self.roles:
                self.roles.append(user.name)
            if user.verifier is not None:
                verifier = Verifier.parse(user.verifier.reveal(environment))
                if verifier is None:
                    raise ConfigError(f'the verifier of user "{user.name}" is not SCRAM-SHA-256')
                self._verifiers[user.name] = verifier
            elif user.password is not None:
                salt = secrets.token_bytes(SALT_BYTES)
                self._verifiers[user.name] = build_verifier(
                    user.password.reveal(environment), salt, settings.scram_iterations
                )

    def method(self, address: str, user: str, *, tls: bool, certificate: str | None) -> Method:
        """The way in; InvalidAuthorization (28000) when there is none."""
        peer = Peer(peer_address(address), user, tls, certificate)
        return choose_method(self._rules, peer)

    def verifier(self, user: str) -> Verifier | None:
        """The user's verifier, None when unknown or without password."""
        return self._verifiers.get(user)

    def known_role(self, user: str) -> bool:
        """True when the role exists."""
        return user in self.roles

    def nonce(self) -> str:
        """A fresh printable nonce."""
        return base64.b64encode(secrets.token_bytes(NONCE_BYTES)).decode()
