"""What a driver gets, and which secrets SQL may name."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalog.instances import Instance, Origin
from config.stores import StoresSettings
from core.errors import InvalidParameterValue
from engine.store_options import permit, store_options


def instance(origin: Origin, **options: str) -> Instance:
    return Instance("x", "mongodb", origin, tuple(options.items()))


def test_parts_dsn_and_limits(tmp_path: Path) -> None:  # R1.6
    (tmp_path / "dsn").write_text("mongodb://u:p@h/\n")
    settings = StoresSettings(batch_rows=7, max_connections=3, secret_directory=tmp_path)
    made = store_options(instance("sql", dsn_ref=f"file:{tmp_path}/dsn", tls="on"), settings, {})
    assert (made.dsn, dict(made.parts)) == ("mongodb://u:p@h/", {"tls": "on"})
    assert (made.batch_rows, made.connections_max) == (7, 3)
    assert repr(made) == "StoreOptions(***)"


@pytest.mark.parametrize(
    "reference",
    [
        "env:PATH",
        "env:morphgres_secret_x",
        "file:/etc/passwd",
        "file:{dir}/../other",
        "file:{dir}/link",
        "file:relative",
    ],
)
def test_sql_cannot_name_any_secret(tmp_path: Path, reference: str) -> None:  # R6.3
    directory = tmp_path / "secrets"
    directory.mkdir()
    (tmp_path / "other").write_text("x")
    (directory / "link").symlink_to(tmp_path / "other")
    settings = StoresSettings(secret_directory=directory)
    text = reference.format(dir=directory)
    with pytest.raises(InvalidParameterValue, match="SQL may not use"):
        permit(instance("sql", password_ref=text), settings)
    permit(instance("config", password_ref=text), settings)


def test_sql_may_name_what_is_set_aside(tmp_path: Path) -> None:  # R6.3
    settings = StoresSettings(secret_directory=tmp_path)
    permit(instance("sql", password_ref="env:MORPHGRES_SECRET_X"), settings)
    permit(instance("sql", password_ref=f"file:{tmp_path}/x"), settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("host", "/tmp/socket"),
        ("host", "h,/tmp"),
        ("host", "@abstract"),
        ("sslkey", "/etc/ssl/private/key.pem"),
        ("sslkey", "../key.pem"),
        ("sslkey", "~/.ssh/id_rsa"),
        ("dsn", "host=/tmp dbname=x"),
        ("dsn", "host = '/tmp'"),
        ("dsn", "postgresql://%2Ftmp/db"),
        ("dsn", "postgresql:///db?host=/tmp"),
        ("dsn", "mongodb://%2Ftmp%2Fmongodb.sock/"),
        ("dsn", "mongodb://h/?tlsCertificateKeyFile=/etc/key.pem"),
        ("dsn", "mongodb://h/?tlsCAFile=%2Fetc%2Fca.pem&x=y"),
    ],
)
def test_sql_cannot_name_files_and_sockets(  # R6.3
    tmp_path: Path, name: str, value: str
) -> None:
    settings = StoresSettings(secret_directory=tmp_path)
    with pytest.raises(InvalidParameterValue, match="SQL may not use"):
        permit(instance("sql", **{name: value}), settings)
    permit(instance("config", **{name: value}), settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("host", "h.example,10.0.0.1,::1"),
        ("sslrootcert", "{dir}/ca.pem"),
        ("dsn", "mongodb://h:27017/shop?directConnection=true&tlsCAFile={dir}/ca.pem"),
        ("dsn", "postgresql://u@[::1]:5432/db?sslmode=require"),
        ("dsn", "host=h dbname=x sslrootcert={dir}/ca.pem"),
    ],
)
def test_sql_may_name_hosts_and_its_own_files(tmp_path: Path, name: str, value: str) -> None:
    """R1.6."""
    settings = StoresSettings(secret_directory=tmp_path)
    permit(instance("sql", **{name: value.format(dir=tmp_path)}), settings)
