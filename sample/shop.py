"""The shop sample: customers, products, orders and events as Extended JSON, one document a line.

Deterministic: every document is a function of `rng_seed` and its place, made by splitmix64 (Steele,
Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014) and integer arithmetic only, so
all machines and processes write the same bytes (golden digest in tests/unit/sample).

What it shows: sub-documents, an array of documents (`orders.items`), arrays of text, exact decimals
(`$numberDecimal`), instants (`$date`), ObjectIds, missing and null fields, a field of mixed types
(`events.value`), one that appears only in the last 3 % (`events.consent`), many scripts.
References hold: orders.customer_id and events.customer_id name customers, items.sku names products.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from typing import Final

from sample.shop_data import (
    ADJECTIVES,
    BROWSERS,
    CATEGORIES,
    CITIES,
    COLOURS,
    DEVICES,
    EVENT_KINDS,
    FIRST_NAMES,
    LAST_NAMES,
    SEARCHES,
    SEGMENTS,
    STATUSES,
    STREETS,
    TAGS,
)

TABLES: Final = ("customers", "products", "orders", "events")
COUNTS: Final = {"customers": 6_000, "products": 1_500, "orders": 30_000, "events": 20_000}
RNG_SEED: Final = 20_240_229
LATE_EVENT: Final = COUNTS["events"] * 97 // 100  # `consent` appears from this event on

_MASK: Final = 2**64 - 1
_DAY_MS: Final = 86_400_000
_FIRST_DAY: Final = date(2022, 1, 1)
_DAYS: Final = 1_280  # of the sample, from the first day
_DATES: Final = tuple((_FIRST_DAY + timedelta(day)).isoformat() for day in range(_DAYS + 60))
_EPOCH_SECONDS: Final = (_FIRST_DAY - date(1970, 1, 1)).days * 86_400

Draw = Callable[[], int]


def splitmix64(state: int) -> Draw:
    """A stream of 64-bit numbers."""

    def draw() -> int:
        nonlocal state
        state = (state + 0x9E3779B97F4A7C15) & _MASK
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
        return z ^ (z >> 31)

    return draw


def documents(table: str, rng_seed: int = RNG_SEED) -> Iterator[str]:
    """The documents of one table as JSON texts, without line ends; KeyError for another name."""
    make = _MAKERS[table]
    return make(splitmix64(rng_seed * 1_000_003 + TABLES.index(table)), rng_seed)


def ndjson(table: str, rng_seed: int = RNG_SEED) -> Iterator[bytes]:
    """The same as the lines of an NDJSON file."""
    for text in documents(table, rng_seed):
        yield text.encode() + b"\n"


def price_cents(product: int, rng_seed: int = RNG_SEED) -> int:
    """The price of product 1 … 1,500; orders of the sample are made with it."""
    r = splitmix64(rng_seed * 7_919 + product)()
    _, _, low, high = CATEGORIES[product % len(CATEGORIES)]
    share = _skewed(r, 1_000)
    return (low + (high - low) * share // 1_000) // 10 * 10 + 9


def sku(product: int) -> str:
    """The stock keeping unit (and key) of a product."""
    return f"{CATEGORIES[product % len(CATEGORIES)][0][:3].upper()}-{product:05d}"


def _customers(draw: Draw, _rng_seed: int) -> Iterator[str]:
    for number in range(1, COUNTS["customers"] + 1):
        r, s = draw(), draw()
        first = FIRST_NAMES[_slice(r, 0, len(FIRST_NAMES))]
        last = LAST_NAMES[_slice(r, 16, len(LAST_NAMES))]
        fields = [
            f'{{"_id":{number}',
            f'"name":{_string(f"{first} {last}")}',
            f'"email":"customer{number}@{("example.org", "example.com")[r >> 63]}"',
            f'"segment":"{SEGMENTS[_slice(r, 32, len(SEGMENTS))]}"',
            f'"address":{_address(draw())}',
            f'"balance":{_money((s & 0xFFFF) - 8_000)}',
            f'"newsletter":{_bool(s & 0x10000)}',
            f'"joined_at":{_date(_slice(s, 20, 700) * _DAY_MS + (s >> 40) % _DAY_MS)}',
        ]
        if s >> 61:
            fields.append(f'"phone":"+{s >> 40 & 0x3F}{s >> 20 & 0xFFFFFFFFF:011d}"')
        elif s >> 60:
            fields.append('"phone":null')
        if number > 10 and not r >> 61:
            fields.append(f'"referred_by":{1 + _skewed(s, number - 1)}')
        yield ",".join(fields) + "}"


def _products(draw: Draw, rng_seed: int) -> Iterator[str]:
    for number in range(1, COUNTS["products"] + 1):
        r = draw()
        category, goods, _, _ = CATEGORIES[number % len(CATEGORIES)]
        adjective = ADJECTIVES[_slice(r, 0, len(ADJECTIVES))]
        fields = [
            f'{{"_id":"{sku(number)}","sku":"{sku(number)}"',
            f'"name":"{adjective} {goods[_slice(r, 16, len(goods))]}"',
            f'"category":"{category}"',
            f'"price":{_money(price_cents(number, rng_seed))}',
            f'"stock":{_skewed(r >> 8, 900)}',
            f'"rating":{(r >> 32) % 41 / 10 + 1:.1f}',
            f'"dimensions":{{"width":{5 + (r >> 40) % 90},"height":{5 + (r >> 44) % 90}'
            f',"weight":{(r >> 48) % 9_000 / 100 + 0.05:.2f}}}',
            f'"colours":[{_some(r >> 20, COLOURS)}]',
            f'"active":{_bool(r >> 59)}',
        ]
        if not r >> 62:
            fields.append(f'"discontinued_at":{_date(900 * _DAY_MS + (r & 0x3FFFFFFF))}')
        yield ",".join(fields) + "}"


def _orders(draw: Draw, rng_seed: int) -> Iterator[str]:
    products = COUNTS["products"]
    cents = [0] + [price_cents(number, rng_seed) for number in range(1, products + 1)]
    skus = [sku(number) for number in range(products + 1)]
    step = _DAYS * _DAY_MS // COUNTS["orders"]
    for number in range(1, COUNTS["orders"] + 1):
        r, s = draw(), draw()
        items = []
        total = 0
        for _ in range(1 + _skewed(s, 8)):
            t = draw()
            product = 1 + _skewed(t, products)
            qty = 1 + _skewed(t >> 20, 6)
            total += qty * cents[product]
            items.append(
                f'{{"sku":"{skus[product]}","qty":{qty},"price":{_money(cents[product])}}}'
            )
        customer = 1 + _skewed(r, COUNTS["customers"])
        status = STATUSES[_slice(s, 32, len(STATUSES))]
        fields = [
            f'{{"_id":{number}',
            f'"customer_id":{customer}',
            f'"status":"{status if number < 29_000 else ("new", "paid", "shipped")[s % 3]}"',
            f'"created_at":{_date(number * step + (r >> 40) % 3_600_000)}',
            f'"total":{_money(total)}',
            f'"address":{_address(draw())}',
            f'"items":[{",".join(items)}]',
            f'"tags":[{_some(s >> 20, TAGS)}]',
        ]
        if not r >> 60:
            fields.append(f'"coupon":"SAVE{5 + s % 4 * 5}"')
        if not s >> 61:
            fields.append('"note":null' if s >> 60 else f'"note":"leave at door {r & 63}"')
        yield ",".join(fields) + "}"


def _events(draw: Draw, rng_seed: int) -> Iterator[str]:
    step = _DAYS * _DAY_MS // COUNTS["events"]
    for number in range(COUNTS["events"]):
        r, s = draw(), draw()
        at = number * step + (r >> 44) % 600_000
        kind = EVENT_KINDS[_slice(r, 0, len(EVENT_KINDS))]
        oid = f"{_EPOCH_SECONDS + at // 1_000:08x}{rng_seed & 0xFFFFFFFFFF:010x}{number:06x}"
        fields = [
            f'{{"_id":{{"$oid":"{oid}"}}',
            f'"kind":"{kind}"',
            f'"at":{_date(at)}',
            f'"value":{_value(kind, s)}',
            f'"device":{{"type":"{DEVICES[_slice(r, 16, len(DEVICES))]}"'
            f',"browser":"{BROWSERS[r >> 62]}"}}',
        ]
        if r >> 35 & 3:
            fields.append(f'"customer_id":{1 + _skewed(s >> 8, COUNTS["customers"])}')
        if kind == "search":
            fields.append(f'"query":{_string(SEARCHES[_slice(s, 40, len(SEARCHES))])}')
        if r >> 37 & 7 == 0:
            fields.append('"session":null' if r >> 40 & 1 else f'"session":"{s:016x}"')
        if number >= LATE_EVENT:
            fields.append(f'"consent":{_bool(s & 3)}')
        yield ",".join(fields) + "}"


def _value(kind: str, r: int) -> str:
    """A value whose type depends on the kind of event, and a little on chance."""
    if kind == "view":
        return f'"/product/{sku(1 + _skewed(r, COUNTS["products"]))}"'
    if kind == "search":
        return str(_skewed(r, 300))
    if kind == "cart":
        qty = 1 + r % 5
        return f'{{"sku":"{sku(1 + _skewed(r, COUNTS["products"]))}","qty":{qty}}}'
    if kind == "login":
        return _bool(r & 7)
    return f"{1 + r % 9 / 2:.1f}"


def _address(r: int) -> str:
    city = CITIES[_skewed(r, len(CITIES))]
    zip_code = city.zip_format.format(
        r % 10_000,
        1 + r % 20,
        1 + r % 9,
        1 + r % 20,
        1 + r % 23,
        r % 1_000,
        r // 7 % 1_000,
        r % 80_000,
    )
    return (
        f'{{"street":"{STREETS[_slice(r, 24, len(STREETS))]} {1 + _skewed(r >> 32, 180)}"'
        f',"city":"{city.name}","zip":"{zip_code}","country":"{city.country}"'
        f',"geo":{{"lat":{_degrees(city.lat + (r >> 40) % 800 - 400)}'
        f',"lon":{_degrees(city.lon + (r >> 50) % 800 - 400)}}}}}'
    )


def _slice(r: int, shift: int, n: int) -> int:
    """A number below n from 16 of the bits of r."""
    return (r >> shift & 0xFFFF) * n >> 16


def _skewed(r: int, n: int) -> int:
    """A number below n from the low 32 bits of r; small ones are far more frequent (u cubed)."""
    u = r & 0xFFFFFFFF
    return (u * u >> 32) * u * n >> 64


def _some(r: int, words: tuple[str, ...]) -> str:
    """None to four words, as the inside of a JSON array."""
    count = (0, 1, 1, 2, 2, 3, 4, 0)[r & 7]
    start = r >> 4 & 15
    return ",".join(f'"{words[(start + 3 * i) % len(words)]}"' for i in range(count))


def _money(cents: int) -> str:
    sign = "-" if cents < 0 else ""
    return f'{{"$numberDecimal":"{sign}{abs(cents) // 100}.{abs(cents) % 100:02d}"}}'


def _degrees(value: int) -> str:
    sign = "-" if value < 0 else ""
    return f"{sign}{abs(value) // 10_000}.{abs(value) % 10_000:04d}"


def _date(ms: int) -> str:
    """An instant so many milliseconds after the first day, in Extended JSON."""
    day, rest = divmod(ms, _DAY_MS)
    seconds, milli = divmod(rest, 1_000)
    minutes, second = divmod(seconds, 60)
    clock = f"{minutes // 60:02d}:{minutes % 60:02d}:{second:02d}.{milli:03d}"
    return f'{{"$date":"{_DATES[day]}T{clock}Z"}}'


def _bool(value: int) -> str:
    return "true" if value else "false"


def _string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


_MAKERS: Final[dict[str, Callable[[Draw, int], Iterator[str]]]] = {
    "customers": _customers,
    "products": _products,
    "orders": _orders,
    "events": _events,
}
