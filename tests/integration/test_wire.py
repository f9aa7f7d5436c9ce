"""The wire protocol over a real socket, against the manual's chapters 54 and 55."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from tests.integration.server_process import ServerProcess
from tests.integration.wire import (
    FLUSH,
    GSS_REQUEST,
    SSL_REQUEST,
    SYNC,
    TERMINATE,
    Closed,
    Message,
    WireClient,
    bind,
    close,
    describe,
    error_of,
    execute,
    kinds,
    message,
    parse,
    query,
    startup,
)

Connect = Callable[[], WireClient]
REPORTED = {
    "application_name", "client_encoding", "DateStyle", "default_transaction_read_only",
    "in_hot_standby", "integer_datetimes", "IntervalStyle", "is_superuser", "server_encoding",
    "server_version", "session_authorization", "standard_conforming_strings", "TimeZone",
    "scram_iterations", "search_path",
}  # fmt: skip
DIVIDES = "SELECT 1 / n FROM generate_series(0, 1) n"  # fails at Execute, not before


def int4(value: int) -> bytes:
    return struct.pack(">i", value)


# ---------------------------------------------------------------------- start-up


def test_login_reports_settings_and_key(connect_raw: Connect) -> None:  # R0.1
    client = connect_raw()
    answers = client.log_in(application_name="näme")
    assert kinds(answers).replace("S", "") == "RKZ"
    assert set(client.parameters) == REPORTED
    assert client.parameters["application_name"] == "n\\xc3\\xa4me"
    assert client.parameters["is_superuser"] == "off"
    assert len(client.key) == 4
    (version,) = client.values("SHOW server_version_num")
    assert version[0] is not None
    major, minor = divmod(int(version[0]), 10000)
    assert client.parameters["server_version"].split()[0] == f"{major}.{minor}"


@pytest.mark.parametrize("request_packet", [SSL_REQUEST, GSS_REQUEST], ids=["ssl", "gss"])
def test_encryption_is_declined_without_certificate(
    connect_raw: Connect, request_packet: bytes
) -> None:
    client = connect_raw()
    client.send(request_packet)
    assert client.take(1) == b"N"
    assert client.log_in()[-1].text == "I"


def test_gss_then_ssl_then_start(connect_raw: Connect) -> None:
    client = connect_raw()
    client.send(GSS_REQUEST)
    assert client.take(1) == b"N"
    client.send(SSL_REQUEST)
    assert client.take(1) == b"N"
    assert client.log_in()[-1].text == "I"


def test_protocol_3_2_has_long_cancel_keys(connect_raw: Connect) -> None:  # R0.1
    client = connect_raw()
    answers = client.begin(startup(2))
    assert "v" not in kinds(answers)
    assert len(client.key) == 32


@pytest.mark.parametrize(
    ("packet", "minor", "options"),
    [
        (startup(9999), 2, []),
        (startup(**{"_pq_.shiny": "1"}), 0, [b"_pq_.shiny"]),
        (startup(2, **{"_pq_.a": "", "_pq_.b": ""}), 2, [b"_pq_.a", b"_pq_.b"]),
    ],
)
def test_negotiates_what_it_does_not_speak(
    connect_raw: Connect, packet: bytes, minor: int, options: list[bytes]
) -> None:  # R0.1
    client = connect_raw()
    answers = client.begin(packet)
    assert answers[0].kind == "v"
    spoken, count = struct.unpack_from(">II", answers[0].body)
    assert spoken & 0xFFFF == minor
    assert count == len(options)
    assert answers[0].body[8:].split(b"\0")[:-1] == options
    assert answers[-1].text == "I"


@pytest.mark.parametrize("major", [0, 1, 2, 4, 99])
def test_other_major_versions_are_refused(connect_raw: Connect, major: int) -> None:
    client = connect_raw()
    client.send(startup(0, major))
    (error,) = client.read_all()
    assert error.code == "0A000"
    assert error.fields["S"] == "FATAL"


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"database": "postgres"}, "3D000"),
        ({"database": "template1"}, "3D000"),
        ({"user": "nobody_of_that_name"}, "28P01"),
        ({"user": "morph_root"}, "28P01"),
        ({"user": "morph_owner"}, "28P01"),
        ({"nonsense_setting": "1"}, "42704"),
        ({"work_mem": "lots"}, "22023"),
        ({"replication": "database"}, "0A000"),
        ({"options": "-c log_min_messages=debug5"}, "42501"),
    ],
)
def test_login_is_refused(connect_raw: Connect, parameters: dict[str, str], code: str) -> None:
    client = connect_raw()
    client.send(startup(**parameters))
    last = client.read_all()[-1]
    assert last.kind == "E"
    assert (last.code, last.fields["S"]) == (code, "FATAL")


@pytest.mark.parametrize(
    ("parameters", "setting", "value"),
    [
        ({"client_encoding": "'utf-8'"}, "client_encoding", b"UTF8"),  # asyncpg
        ({"datestyle": "ISO, DMY"}, "DateStyle", b"ISO, DMY"),
        ({"TIMEZONE": "Asia/Tokyo"}, "TimeZone", b"Asia/Tokyo"),
        ({"extra_float_digits": "2"}, "extra_float_digits", b"2"),
        ({"options": "-c search_path=v7 -c work_mem=1MB"}, "search_path", b"v7"),
        ({"options": "-csearch_path=v7"}, "search_path", b"v7"),
        ({"options": "--statement_timeout=77000"}, "statement_timeout", b"77s"),
    ],
)
def test_any_setting_at_login(
    connect_raw: Connect, parameters: dict[str, str], setting: str, value: bytes
) -> None:  # R0.2
    client = connect_raw()
    assert client.log_in(**parameters)[-1].kind == "Z"
    assert client.values(f"SHOW {setting}") == [[value]]


def test_terminate_closes(wire: WireClient) -> None:
    wire.send(TERMINATE)
    assert wire.closed()


# ---------------------------------------------------------------------- simple protocol


def test_simple_query(wire: WireClient) -> None:  # R0.1
    answers = wire.simple("SELECT 1 AS a, 'x' AS b, NULL AS c")
    assert kinds(answers) == "TDCZ"
    assert answers[0].columns == [("a", 23, 0), ("b", 25, 0), ("c", 25, 0)]
    assert answers[1].values == [b"1", b"x", None]
    assert answers[2].text == "SELECT 1"


def test_empty_query(wire: WireClient) -> None:
    assert kinds(wire.simple("")) == "IZ"
    assert kinds(wire.simple(" ; ;")) == "IZ"


def test_many_statements_are_one_implicit_transaction(wire: WireClient) -> None:  # R0.1
    wire.simple("CREATE TEMP TABLE implicit (a int)")
    answers = wire.simple("INSERT INTO implicit VALUES (1); SELECT 1/0; SELECT 3")
    assert kinds(answers) == "CEZ"
    assert error_of(answers)["C"] == "22012"
    assert wire.values("SELECT count(*) FROM implicit") == [[b"0"]]
    answers = wire.simple("INSERT INTO implicit VALUES (1); SELECT 2; ; SELECT 3 WHERE false")
    assert kinds(answers) == "CTDCTCZ"
    assert wire.values("SELECT count(*) FROM implicit") == [[b"1"]]


def test_explicit_commit_within_a_text(wire: WireClient) -> None:
    wire.simple("CREATE TEMP TABLE explicit (a int)")
    text = "BEGIN; INSERT INTO explicit VALUES (1); COMMIT; INSERT INTO explicit VALUES (2); X"
    assert error_of(wire.simple(text))["C"] == "42601"
    assert wire.values("SELECT count(*) FROM explicit") == [[b"0"]]
    text = "BEGIN; INSERT INTO explicit VALUES (1); COMMIT; INSERT INTO explicit VALUES (1/0)"
    assert error_of(wire.simple(text))["C"] == "22012"
    assert wire.values("SELECT count(*) FROM explicit") == [[b"1"]]


def test_status_bytes_and_failed_transactions(wire: WireClient) -> None:  # R0.1
    assert wire.simple("BEGIN")[-1].text == "T"
    assert wire.simple("SAVEPOINT a")[-1].text == "T"
    assert wire.simple("SELECT 1/0")[-1].text == "E"
    answers = wire.simple("SELECT 1")
    assert (error_of(answers)["C"], answers[-1].text) == ("25P02", "E")
    assert wire.simple("ROLLBACK TO a")[-1].text == "T"
    assert kinds(wire.simple("SELECT 1")) == "TDCZ"
    assert wire.simple("SELECT nonsense")[-1].text == "E"
    answers = wire.simple("COMMIT")
    assert (answers[0].text, answers[-1].text) == ("ROLLBACK", "I")
    assert wire.simple("ROLLBACK")[0].code == "25P01"  # a WARNING


@pytest.mark.parametrize(
    ("sql", "position"),
    [
        ("SELECT 'ä', nonsense", 13),
        ("SELECT '日本語🦊', nonsense", 16),
        ("SELEC 1", 1),
        ("SELECT 'é' /* ü */ FROM", 24),
        ("SELECT 1; SELECT 'ß', nonsense", 23),
    ],
)
def test_error_positions_count_characters(wire: WireClient, sql: str, position: int) -> None:
    assert int(error_of(wire.simple(sql))["P"]) == position  # R0.1
    if ";" not in sql:
        answers = wire.ask(parse(sql), SYNC)
        assert int(error_of(answers)["P"]) == position


def test_parameter_status_follows_changes(wire: WireClient) -> None:  # R0.1
    def reported(sql: str) -> list[str]:
        return [a.text for a in wire.simple(sql) if a.kind == "S"]

    assert reported("SET application_name = 'x'") == ["application_name\0x"]
    assert reported("BEGIN; SET TimeZone = 'Asia/Tokyo'") == ["TimeZone\0Asia/Tokyo"]
    assert reported("ROLLBACK") == ["TimeZone\0UTC"]
    assert reported("SELECT set_config('DateStyle', 'SQL, DMY', false)") == ["DateStyle\0SQL, DMY"]
    assert reported("BEGIN; SET LOCAL DateStyle = 'German'; COMMIT") in (
        ["DateStyle\0German, DMY", "DateStyle\0SQL, DMY"],
        [],
    )
    assert "DateStyle\0ISO, MDY" in reported("RESET ALL")
    assert wire.simple("DISCARD ALL")[-1].text == "I"


# ---------------------------------------------------------------------- extended protocol


def test_extended_round(wire: WireClient) -> None:  # R0.1
    answers = wire.ask(
        parse("SELECT $1::int + 1, $2::text"),
        describe("S"),
        bind((b"41", "ö".encode())),
        describe("P"),
        execute(),
        SYNC,
    )
    assert kinds(answers) == "1tT2TDCZ"
    assert struct.unpack(">HII", answers[1].body) == (2, 23, 25)
    assert answers[5].values == [b"42", "ö".encode()]


def test_inferred_parameter_types(wire: WireClient) -> None:
    answers = wire.ask(
        parse("SELECT oid FROM pg_class WHERE oid = $1 AND relname = any($2) LIMIT $3"),
        describe("S"),
        SYNC,
    )
    assert struct.unpack(">HIII", answers[1].body) == (3, 26, 1003, 20)


def test_flush_without_sync(wire: WireClient) -> None:  # R0.1
    wire.send(parse("SELECT $1::int", "named"), describe("S", "named"), FLUSH)
    assert kinds([wire.read(), wire.read(), wire.read()]) == "1tT"
    wire.send(bind((b"5",), statement="named"), execute(), FLUSH)
    assert kinds([wire.read(), wire.read(), wire.read()]) == "2DC"
    assert kinds(wire.ask(SYNC)) == "Z"


def test_a_thousand_executions_before_one_sync(wire: WireClient) -> None:  # R0.1
    batch = b"".join(bind((str(n).encode(),), statement="p") + execute() for n in range(1000))
    answers = wire.ask(parse("SELECT $1::int * 2", "p"), batch, SYNC)
    assert kinds(answers) == "1" + "2DC" * 1000 + "Z"
    assert [a.values for a in answers if a.kind == "D"][-1] == [b"1998"]


def test_pipeline_of_syncs(wire: WireClient) -> None:
    one = bind((b"9",), statement="p") + execute() + SYNC
    bad = bind((b"0",), statement="p") + execute() + bind((b"1",), statement="p") + execute() + SYNC
    wire.send(
        parse("SELECT 1 / n FROM generate_series($1::int, 9) n", "p"),
        SYNC,
        one,
        bad,
        one,
        query("SELECT 7"),
    )
    got = "".join(kinds(wire.read_until()) for _ in range(5))
    assert got == "1Z" + "2DCZ" + "2EZ" + "2DCZ" + "TDCZ"


def test_an_error_skips_to_sync(wire: WireClient) -> None:
    answers = wire.ask(parse(DIVIDES), bind(), execute(), parse("SELECT 1"), bind(), SYNC)
    assert kinds(answers) == "12EZ"
    wire.send(parse("SELEC"), FLUSH)
    assert wire.read().code == "42601"
    wire.send(query("SELECT 1"), parse("SELECT 2"), FLUSH)
    assert wire.quiet()
    assert kinds(wire.ask(SYNC)) == "Z"
    assert kinds(wire.simple("SELECT 1")) == "TDCZ"


def test_everything_up_to_sync_is_one_transaction(wire: WireClient) -> None:
    wire.simple("CREATE TEMP TABLE batch (a int)")
    step = parse("INSERT INTO batch VALUES (1)") + bind() + execute()
    assert kinds(wire.ask(step, step, parse(DIVIDES), bind(), execute(), SYNC)) == ("12C12C12EZ")
    assert wire.values("SELECT count(*) FROM batch") == [[b"0"]]
    assert kinds(wire.ask(step, step, SYNC)) == "12C12CZ"
    assert wire.values("SELECT count(*) FROM batch") == [[b"2"]]


def test_portals_with_row_limits(wire: WireClient) -> None:  # R0.1
    answers = wire.ask(parse("SELECT generate_series(1, 7)"), bind(), *[execute(limit=3)] * 4, SYNC)
    assert kinds(answers) == "12" + "DDDs" + "DDDs" + "DC" + "CZ"
    assert [a.text for a in answers if a.kind == "C"] == ["SELECT 1", "SELECT 0"]


def test_several_portals_at_once(wire: WireClient) -> None:  # R0.1
    wire.simple("BEGIN")
    answers = wire.ask(
        parse("SELECT generate_series($1::int, $1 + 99)", "series"),
        bind((b"100",), portal="a", statement="series"),
        bind((b"200",), portal="b", statement="series"),
        execute("a", 1) + execute("b", 1) + execute("a", 1) + execute("b", 1),
        SYNC,
    )
    values = [a.values for a in answers if a.kind == "D"]
    assert values == [[b"100"], [b"200"], [b"101"], [b"201"]]
    answers = wire.ask(execute("a", 2), close("P", "b"), SYNC)  # they live on in the transaction
    assert kinds(answers) == "DDs3Z"
    assert error_of(wire.ask(execute("b", 1), SYNC))["C"] == "34000"
    assert wire.simple("COMMIT")[-1].text == "I"
    assert error_of(wire.ask(execute("a", 1), SYNC))["C"] == "34000"


def test_lifetimes_of_the_unnamed(wire: WireClient) -> None:  # R0.1
    wire.ask(parse("SELECT 1"), SYNC)
    assert kinds(wire.ask(bind(), execute(), SYNC)) == "2DCZ"  # the statement survives Sync
    assert error_of(wire.ask(execute(), SYNC))["C"] == "34000"  # the portal does not
    wire.simple("SELECT 2")
    assert error_of(wire.ask(bind(), SYNC))["C"] == "26000"  # nor the statement a Query


def test_named_statements_survive_errors_and_transactions(wire: WireClient) -> None:
    wire.ask(parse("SELECT 1", "kept"), SYNC)
    wire.simple("BEGIN; SELECT 1/0")
    wire.simple("ROLLBACK")
    assert kinds(wire.ask(bind(statement="kept"), execute(), SYNC)) == "2DCZ"
    assert error_of(wire.ask(parse("SELECT 2", "kept"), SYNC))["C"] == "42P05"
    assert kinds(wire.ask(bind(statement="kept"), execute(), SYNC)) == "2DCZ"
    assert kinds(wire.ask(close("S", "kept"), close("S", "never was"), SYNC)) == "33Z"
    assert error_of(wire.ask(bind(statement="kept"), SYNC))["C"] == "26000"


@pytest.mark.parametrize("sql", ["DEALLOCATE ALL", "DISCARD ALL", "DEALLOCATE kept"])
def test_deallocate_reaches_protocol_statements(wire: WireClient, sql: str) -> None:  # R0.1
    wire.ask(parse("SELECT 1", "kept"), SYNC)
    assert wire.values("SELECT name FROM pg_prepared_statements") == [[b"kept"]]
    wire.simple(sql)
    assert wire.values("SELECT name FROM pg_prepared_statements") == []
    assert error_of(wire.ask(bind(statement="kept"), SYNC))["C"] == "26000"
    assert kinds(wire.ask(parse("SELECT 2", "kept"), bind(statement="kept"), SYNC)) == "12Z"


def test_prepare_and_parse_share_names(wire: WireClient) -> None:
    wire.simple("PREPARE shared AS SELECT 42")
    assert kinds(wire.ask(bind(statement="shared"), execute(), SYNC)) == "2DCZ"
    assert error_of(wire.ask(parse("SELECT 1", "shared"), SYNC))["C"] == "42P05"
    wire.ask(parse("SELECT 43", "other"), SYNC)
    assert wire.values("EXECUTE other") == [[b"43"]]


def test_text_and_binary_mixed(wire: WireClient) -> None:  # R0.1
    answers = wire.ask(
        parse("SELECT $1::int, $2::int, $3::text"),
        bind((int4(7), b"8", b"x"), formats=(1, 0, 1), results=(0, 1, 1)),
        describe("P"),
        execute(),
        SYNC,
    )
    assert [code for _, _, code in answers[2].columns] == [0, 1, 1]
    assert answers[3].values == [b"7", int4(8), b"x"]


@pytest.mark.parametrize(
    ("binding", "code"),
    [
        (bind(), "08P01"),  # too few
        (bind((b"1", b"2")), "08P01"),
        (bind((b"x",)), "22P02"),
        (bind((b"12345",), formats=(1,)), "22P03"),
        (bind((b"1",), formats=(1,)), "08P01"),
        (bind((b"1",), formats=(7,)), "22023"),
        (bind((b"1",), formats=(0, 0)), "08P01"),
        (bind((b"\0",)), "22021"),
        (bind((b"\xff",)), "22021"),
        (bind((b"1",), results=(0, 0)), "08P01"),
    ],
)
def test_bad_binds(wire: WireClient, binding: bytes, code: str) -> None:
    answers = wire.ask(parse("SELECT $1::int"), binding, execute(), SYNC)
    assert error_of(answers)["C"] == code
    assert kinds(wire.simple("SELECT 1")) == "TDCZ"


def test_32767_parameters(wire: WireClient) -> None:  # R0.1
    count = 32767
    text = "SELECT " + " + ".join(f"${n}::int" for n in range(1, 11)) + ", cardinality(ARRAY["
    text += ",".join(f"${n}::int" for n in range(1, count + 1)) + "])"
    answers = wire.ask(parse(text), bind((b"1",) * count), execute(), SYNC)
    assert kinds(answers) == "12DCZ"
    assert answers[2].values == [b"10", b"32767"]


def test_a_big_parameter(wire: WireClient) -> None:  # R0.1
    big = b"0123456789" * 500_000
    answers = wire.ask(parse("SELECT length($1), $1"), bind((big,)), execute(), SYNC)
    assert answers[2].values == [b"5000000", big]


def test_rows_of_a_thousand_columns(wire: WireClient) -> None:  # R0.1
    columns = ", ".join(f"{n} AS c{n}" for n in range(1000))
    answers = wire.simple(f"SELECT {columns} FROM generate_series(1, 50)")
    assert kinds(answers) == "T" + "D" * 50 + "CZ"
    assert len(answers[0].columns) == 1000
    assert answers[50].values[999] == b"999"


def test_several_commands_cannot_be_prepared(wire: WireClient) -> None:
    assert error_of(wire.ask(parse("SELECT 1; SELECT 2"), SYNC))["C"] == "42601"
    assert kinds(wire.ask(parse(""), bind(), describe("P"), execute(), SYNC)) == "12nIZ"


# ---------------------------------------------------------------------- COPY, NOTIFY, cursors


@pytest.mark.parametrize(
    ("options", "first"),
    [("", b"1\tx\n"), ("(FORMAT csv, HEADER)", b"a,b\n"), ("(FORMAT binary)", b"PGCOPY\n\xff\r\n")],
)
def test_copy_out(wire: WireClient, options: str, first: bytes) -> None:  # R0.1
    sql = f"COPY (SELECT n AS a, 'x' AS b FROM generate_series(1, 3) n) TO STDOUT {options}"
    answers = wire.simple(sql)
    assert kinds(answers).replace("d", "") == "HcCZ"
    assert answers[1].body.startswith(first)
    assert answers[-2].text == "COPY 3"
    answers = wire.ask(parse(sql), bind(), execute(), SYNC)
    assert kinds(answers).replace("d", "") == "12HcCZ"


def test_copy_into_a_temporary_table(wire: WireClient) -> None:  # R0.1
    wire.simple("CREATE TEMP TABLE copied (a int, b text)")
    wire.send(query("COPY copied FROM STDIN"))
    assert wire.read().kind == "G"
    wire.send(message("d", b"1\tx\n2"), message("d", b"\ty\n"), message("c"))
    assert [a.text for a in wire.read_until()] == ["COPY 2", "I"]
    # Extended: Execute and Sync are sent before the client knows that it is a COPY.
    wire.send(parse("COPY copied FROM STDIN"), bind(), execute(), SYNC)
    assert kinds([wire.read(), wire.read(), wire.read()]) == "12G"
    assert kinds(wire.ask(message("d", b"3\tz\n"), message("c"), SYNC)) == "CZ"
    assert wire.values("SELECT count(*) FROM copied") == [[b"3"]]


def test_copy_that_fails(wire: WireClient) -> None:
    wire.simple("CREATE TEMP TABLE failing (a int)")
    wire.send(query("COPY failing FROM STDIN"))
    wire.read()
    error = error_of(wire.ask(message("f", b"no more\0")))
    assert (error["C"], "no more" in error["M"]) == ("57014", True)
    wire.send(query("COPY failing FROM STDIN"), message("d", b"1\nx\n"), message("c"))
    error = error_of(wire.read_until())
    assert error["C"] == "22P02"
    assert error["W"] == 'COPY failing, line 2, column a: "x"'
    wire.send(message("d", b"stray"), message("c"), message("f", b"\0"))
    assert wire.values("SELECT count(*) FROM failing") == [[b"0"]]


def test_query_during_copy_in_ends_the_connection(wire: WireClient) -> None:
    wire.simple("CREATE TEMP TABLE interrupted (a int)")
    wire.send(query("COPY interrupted FROM STDIN"))
    wire.read()
    wire.send(query("SELECT 1"))
    assert next(a.code for a in wire.read_all() if a.kind == "E") == "08P01"


def test_notify_between_sessions(connect_raw: Connect) -> None:  # R0.1
    listener, other = connect_raw(), connect_raw()
    listener.log_in()
    other.log_in()
    listener.simple("LISTEN chan")
    other.simple("NOTIFY chan, 'hällo'")
    got = listener.read()
    assert got.kind == "A"
    assert got.body[4:] == b"chan\0" + "hällo\0".encode()
    answers = listener.simple("NOTIFY chan, 'me'; SELECT 1")
    assert "A" in kinds(answers)
    listener.simple("UNLISTEN *")
    other.simple("NOTIFY chan")
    assert listener.quiet()


def test_cursors_with_hold(wire: WireClient) -> None:  # R0.1
    wire.simple("BEGIN; DECLARE c SCROLL CURSOR WITH HOLD FOR SELECT generate_series(1, 5); COMMIT")
    assert wire.values("FETCH 2 FROM c") == [[b"1"], [b"2"]]
    assert wire.values("FETCH BACKWARD 1 FROM c") == [[b"1"]]
    assert wire.simple("MOVE 3 IN c")[0].text == "MOVE 3"
    assert wire.values("FETCH ALL FROM c") == [[b"5"]]
    assert wire.simple("CLOSE c")[0].text == "CLOSE CURSOR"


# ---------------------------------------------------------------------- encodings


def test_latin1_client(connect_raw: Connect) -> None:  # R0.1
    client = connect_raw()
    client.log_in(client_encoding="LATIN1")
    answers = client.ask(query("SELECT 'é', length('é'), U&'\\00fc'".encode("latin-1")))
    assert answers[1].values == [b"\xe9", b"1", b"\xfc"]
    answers = client.ask(query("SELECT 'é', nönsense".encode("latin-1")))
    error = error_of(answers)
    assert int(error["P"]) == 13
    assert b"n\xf6nsense" in next(a.body for a in answers if a.kind == "E")
    answers = client.ask(
        parse("SELECT $1 || 'é'".encode("latin-1")), bind((b"\xe4",)), execute(), SYNC
    )
    assert answers[2].values == [b"\xe4\xe9"]
    assert error_of(client.simple("SELECT U&'\\65e5'"))["C"] == "22P05"
    answers = client.ask(query(b"SET client_encoding = 'UTF8'"), query("SELECT 'é日'"))
    assert client.read_until()[1].values == ["é日".encode()]


def test_statement_names_that_are_not_ascii(wire: WireClient) -> None:
    assert kinds(wire.ask(parse("SELECT 1", "náme"), bind(statement="náme"), SYNC)) == "12Z"
    assert wire.values("SELECT name FROM pg_prepared_statements") == [["náme".encode()]]


# ---------------------------------------------------------------------- cancel


def test_cancel_with_the_right_key(server: ServerProcess, wire: WireClient) -> None:  # R0.1
    wire.send(query("SELECT pg_sleep(20)"))
    assert wire.quiet(0.1)
    with WireClient(server.host, server.port) as other:
        other.send(SSL_REQUEST)  # libpq may ask first
        assert other.take(1) == b"N"
        other.cancel(wire.process_id, wire.key)
    assert error_of(wire.read_until())["C"] == "57014"
    assert kinds(wire.simple("SELECT 1")) == "TDCZ"


def test_cancel_with_a_wrong_key(server: ServerProcess, wire: WireClient) -> None:  # R0.1
    wire.send(query("SELECT pg_sleep(0.5)"))
    for process_id, key in [
        (wire.process_id, b"\0\0\0\0"),
        (wire.process_id, wire.key + b"\0"),
        (wire.process_id + 1, wire.key),
        (0x7FFFFFFF, wire.key),
    ]:
        with WireClient(server.host, server.port) as other:
            other.cancel(process_id, key)
    assert kinds(wire.read_until()) == "TDCZ"


def test_a_late_cancel_hits_nothing(server: ServerProcess, wire: WireClient) -> None:  # R0.1
    for _ in range(20):
        wire.send(query("SELECT 1"))
        with WireClient(server.host, server.port) as other:
            other.cancel(wire.process_id, wire.key)
        first = wire.read_until()
        assert kinds(first) in ("TDCZ", "EZ")
        assert kinds(wire.simple("SELECT 2")) == "TDCZ"


def test_the_connection_of_a_fatal_error_closes(wire: WireClient) -> None:
    wire.send(message("p", b"x\0"))
    error: Message = wire.read()
    assert (error.code, error.fields["S"]) == ("08P01", "FATAL")
    with pytest.raises(Closed):
        wire.read()
