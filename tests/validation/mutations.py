"""Transforms that are wrong in one way each, beside the one that is right."""

from __future__ import annotations

from dataclasses import dataclass

RIGHT: dict[str, tuple[str, str]] = {
    "id": ("integer", "t.id"),
    "name": ("text", "t.name"),
    "city": ("character varying(40)", "t.city"),
    "price": ("numeric(12,2)", "round(t.price, 2)"),
    "amount": ("bigint", "t.quantity::bigint"),
    "ratio": ("double precision", "t.ratio"),
    "at": ("timestamp with time zone", "t.at AT TIME ZONE 'UTC'"),
    "day": ("date", "t.at::date"),
    "flag": ("boolean", "t.flag"),
    "doc": ("jsonb", "t.doc"),
    "tags": ("text[]", "t.tags"),
    "raw": ("bytea", "t.raw"),
    "code": ("uuid", "t.code"),
    "span": ("interval", "t.span"),
}
"""Each column of the new version: its type, and `up` over the old row."""


@dataclass(frozen=True)
class Mutation:
    """`columns` are wrong expressions; `rows` is run on the filled shadow."""

    columns: tuple[tuple[str, str], ...] = ()
    rows: str = ""


def _one(column: str, expression: str) -> Mutation:
    return Mutation(((column, expression),))


MUTATIONS: dict[str, Mutation] = {
    "off by one": _one("amount", "t.quantity::bigint + 1"),
    "off by one for some": _one("amount", "t.quantity::bigint + (t.id % 5 = 0)::int"),
    "off by a hundredth": _one("price", "round(t.price, 2) - 0.01"),
    "rounded down": _one("price", "trunc(t.price, 2)"),
    "rounded to even": _one("price", "round(t.price::float8::numeric, 1)"),
    "rounded to whole": _one("price", "round(t.price)"),
    "through float": _one("amount", "t.quantity::float4::float8::numeric::bigint"),
    "single precision": _one("ratio", "t.ratio::float4::float8"),
    "zero without sign": _one("ratio", "CASE WHEN t.ratio = 0 THEN 0 ELSE t.ratio END"),
    "wrong zone": _one("at", "t.at AT TIME ZONE 'Europe/Berlin'"),
    "no daylight saving": _one("at", "t.at AT TIME ZONE 'Etc/GMT-1'"),
    "whole seconds": _one("at", "date_trunc('second', t.at) AT TIME ZONE 'UTC'"),
    "whole milliseconds": _one("at", "date_trunc('milliseconds', t.at) AT TIME ZONE 'UTC'"),
    "day of another zone": _one(
        "day", "((t.at AT TIME ZONE 'UTC') AT TIME ZONE 'Asia/Tokyo')::date"
    ),
    "dropped column": _one("name", "NULL"),
    "dropped for some": _one("city", "CASE WHEN t.id % 3 > 0 THEN t.city END"),
    "null is empty": _one("name", "coalesce(t.name, '')"),
    "empty is null": _one("name", "nullif(t.name, '')"),
    "null is zero": _one("amount", "coalesce(t.quantity::bigint, 0)"),
    "null is false": _one("flag", "coalesce(t.flag, false)"),
    "null is json null": _one("doc", "coalesce(t.doc, 'null')"),
    "upper case": _one("name", "upper(t.name)"),
    "lower case": _one("city", "lower(t.city)"),
    "trimmed": _one("name", "btrim(t.name)"),
    "truncated text": _one("name", "left(t.name, 4)"),
    "truncated bytes": _one("raw", "substring(t.raw FROM 1 FOR 3)"),
    "normalised text": _one("name", "normalize(t.name, NFD)"),
    "negated": _one("flag", "NOT t.flag"),
    "sign lost": _one("price", "abs(round(t.price, 2))"),
    "a key of the document lost": _one(
        "doc", "CASE jsonb_typeof(t.doc) WHEN 'object' THEN t.doc - 'a' ELSE t.doc END"
    ),
    "document as text": _one("doc", "to_jsonb(t.doc::text)"),
    "elements reversed": _one(
        "tags", "(SELECT array_agg(x ORDER BY n DESC) FROM unnest(t.tags) WITH ORDINALITY u(x, n))"
    ),
    "nulls of arrays lost": _one("tags", "array_remove(t.tags, NULL)"),
    "interval in hours": _one("span", "make_interval(secs => extract(epoch FROM t.span)::float8)"),
    "swapped columns": Mutation((("name", "t.city"), ("city", "left(t.name, 40)"))),
    "another row's value": _one("name", "lag(t.name) OVER (ORDER BY t.id)"),
    "duplicate rows": Mutation(rows="INSERT INTO {0} SELECT * FROM {0} WHERE id % 2 = 0"),
    "missing rows": Mutation(rows="DELETE FROM {0} WHERE id % 7 = 0"),
    "last row missing": Mutation(rows="DELETE FROM {0} WHERE id = (SELECT max(id) FROM {0})"),
    "ghost before": Mutation(rows="INSERT INTO {0} (id) VALUES (-2147483648)"),
    "ghost behind": Mutation(rows="INSERT INTO {0} (id) VALUES (2147483647)"),
    "keys moved": Mutation(rows="UPDATE {0} SET id = -id WHERE id % 2 = 0"),
}
