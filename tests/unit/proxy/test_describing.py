"""What the backend is asked to judge of a text with many statements is each of them alone."""

from __future__ import annotations

import asyncio

from proxy.errors import translate
from proxy.protocol.framing import HEADER_BYTES
from proxy.protocol.reports import decode_report, encode_error
from proxy.relay import PARSE
from tests.unit.proxy.test_shortcut import _Bed, q


def test_each_statement_is_sent_once() -> None:  # R5.1
    async def run() -> None:
        bed = _Bed()
        text = ";\n".join(f"INSERT INTO orders (id, qty) VALUES ({i}, {i})" for i in range(300))
        bed.client.data_received(q(text))
        assert bed.postgres.written.count(b"_morph_describe\0INSERT INTO") == 300
        assert len(bed.postgres.written) < 20 * len(text)

    asyncio.run(run())


def test_positions_are_those_of_the_whole_text() -> None:  # R0.1
    async def run() -> None:
        bed = _Bed()
        text = 'SELECT 1; INSERT INTO orders (id, meta, "odd") VALUES (1, 2, 3); SELECT 2'
        bed.client.data_received(q(text))
        parses = [e for e in bed.session.relay.expect if e.kind == PARSE and e.plan]
        described = next(e.plan for e in parses if e.plan and e.plan.wire_text.startswith("INSERT"))
        at = described.wire_text.index('"odd"') + 1
        raw = encode_error({"S": "ERROR", "C": "42703", "M": "no such column", "P": str(at)})
        shown = translate(raw, described, bed.session.plans, bed.session.snapshot)
        assert decode_report(shown[HEADER_BYTES:])["P"] == str(text.index('"odd"') + 1)

    asyncio.run(run())
