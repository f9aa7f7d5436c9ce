"""Loading settings: precedence, and every problem with its place (R0.7, R6.3)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from config.auth import HostRule
from config.instance import InstanceSettings
from config.loader import check_file, load_settings
from config.problem import Problem, SettingsError
from config.settings import SECTIONS, Settings
from core.errors import ConfigError

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_file(text: str) -> Path:
        path = tmp_path / "morphgres.toml"
        path.write_text(text)
        return path

    return write_file


def _found(path: Path, env: dict[str, str] | None = None) -> list[tuple[int, str, str]]:
    return [(p.line, p.key, p.message) for p in check_file(path, env or {})]


def test_defaults_without_any_source() -> None:
    settings = load_settings(None, {}, {})
    assert settings == Settings()
    assert (settings.server.host, settings.server.port) == ("127.0.0.1", 6432)
    assert settings.server.max_connections == 600
    assert settings.server.max_message_bytes == 64 << 20
    assert settings.server.max_statement_bytes == 16 << 20
    assert settings.evolution.ddl_mode == "auto"
    assert settings.metrics.address is None
    assert settings.tls.cert is None
    assert settings.instances == (InstanceSettings("local", "embedded"),)


def test_precedence_flag_env_file_default(write: Write) -> None:  # R0.7
    path = write("[server]\nport = 1\nworkers = 2\nbacklog = 3\n")
    env = {"MORPHGRES_SERVER_PORT": "10", "MORPHGRES_SERVER_WORKERS": "20"}
    server = load_settings(path, env, {"server.port": 100}).server
    assert (server.port, server.workers, server.backlog) == (100, 20, 3)
    assert server.max_connections == 600


def test_every_section_can_be_set_from_the_environment() -> None:
    env = {
        "MORPHGRES_PRIVATE_PG_WORK_MEM": "32MB",
        "MORPHGRES_SERVER_STATEMENT_TIMEOUT": "1.5min",
        "MORPHGRES_TLS_REQUIRED": "off",
        "MORPHGRES_DATA_DIRECTORY": "/srv/morph",
        "MORPHGRES_METRICS_LISTEN": "[::1]:9187",
        "HOME": "/somewhere",
    }
    settings = load_settings(None, env)
    assert settings.private_pg.work_mem == 32 << 20
    assert settings.server.statement_timeout == 90.0
    assert settings.data.directory == Path("/srv/morph")
    assert settings.metrics.address == ("::1", 9187)


def test_flags_may_be_typed_or_text() -> None:
    flags = {"server.port": "5433", "merge.batch_bytes": 8192, "tls.required": False}
    settings = load_settings(None, {}, flags)
    assert (settings.server.port, settings.merge.batch_bytes) == (5433, 8192)


def test_the_file_is_checked_even_where_a_flag_hides_it(write: Write) -> None:
    path = write("[server]\nport = 99999\n")
    with pytest.raises(SettingsError, match="line 2"):
        load_settings(path, {}, {"server.port": 5433})


def test_every_problem_is_told_with_its_line(write: Write) -> None:  # R0.7
    path = write(
        """\
