"""inet, cidr, macaddr, macaddr8.

inet and cidr send family (2 or 3), prefix length, is_cidr, address length and the address. Their
text has no column-wise parser, so each distinct value is parsed once.
"""

from __future__ import annotations

import ipaddress

import pyarrow as pa
import pyarrow.compute as pc

from core.encoding.bytea import unhexadecimal
from core.encoding.family import Family, by_distinct
from core.types import PgType

_PG_FAMILY = {4: 2, 6: 3}
_CIDR_OID = 650


def _inet_send(text: str, is_cidr: bool) -> bytes:
    interface = ipaddress.ip_interface(text)
    address = interface.ip.packed
    head = (_PG_FAMILY[interface.version], interface.network.prefixlen, is_cidr, len(address))
    return bytes(head) + address


def _inet_binary(column: pa.Array, pg: PgType) -> pa.Array:
    return by_distinct(column, lambda text: _inet_send(text, pg.oid == _CIDR_OID))


INET = Family(text_binary=_inet_binary)


def _mac_binary(column: pa.Array, _pg: PgType) -> pa.Array:
    return unhexadecimal(pc.replace_substring(column, ":", ""))


MACADDR = Family(text_binary=_mac_binary)
