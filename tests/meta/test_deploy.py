"""The image, the service and the sidecar agree with the settings and the packages (R0.7)."""

from __future__ import annotations

import re

from config.loader import load_settings
from config.settings import Settings
from tests.meta.repository import PACKAGES, ROOT

DOCKERFILE = ROOT / "Dockerfile"
SERVICE = ROOT / "deploy" / "morphgres.service"
SIDECAR = ROOT / "deploy" / "kubernetes-sidecar.yaml"


def _number(pattern: str, text: str) -> int:
    match = re.search(pattern, text)
    assert match is not None, pattern
    return int(match[1])


def test_the_image_has_every_package_and_locked_dependencies() -> None:
    text = DOCKERFILE.read_text()
    copied = set(re.findall(r"^COPY (\w+) \1$", text, re.MULTILINE))
    assert copied == set(PACKAGES)
    assert "--require-hashes -r requirements.lock" in text


def test_the_image_runs_as_nobody_special() -> None:  # R6.3
    text = DOCKERFILE.read_text()
    assert re.search(r"^USER \d{5}", text, re.MULTILINE)
    assert not re.search(r"(PASSWORD|SECRET)\s*=", text)


def test_ports_are_the_default() -> None:
    port = Settings().server.port
    assert _number(r"EXPOSE (\d+)", DOCKERFILE.read_text()) == port
    assert f"containerPort: {port}" in SIDECAR.read_text()


def test_there_is_time_to_drain() -> None:
    settings = Settings()
    needed = settings.server.shutdown_drain + settings.private_pg.stop_timeout
    assert _number(r"TimeoutStopSec=(\d+)", SERVICE.read_text()) > needed
    assert _number(r"terminationGracePeriodSeconds: (\d+)", SIDECAR.read_text()) > needed


def test_variables_set_are_settings() -> None:
    for path in (DOCKERFILE, SIDECAR, SERVICE):
        text = re.sub(r"(?m)^\s*#.*$", "", path.read_text())
        pairs = re.findall(r"(MORPHGRES_[A-Z_]+)=\"?([^\s\"\\]+)", text)
        pairs += re.findall(r"name: (MORPHGRES_[A-Z_]+)\n\s+value: \"?([^\s\"]+)", text)
        load_settings(None, dict(pairs))