[server]
prot = 5432
port = 70000
max-connections = 3
idle_timeout = 30
workers = true
port = 6
work_mem = "4MB"
host = "a" "b"
oops
[nope]
a = 1
[private_pg]
run_as.x = 1
[log]
level = "loud"
"""
    )
    assert _found(path) == [
        (2, "server.prot", "unknown key"),
        (3, "server.port", "must be 0 to 65535, not 70000"),
        (4, "server.max-connections", "unknown key"),
        (5, "server.idle_timeout", "needs a unit: 30"),
        (6, "server.workers", "must be an integer, not true"),
        (7, "server.port", "duplicate key"),
        (8, "server.work_mem", "unknown key"),
        (
            9,
            "server.host",
            "syntax error: expected newline or end of document after a statement",
        ),
        (10, "", 'syntax error: expected "=" after the key'),
        (11, "nope", "unknown key"),
        (14, "private_pg.run_as", "must be a string, not a table"),
        (16, "log.level", 'must be one of debug, info, warning, error, not "loud"'),
    ]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("[server]\nprot = 1", 'Did you mean "port"?'),
        ("[server]\nmax-connections = 1", 'Did you mean "max_connections"?'),
        ("[server]\nMax_Connections = 1", 'Did you mean "max_connections"?'),
        ("[server]\nwork_mem = 1", "It belongs in [private_pg]."),
        ("port = 1", "It belongs in [server]."),
        ("[sever]\nport = 1", 'Did you mean "server"?'),
        ("[[instances]]\n", 'Did you mean "instance"?'),
        ("[log]\nqqqqqq = 1", "Known keys: level, format."),
        ("[[instance]]\nname = 'a'\nkind = 'embedded'\nnmae = 'b'", 'Did you mean "name"?'),
    ],
)
def test_hints_for_unknown_keys(write: Write, text: str, hint: str) -> None:
    problems = check_file(write(text), {})
    assert [p.hint for p in problems if p.message == "unknown key"] == [hint]


def test_the_error_names_file_line_and_all_problems(write: Write) -> None:
    path = write("[server]\nport = -1\nworkers = 0\n")
    with pytest.raises(ConfigError) as caught:
        load_settings(path, {})
    assert caught.value.sqlstate == "F0000"
    assert caught.value.primary == (f"{path} line 2: server.port: must be 0 to 65535, not -1")
    assert f"{path}:3:1: server.workers: must be 1 to 64, not 0." in caught.value.detail


def test_problems_of_environment_and_flags_name_their_source() -> None:
    env = {
        "MORPHGRES_SERVER_PORT": "tcp://10.0.0.1:6432",
        "MORPHGRES_SERVER_PROT": "1",
        "MORPHGRES_SERVER_SERVICE_HOST": "10.0.0.1",
        "MORPHGRES_SERVER_PORT_6432_TCP": "tcp://10.0.0.1:6432",
        "MORPHGRES_HOME": "not a setting of any section",
    }
    with pytest.raises(SettingsError) as caught:
        load_settings(None, env, {"server.prt": 1, "auth.rule": "x"})
    by_source = {problem.source: problem for problem in caught.value.problems}
    assert set(by_source) == {
        "environment variable MORPHGRES_SERVER_PORT",
        "environment variable MORPHGRES_SERVER_PROT",
        "flag server.prt",
        "flag auth.rule",
    }
    assert "enableServiceLinks" in by_source["environment variable MORPHGRES_SERVER_PORT"].hint
    assert by_source["flag server.prt"].hint == 'Did you mean "server.port"?'
    misspelt = by_source["environment variable MORPHGRES_SERVER_PROT"]
    assert misspelt.hint == 'Did you mean "MORPHGRES_SERVER_PORT"?'


def test_auth_rules_and_users(write: Write) -> None:  # R6.3
    path = write(
        """\
