"""The `tls-server-end-point` channel binding (RFC 5929 section 4): a hash of our certificate.

The hash function is the one of the certificate's signature, with MD5 and SHA-1 replaced by
SHA-256. The standard library does not tell it, so the two fields of the DER are read here.
"""

from __future__ import annotations

import hashlib
from typing import Final

# DER of the object identifiers of signature algorithms -> hash.
_SIGNATURES: Final = {
    "2a864886f70d010104": "sha256",  # md5WithRSAEncryption
    "2a864886f70d010105": "sha256",  # sha1WithRSAEncryption
    "2a864886f70d01010b": "sha256",
    "2a864886f70d01010c": "sha384",
    "2a864886f70d01010d": "sha512",
    "2a864886f70d01010e": "sha224",
    "2a8648ce3d0401": "sha256",  # ecdsa-with-SHA1
    "2a8648ce3d040301": "sha224",
    "2a8648ce3d040302": "sha256",
    "2a8648ce3d040303": "sha384",
    "2a8648ce3d040304": "sha512",
}
_RSASSA_PSS: Final = "2a864886f70d01010a"
_HASHES: Final = {
    "608648016503040201": "sha256",
    "608648016503040202": "sha384",
    "608648016503040203": "sha512",
    "608648016503040204": "sha224",
}


def tls_server_end_point(certificate: bytes) -> bytes | None:
    """The binding data of a DER certificate.

    None when the signature names no single hash (Ed25519) or the bytes are no certificate: then
    SCRAM-SHA-256-PLUS is not on offer.
    """
    try:
        algorithm = _signature_hash(certificate)
    except IndexError:
        return None
    return None if algorithm is None else hashlib.new(algorithm, certificate).digest()


def _signature_hash(certificate: bytes) -> str | None:
    _, body, _ = _element(certificate)
    _, _, rest = _element(body)  # tbsCertificate
    _, algorithm, _ = _element(rest)
    _, oid, parameters = _element(algorithm)
    if oid.hex() != _RSASSA_PSS:
        return _SIGNATURES.get(oid.hex())
    _, fields, _ = _element(parameters)
    tag, hash_field, _ = _element(fields) if fields else (0, b"", b"")
    if tag != 0xA0:  # [0] hashAlgorithm is absent: SHA-1 by default
        return "sha256"
    _, hash_algorithm, _ = _element(hash_field)
    return _HASHES.get(_element(hash_algorithm)[1].hex(), "sha256")


def _element(der: bytes) -> tuple[int, bytes, bytes]:
    """`(tag, content, what follows)` of the first DER element; IndexError when it is cut."""
    size, start = der[1], 2
    if size & 0x80:
        start += size & 0x7F
        size = int.from_bytes(der[2:start])
    end = start + size
    if end > len(der):
        raise IndexError
    return der[0], der[start:end], der[end:]
