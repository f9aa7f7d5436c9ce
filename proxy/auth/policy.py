"""Which way in a connection has: the first host rule that fits decides, as in pg_hba.conf.

A pure decision: no rule that fits means no way in, and a rule that fits is final, even when its
method then fails.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from core.errors import ConfigError, InvalidAuthorization

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class Method(StrEnum):
    """How a user proves who it is."""

    TRUST = "trust"
    SCRAM = "scram"
    CERT = "cert"
    REJECT = "reject"


class Kind(StrEnum):
    """Which connections a rule is for."""

    ANY = "any"
    TLS = "tls"
    PLAIN = "plain"


class Place(StrEnum):
    """The addresses that have a name instead of a network."""

    ALL = "all"
    LOCAL = "local"  # Unix-domain socket
    LOOPBACK = "loopback"  # 127.0.0.0/8, ::1


@dataclass(frozen=True, slots=True)
class HostRule:
    """One line: connections of `kind` from `source` as `user` ("all" = any) use `method`."""

    kind: Kind
    source: Place | Network
    user: str
    method: Method


@dataclass(frozen=True, slots=True)
class Peer:
    """What is known of a connection when it names its user.

    `certificate_name` is the common name of a client certificate that TLS has verified.
    """

    address: Address | None  # None = Unix-domain socket
    user: str
    tls: bool
    certificate_name: str | None = None


def parse_rule(source: str, method: str, user: str = "all", kind: str = "any") -> HostRule:
    """A rule of its texts; ConfigError names the one that is wrong."""
    try:
        place: Place | Network = (
            Place(source) if source in Place.__members__.values() else ip_network(source)
        )
    except ValueError as error:
        raise ConfigError(f'host rule has an invalid address "{source}": {error}') from None
    if kind not in Kind.__members__.values():
        raise ConfigError(f'host rule has an unknown kind "{kind}"')
    if method not in Method.__members__.values():
        raise ConfigError(f'host rule has an unknown method "{method}"')
    return HostRule(Kind(kind), place, user, Method(method))


def peer_address(text: str) -> Address | None:
    """The address of a socket's peer name; "" is a Unix-domain socket.

    An IPv4 client of a dual-stack socket counts as IPv4; a zone id does not count.
    """
    if not text:
        return None
    address = ip_address(text.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


def choose_method(rules: Sequence[HostRule], peer: Peer) -> Method:
    """The way in, already checked if it is `cert`; 28000 when there is none."""
    for rule in rules:
        if _fits(rule, peer):
            return _grant(rule.method, peer)
    raise InvalidAuthorization(f"no host rule for {_described(peer)}")


def _fits(rule: HostRule, peer: Peer) -> bool:
    if rule.kind is not Kind.ANY and (rule.kind is Kind.TLS) != peer.tls:
        return False
    if rule.user not in {"all", peer.user}:
        return False
    source, address = rule.source, peer.address
    if source is Place.ALL:
        return True
    if address is None or source is Place.LOCAL:
        return address is None and source is Place.LOCAL
    if source is Place.LOOPBACK:
        return address.is_loopback
    assert not isinstance(source, Place), "all places are dealt with"
    return address in source


def _grant(method: Method, peer: Peer) -> Method:
    if method is Method.REJECT:
        raise InvalidAuthorization(f"a host rule rejects connections for {_described(peer)}")
    if method is Method.CERT and peer.certificate_name != peer.user:
        raise InvalidAuthorization(f'certificate authentication failed for user "{peer.user}"')
    return method


def _described(peer: Peer) -> str:
    host = "[local]" if peer.address is None else str(peer.address)
    return f'host "{host}", user "{peer.user}", {"TLS" if peer.tls else "no encryption"}'