[auth]
scram_iterations = 8192
[[auth.rule]]
address = "loopback"
user = "admin"
method = "trust"
[[auth.rule]]
address = "10.0.0.0/8"
method = "scram"
kind = "plain"
[[auth.rule]]
address = "all"
user = "guest"
method = "reject"
[[auth.user]]
name = "app"
password = "env:MORPHGRES_AUTH_APP"
[[auth.user]]
name = "bi"
verifier = "file:bi.scram"
"""
    )
    (path.parent / "bi.scram").write_text("SCRAM-SHA-256$4096:a$b:c\n")
    env = {"MORPHGRES_AUTH_APP": "hunter2"}
    settings = load_settings(path, env)
    auth = settings.auth
    assert auth.rules == (
        HostRule("loopback", "trust", "admin"),
        HostRule("10.0.0.0/8", "scram", kind="plain"),
        HostRule("all", "reject", "guest"),
    )
    user = auth.user("app")
    assert user is not None
    assert user.password is not None
    assert user.password.reveal(env) == "hunter2"
    assert auth.user("nobody") is None
    assert "hunter2" not in repr(settings)
    assert "MORPHGRES_AUTH_APP" not in repr(settings)


def test_without_rules_only_this_machine_may_connect() -> None:  # R6.3
    assert Settings().auth.rules == (HostRule("loopback", "trust"),)


def test_inline_rules_have_lines_too(write: Write) -> None:
    path = write(
        '[auth]\nrule = [\n  { address = "all", method = "trust" },\n'
        '  { adress = "all", method = "scam" },\n]\n'
    )
    assert _found(path) == [
        (4, "auth.rule[2]", 'has no "address"'),
        (4, "auth.rule[2].adress", "unknown key"),
        (4, "auth.rule[2].method", 'must be one of trust, scram, cert, reject, not "scam"'),
    ]


@pytest.mark.parametrize(
    ("text", "line", "key", "message"),
    [
        ("[server]\nwrite_buffer_high = '64kB'", 2, "server.write_buffer_low", "must be less"),
        ("[server]\nhost = ''", 2, "server.host", "must not be empty"),
        ("[server]\nmax_message_bytes = '1MB'", 2, "server.max_statement_bytes", "must not exceed"),
        ("[tls]\nrequired = true", 2, "tls.required", "needs tls.cert"),
        ("[tls]\ncert = 'c.pem'\nkey = '/dev/null'", 2, "tls.cert", "could not read"),
        ("[tls]\nkey = '/dev/null'", 2, "tls.key", "needs tls.cert"),
        ("[tls]\nclient_ca = '/dev/null'", 2, "tls.client_ca", "needs tls.cert"),
        ("[tls]\ncert = '/dev/null'\nkey = '/dev/null'", 2, "tls.cert", "certificate and key"),
        (
            "[[auth.rule]]\naddress = '10.0.0.0/33'\nmethod = 'scram'",
            2,
            "auth.rule[1].address",
            "is not a network",
        ),
        ("[[auth.rule]]\naddress = 'all'\nmethod = 'cert'", 3, "auth.rule[1].method", "cert needs"),
        ("[[auth.rule]]\naddress='all'\nmethod='trust'\nuser=''", 4, "auth.rule[1].user", "must"),
        (
            "[[auth.rule]]\naddress='all'\nmethod='trust'\nkind='tls'",
            4,
            "auth.rule[1].kind",
            "tls ne",
        ),
        ("[[auth.user]]\nname = 'a'", 1, "auth.user[1]", "needs either password or verifier"),
        ("[[auth.user]]\nname = 'all'\npassword='env:PW'", 2, "auth.user[1].name", '"all" cannot'),
        ("[[auth.user]]\npassword = 'env:PW'", 1, "auth.user[1]", 'has no "name"'),
        (
            "[[auth.user]]\nname='a'\npassword='env:PW'\n[[auth.user]]\nname='a'\npassword='env:PW'",
            5,
            "auth.user[2].name",
            'user "a" is given twice',
        ),
        (
            "[[auth.user]]\nname='a'\npassword='env:NOPE'",
            3,
            "auth.user[1].password",
            'environment variable "NOPE" is not set',
        ),
        (
            "[[auth.user]]\nname='a'\npassword='env:EMPTY'",
            3,
            "auth.user[1].password",
            'secret "env:EMPTY" is empty',
        ),
        (
            "[[auth.user]]\nname='a'\nverifier='file:nope'",
            3,
            "auth.user[1].verifier",
            "could not read secret file",
        ),
        ("[auth]\nrule = 'x'", 2, "auth.rule", "must be an array of tables"),
        ("[auth]\nrule = [1]", 2, "auth.rule", "must be an array of tables"),
        ("[instance]\nname = 'a'", 1, "instance", "must be an array of tables"),
        ("server = 3", 1, "server", "must be a table"),
        ("[[server]]\nport = 3", 1, "server", "must be a table"),
        (
            "[changes]\nbackoff_min = '31s'",
            2,
            "changes.backoff_min",
            "must not exceed",
        ),
        (
            "[private_pg]\nrestart_backoff_min = '20s'",
            2,
            "private_pg.restart_backoff_min",
            "must not exceed",
        ),
        ("[private_pg]\nbinaries = '/nope'", 2, "private_pg.binaries", 'no program "postgres"'),
        ("[load]\nrejects_suffix = ''", 2, "load.rejects_suffix", "must not be empty"),
        (
            "[[instance]]\nname = 'm'\nkind = 'mongodb'\nport = 1",
            1,
            "instance[1]",
            'has neither "dsn" nor "host"',
        ),
        (
            "[[instance]]\nname = 'm'\nkind = 'mongodb'\ndsn = 'env:PW'\nhost = 'h'",
            5,
            "instance[1].host",
            "must not be given together with dsn",
        ),
        (
            "[[instance]]\nname = 'm'\nkind = 'mongodb'\nhost = 'h'\noptions = 'password=x'",
            5,
            "instance[1].options",
            'option "password" must not hold a secret itself',
        ),
        (
            "[[instance]]\nname = 'embedded'\nkind = 'mongodb'\nhost = 'h'",
            2,
            "instance[1].name",
            "only the embedded store",
        ),
        ("[[instance]]\nname='m'\nkind='oracle'", 3, "instance[1].kind", "must be one of embedded"),
        (
            "[[instance]]\nname='m'\nkind='embedded'\ndsn='env:PW'",
            4,
            "instance[1].dsn",
            'an embedded instance has no "dsn"',
        ),
        (
            "[[instance]]\nname='m'\nkind='embedded'\n[[instance]]\nname='n'\nkind='embedded'",
            6,
            "instance[2].kind",
            "only one instance can be embedded",
        ),
    ],
)
def test_what_must_agree(write: Write, text: str, line: int, key: str, message: str) -> None:
    (found, *more) = check_file(write(text), {"PW": "x", "EMPTY": ""})
    assert (found.line, found.key) == (line, key)
    assert found.message.startswith(message)
    assert more == []


def test_a_plain_password_is_refused_and_never_repeated(write: Write) -> None:  # R6.3
    path = write("[[auth.user]]\nname = 'a'\npassword = 'hunter2'\n[[auth.user]\nx = 'hunter2\n")
    problems = check_file(path, {})
    assert problems
    assert "hunter2" not in " ".join(map(str, problems))


def test_relative_paths_count_from_the_file(write: Write) -> None:
    path = write("[data]\ndirectory = 'here'\n")
    assert load_settings(path, {}).data.directory == path.parent / "here"
    env = {"MORPHGRES_DATA_DIRECTORY": "there"}
    assert load_settings(path, env).data.directory == Path("there")


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no such file"):
        load_settings(tmp_path / "nope.toml", {})


def test_too_many_tables_are_refused(write: Write) -> None:
    path = write("[[auth.rule]]\naddress = 'all'\nmethod = 'reject'\n" * 1001)
    ((line, key, message),) = _found(path)
    assert (line, key) == (1, "auth.rule")
    assert "more than the 1000 allowed" in message


def test_settings_are_immutable() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().server.port = 1  # type: ignore[misc]
    assert all(section.__dataclass_params__.frozen for section in SECTIONS.values())


def test_a_problem_prints_as_one_line() -> None:
    problem = Problem(3, 1, "server.port", "must be 0", "Write 0.", "a.toml")
    assert str(problem) == "a.toml:3:1: server.port: must be 0 (Write 0.)"
    assert str(Problem(0, 0, "", "bad", "", "flag x")) == "flag x: bad"
