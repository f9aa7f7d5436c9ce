"""Host rules: the first that fits decides."""

from __future__ import annotations

import pytest

from core.errors import ConfigError, InvalidAuthorization
from proxy.auth.policy import HostRule, Method, Peer, choose_method, parse_rule, peer_address

RULES = [
    parse_rule("10.0.0.66/32", "reject"),
    parse_rule("10.0.0.0/8", "cert", "robot", "tls"),
    parse_rule("10.0.0.0/8", "scram", kind="tls"),
    parse_rule("fd00::/8", "scram"),
    parse_rule("loopback", "trust", kind="plain"),
    parse_rule("local", "trust"),
    parse_rule("all", "scram", "admin"),
]


def peer(address: str, user: str = "ann", tls: bool = False, name: str | None = None) -> Peer:
    return Peer(peer_address(address), user, tls, name)


@pytest.mark.parametrize(
    ("who", "method"),
    [
        (peer("127.0.0.1"), Method.TRUST),
        (peer("::1"), Method.TRUST),
        (peer("::ffff:127.0.0.1"), Method.TRUST),
        (peer(""), Method.TRUST),
        (peer("10.1.2.3", tls=True), Method.SCRAM),
        (peer("::ffff:10.1.2.3", tls=True), Method.SCRAM),
        (peer("10.1.2.3", "robot", tls=True, name="robot"), Method.CERT),
        (peer("fd00::1%eth0"), Method.SCRAM),
        (peer("8.8.8.8", "admin"), Method.SCRAM),
        (peer("127.0.0.1", "admin", tls=True), Method.SCRAM),
    ],
)
def test_the_first_rule_that_fits_decides(who: Peer, method: Method) -> None:  # R6.3
    assert choose_method(RULES, who) is method


@pytest.mark.parametrize(
    ("who", "message"),
    [
        (peer("10.0.0.66", "admin"), "a host rule rejects connections for host"),
        (peer("10.1.2.3"), 'no host rule for host "10.1.2.3", user "ann", no encryption'),
        (peer("127.0.0.1", tls=True), 'no host rule for host "127.0.0.1", user "ann", TLS'),
        (peer("10.1.2.3", "robot", tls=True), 'certificate authentication failed for user "robot"'),
        (peer("10.1.2.3", "robot", tls=True, name="ann"), "certificate authentication failed"),
    ],
)
def test_no_way_in(who: Peer, message: str) -> None:  # R6.3
    with pytest.raises(InvalidAuthorization, match=message) as caught:
        choose_method(RULES, who)
    assert (caught.value.sqlstate, caught.value.severity) == ("28000", "FATAL")


def test_no_rules_let_nobody_in() -> None:  # R6.3
    with pytest.raises(InvalidAuthorization, match=r"no host rule for host \"\[local\]\""):
        choose_method([], peer(""))


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (("10.0.0.1/8", "trust"), 'invalid address "10.0.0.1/8"'),
        (("all", "md5"), 'unknown method "md5"'),
        (("all", "trust", "all", "gss"), 'unknown kind "gss"'),
    ],
)
def test_a_wrong_rule_is_named(texts: tuple[str, ...], message: str) -> None:  # R6.3
    with pytest.raises(ConfigError, match=message):
        parse_rule(*texts)


def test_rules_are_values() -> None:  # R6.3
    assert parse_rule("all", "trust") == parse_rule("all", "trust", "all", "any")
    assert isinstance(RULES[0], HostRule)
