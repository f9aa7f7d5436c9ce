"""Values per type that the encoders are compared with PostgreSQL on, as SQL literals.

The first tuple of a case fits the Arrow carrier, the second needs the text carrier. Every case gets
a NULL added.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Case:
    """A type as SQL text, values that fit its Arrow carrier and values that do not."""

    type: str
    fitting: tuple[str, ...]
    wide: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.type


_TEXTS = (
    "",
    " ",
    "a",
    "NULL",
    "null",
    "héllo wörld",
    "日本語",
    "😀",
    'quo"te',
    "back\\slash",
    "a,b",
    "{x}",
    "tab\there",
    "line\nbreak",
    "\r",
    "\v\f\b",
    "'",
    "\\.",
    "\\N",
    "x" * 5000,
    "\u00a0",
    "end ",
)
_TIMES = ("00:00:00", "23:59:59.999999", "12:34:56", "01:02:03.4", "10:00:00", "00:00:00.000001")
_DATES = (
    "1970-01-01",
    "2000-01-01",
    "1999-12-31",
    "0001-01-01",
    "9999-12-31",
    "2024-02-29",
    "10000-01-01",
    "5874897-12-31",
    "0044-03-15 BC",
    "0001-12-31 BC",
    "0001-02-29 BC",
    "4714-11-24 BC",
)
_STAMPS = (
    "1970-01-01 00:00:00",
    "2000-01-01 00:00:00",
    "2024-01-02 03:04:05.6",
    "1969-12-31 23:59:59.999999",
    "0001-01-01 00:00:00",
    "9999-12-31 23:59:59.999999",
    "2024-02-29 10:00:00.00001",
    "10000-01-01 00:00:00",
    "0044-03-15 12:00:00.5 BC",
    "4714-11-24 00:00:00 BC",
    "294246-12-31 23:59:59.999999",
)
_INTERVALS = (
    "0",
    "1 year",
    "-1 year",
    "2 years 3 mons",
    "1 mon",
    "-13 mons",
    "1 day",
    "-2 days +03:04:05.000006",
    "00:00:00.000001",
    "-00:00:00.000001",
    "-00:00:01.5",
    "100:00:00",
    "1 year -2 mons 3 days -04:05:06.7",
    "-1 year 2 mons -3 days 04:05:06.789",
    "178956970 years 7 mons",
    "-178956970 years -8 mons",
    "2147483647 days",
    "-2147483648 days",
    "2562047788:00:54.775807",
    "-2562047788:00:54.775807",
    "infinity",
    "-infinity",
)
_NUMERICS = (
    "0",
    "0.0",
    "0.00",
    "1",
    "-1",
    "10",
    "9999",
    "10000",
    "100000000",
    "0.1",
    "-0.1",
    "0.0001",
    "0.00010000",
    "0.00000001",
    "0.000000001",
    "1.5000",
    "12345.6789",
    "-12345678901234567890.123456789",
    "1e-20",
    "1e-16383",
    "1e130000",
    "9" * 60,
    "10000000100000001.0000000100000000",
    "0.99999999999999999999999999999999999999999",
    "NaN",
    "Infinity",
    "-Infinity",
)
_FLOAT4 = (
    *("0", "-0", "1", "-1", "0.1", "1.5", "1e-4", "1.234e-4", "9.99e-5", "1e-5", "1.25e-6", "1e-7"),
    *(
        "1e-37",
        "1.4e-45",
        "3.4028235e38",
        "1.17549435e-38",
        "999999",
        "1e6",
        "1234567",
        "8388607.5",
    ),
    *(
        "16777216",
        "16777218",
        "30000001024",
        "834540032",
        "1e9",
        "1e10",
        "1e15",
        "1e20",
        "3070000128",
    ),
    *("123456.7", "1230000", "9999999", "-1e6", "-37363192", "NaN", "Infinity", "-Infinity"),
)
_FLOAT8 = (
    *(
        "0",
        "-0",
        "1",
        "-1",
        "0.1",
        "0.3",
        "1.5",
        "100",
        "1e-4",
        "1.234e-4",
        "9.99e-5",
        "1e-5",
        "1e-6",
    ),
    *("1.25e-6", "-1e-6", "1e-7", "1.5e-7", "1e-10", "1e-100", "5e-324", "2.2250738585072014e-308"),
    *("1.7976931348623157e308", "9999999999.9", "1e10", "12345678901.5", "1e11", "123456789012.25"),
    *("1e12", "1e13", "1e14", "123456789012345.6", "999999999999999", "999999999999999.9", "1e15"),
    *("1e16", "1e17", "1e20", "1e21", "1e22", "1e23", "2e23", "5e22", "-1e23", "9007199254740992"),
    *("9007199254740994", "84929670000000010000", "7.64925281171e17", "1.2e300", "NaN", "Infinity"),
    "-Infinity",
)
_UUIDS = (
    "00000000-0000-0000-0000-000000000000",
    "ffffffff-ffff-ffff-ffff-ffffffffffff",
    "123e4567-e89b-12d3-a456-426614174000",
)
_NETS = (
    *("0.0.0.0", "192.168.1.1", "10.1.2.3/8", "255.255.255.255/0", "::", "::1", "::1/64"),
    *("2001:db8::ff00:42:8329/48", "::ffff:1.2.3.4", "fe80::1:2:3:4"),
)
_JSONS = ("{}", "[]", "null", '"x"', "1.50", '{"b": 1, "a": [1, 2, {"c": "\\u00e9\\n"}]}', "true")
_BITS = ("0", "1", "10101010", "101010101", "1" * 64, "0" * 7 + "1" * 10)

SCALARS: tuple[Case, ...] = (
    Case("boolean", ("t", "f")),
    Case("smallint", ("0", "-1", "-32768", "32767", "12")),
    Case("integer", ("0", "-1", "-2147483648", "2147483647", "12")),
    Case("bigint", ("0", "-1", "-9223372036854775808", "9223372036854775807", "12")),
    Case("oid", ("0", "1", "4294967295")),
    Case("real", _FLOAT4),
    Case("double precision", _FLOAT8),
    Case("numeric", _NUMERICS),
    Case("numeric(10,2)", ("0", "0.01", "-0.01", "99999999.99", "-99999999.99", "10000"), ("NaN",)),
    Case("numeric(16,0)", ("0", "9999999999999999", "10000", "-100000000")),
    Case("numeric(18,0)", ("0", "999999999999999999", "10000", "-100000000")),
    Case("numeric(4,4)", ("0", "0.0001", "-0.9999", "0.5")),
    Case("numeric(6,5)", ("0", "0.00001", "-9.99999", "1.5")),
    Case("numeric(12,9)", ("0", "0.000000001", "-999.999999999", "1.5"), ("NaN",)),
    Case("numeric(2,4)", ("0.0099", "-0.0001")),
    Case("numeric(3,-2)", ("99900", "-100", "0")),
    Case("numeric(38,10)", ("0", "0.0000000001", "-9999999999999999999999999999.9999999999", "1")),
    Case("numeric(38,0)", ("9" * 38, "-1", "0")),
    Case("numeric(76,38)", ("9" * 38 + "." + "9" * 38, "-0." + "0" * 37 + "1", "0"), ("NaN",)),
    Case("numeric(100,2)", ("9" * 98 + ".99", "0.01", "NaN", "0")),
    Case("text", _TEXTS),
    Case("character varying", _TEXTS),
    Case("character varying(20)", ("", "a", "twenty characters !!")),
    Case("character(5)", ("", "a", "abcde", " b")),
    Case("bpchar", ("", "a", "abc  ")),
    Case("name", ("", "a", "x" * 63)),
    Case('"char"', ("", "a", "\\200", "\\377", "\\\\")),
    Case("bytea", ("\\x", "\\x00", "\\xdeadbeef", "\\x" + "00ff" * 3000)),
    Case("date", _DATES, ("infinity", "-infinity")),
    Case("time without time zone", _TIMES, ("24:00:00",)),
    Case("time(3) without time zone", _TIMES[2:5], ("24:00:00",)),
    Case(
        "time with time zone",
        tuple(
            f"{time}{zone}"
            for time, zone in zip(
                (*_TIMES, "24:00:00"),
                ("+00", "-12", "+05:30", "-03:30", "+15:59:59", "-15:59:59", "+01"),
                strict=True,
            )
        ),
    ),
    Case(
        "timestamp without time zone",
        _STAMPS,
        ("infinity", "-infinity", "294276-12-31 23:59:59.999999", "294247-01-10 04:00:54.775808"),
    ),
    Case("timestamp(3) without time zone", _STAMPS[:3]),
    Case(
        "timestamp with time zone",
        tuple(f"{s.removesuffix(' BC')}+00{' BC' if s.endswith('BC') else ''}" for s in _STAMPS),
        ("infinity", "-infinity", "294276-12-31 23:59:59.999999+00"),
    ),
    Case("interval", _INTERVALS),
    Case("uuid", _UUIDS),
    Case("json", (*_JSONS, ' {"a" :1} ')),
    Case("jsonb", _JSONS),
    Case("inet", _NETS),
    Case("cidr", ("0.0.0.0/0", "10.0.0.0/8", "1.2.3.4", "::/0", "2001:db8::/32", "::1")),
    Case("macaddr", ("00:00:00:00:00:00", "08:00:2b:01:02:03", "ff:ff:ff:ff:ff:ff")),
    Case("macaddr8", ("08:00:2b:01:02:03:04:05", "ff:ff:ff:ff:ff:ff:ff:ff")),
    Case("bit(1)", ("0", "1")),
    Case("bit(9)", ("101010101", "000000000")),
    Case("bit varying", ("", *_BITS)),
    Case("bit varying(64)", _BITS),
    Case(
        "money",
        (
            "0",
            "1.5",
            "-1234.56",
            "92233720368547758.07",
            "-92233720368547758.08",
            "1000000",
            "-.01",
        ),
    ),
)

ARRAYS: tuple[Case, ...] = (
    Case("boolean[]", ("{}", "{t,f,NULL}", "{NULL}")),
    Case(
        "integer[]",
        ("{}", "{1}", "{1,2,NULL}", "{NULL,NULL}", "{-2147483648,2147483647}"),
        ("{{1,2},{3,4}}", "[0:2]={7,8,9}", "[2:3][-1:0]={{1,2},{3,NULL}}", "{{{1}},{{2}}}"),
    ),
    Case("bigint[]", ("{}", "{9223372036854775807,NULL}")),
    Case("double precision[]", ("{}", "{NaN,1e20,0.1,-Infinity,NULL}")),
    Case("numeric[]", ("{}", "{NaN,1.50,-0.001,NULL}"), ("{{1,2.5}}",)),
    Case("numeric(10,2)[]", ("{}", "{1.5,NULL,-0.01}"), ("{NaN,1}",)),
    Case(
        "text[]",
        (
            "{}",
            '{""}',
            '{"NULL",NULL,null}',
            '{"a b","c,d","{e}","q\\"q","b\\\\s",plain}',
            '{" ","\t","\n"}',
            "{nUlL}",
            "{é,日本}",
        ),
        ('{{a,b},{"c,d",NULL}}',),
    ),
    Case("character varying(5)[]", ("{}", "{abc,NULL}")),
    Case("character(3)[]", ("{}", "{a,NULL,abc}")),
    Case("bytea[]", ("{}", '{"\\\\xdead",NULL,"\\\\x"}')),
    Case("date[]", ("{}", "{2024-01-02,NULL,10000-01-01}", '{"0044-03-15 BC"}'), ("{infinity}",)),
    Case("time without time zone[]", ("{}", "{01:02:03.5,NULL}"), ("{24:00:00}",)),
    Case(
        "timestamp with time zone[]",
        ("{}", '{"2024-01-02 03:04:05.6+00",NULL}'),
        ('{infinity,"2024-01-02 03:04:05+00"}',),
    ),
    Case("timestamp without time zone[]", ("{}", '{"2024-01-02 03:04:05",NULL}')),
    Case("interval[]", ("{}", '{"1 day",NULL,"01:00:00"}')),
    Case("uuid[]", ("{}", f"{{{_UUIDS[2]},NULL}}")),
    Case("jsonb[]", ("{}", '{"{\\"a\\": 1}",NULL,"[1, 2]",1}')),
    Case("inet[]", ("{}", "{10.0.0.1,NULL}")),
    Case("bit(3)[]", ("{}", "{101,NULL}")),
    Case('"char"[]', ("{}", '{a,""}')),
    Case("money[]", ("{}", '{"$1,234.50",NULL}')),
)

CASES: tuple[Case, ...] = (*SCALARS, *ARRAYS)
