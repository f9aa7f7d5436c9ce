"""The tls-server-end-point hash against certificates that OpenSSL made (all for localhost)."""

from __future__ import annotations

import hashlib
from base64 import b64decode

import pytest

from proxy.auth.channel_binding import tls_server_end_point

# (signature, expected hash, certificate)
CERTIFICATES: list[tuple[str, str | None, str]] = [
    (
        "ec256",
        "sha256",
        "MIIBfjCCASWgAwIBAgIUFKgxQs1bkMXx2bN/kI3T0fnOC8kwCgYIKoZIzj0EAwIwFDESMBAGA1UEAwwJbG9jYWxo"
        "b3N0MCAXDTI2MTEyMTEyNDIxMloYDzIxMjYxMDI4MTI0MjEyWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcq"
        "hkjOPQIBBggqhkjOPQMBBwNCAATathb9Hn/My3WK8dD9SAGh7ou4OT+bwKeuYMO3Zrx4abmQLlACKFNKtciNdsa9"
        "3Es/rg5qSI3lPMwJummN9mfao1MwUTAdBgNVHQ4EFgQUv5t17WicGqmGt5QTdpEa/vvTcGswHwYDVR0jBBgwFoAU"
        "v5t17WicGqmGt5QTdpEa/vvTcGswDwYDVR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNHADBEAiAmP8eY2tMICe3V"
        "xkX0q6Mr+H55Th03sbACn54ycLF8ygIgeWW/w+q44OvAJy1X1DGLjLDxwht9HblcuVHcopa/GWE=",
    ),
    (
        "ec384",
        "sha384",
        "MIIBfjCCASWgAwIBAgIUGJaNHfQqN4RYutnlrDlsPkqIddswCgYIKoZIzj0EAwMwFDESMBAGA1UEAwwJbG9jYWxo"
        "b3N0MCAXDTI2MTEyMTEyNDIxMloYDzIxMjYxMDI4MTI0MjEyWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcq"
        "hkjOPQIBBggqhkjOPQMBBwNCAAQZyPMQyhW0D/lu3JnT0W250DttjNHXzLCgcpd+mYLWUYzG7paGBO7uVQe1rGXR"
        "b42RcXT+PAZgkmHta99Kqar2o1MwUTAdBgNVHQ4EFgQUoysSepNGUdj+XOqUdx0mTMpbAhwwHwYDVR0jBBgwFoAU"
        "oysSepNGUdj+XOqUdx0mTMpbAhwwDwYDVR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAwNHADBEAiAiZrXkYXxZFzSk"
        "Wd9gB6shPgMN8cTuEQfc3iKMCAFokQIgLK2qT0g0DudwVPq61rRHePV+Nb7IDCdpD6ViFIIPFHU=",
    ),
    (
        "ecsha1",
        "sha256",
        "MIIBfjCCASSgAwIBAgIUe6LnbR9g5gRNcW6CM3URPJm7B60wCQYHKoZIzj0EATAUMRIwEAYDVQQDDAlsb2NhbGhv"
        "c3QwIBcNMjYxMTIxMTI0MjEyWhgPMjEyNjEwMjgxMjQyMTJaMBQxEjAQBgNVBAMMCWxvY2FsaG9zdDBZMBMGByqG"
        "SM49AgEGCCqGSM49AwEHA0IABCrI4C5r97ZJXgVELwIO/RsTv646O0QK22S/FNazA2/v4mtGUO7hxd6rwTZq7scs"
        "kAjOSQuAWHdrNSfXBPMLXmqjUzBRMB0GA1UdDgQWBBQeujpX8zT0Q/x+QRTwwE9K4aBxVDAfBgNVHSMEGDAWgBQe"
        "ujpX8zT0Q/x+QRTwwE9K4aBxVDAPBgNVHRMBAf8EBTADAQH/MAkGByqGSM49BAEDSQAwRgIhAK1nDXI7zfMqmkPP"
        "dc1pQDYeBq5uYmp7mHy6Fwp/hLwQAiEAxyNb3SKH493kU2YC5xr/Ei+VT+iBh+fRkn4Tp91Fivs=",
    ),
    (
        "rsa512",
        "sha512",
        "MIICBjCCAW+gAwIBAgIUO68vKYrWuMMWjhWv+w4qawmgAVswDQYJKoZIhvcNAQENBQAwFDESMBAGA1UEAwwJbG9j"
        "YWxob3N0MCAXDTI2MTEyMTEyNDIxMloYDzIxMjYxMDI4MTI0MjEyWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwgZ8w"
        "DQYJKoZIhvcNAQEBBQADgY0AMIGJAoGBAPKavLhxlb079HNBgNeDWm+g1QnM8Y4bczt9pymKRg0HeplEnoRUetbV"
        "IwHa8+wmRyt+p8yyKLfm3TIQfRCjNyVYtMn+infSVit3aUNzt5e2JYOZhuOdTaR9O+kFTOCrZR9kH0or33tVHKK7"
        "dozBZPpY+bM19BShRmwgtmbkTwqBAgMBAAGjUzBRMB0GA1UdDgQWBBQaRJN9SnVeX40+8oWAsZboC4CgLTAfBgNV"
        "HSMEGDAWgBQaRJN9SnVeX40+8oWAsZboC4CgLTAPBgNVHRMBAf8EBTADAQH/MA0GCSqGSIb3DQEBDQUAA4GBAGA8"
        "eg74UAgIiPH3T4D9iIgwuaEkI/bQmcuDe1SeGas2ZvqaoOVh6F7Ok3OcPq6izEcYUBHFPPl4privSk3FXJaqXk5z"
        "b0+Bmum7Y9/Z9tLmxBT1XJkbvUVBex4Ta3dvF554/BeIXq6gkRJiYUuJfjxgEvxoaVBgoxSXER20E2gU",
    ),
    (
        "pss384",
        "sha384",
        "MIICbjCCAaOgAwIBAgIUC+7z7cHv5cdflPZJIhlNk3fbiQgwQQYJKoZIhvcNAQEKMDSgDzANBglghkgBZQMEAgIF"
        "AKEcMBoGCSqGSIb3DQEBCDANBglghkgBZQMEAgIFAKIDAgFOMBQxEjAQBgNVBAMMCWxvY2FsaG9zdDAgFw0yNjEx"
        "MjExMjQyMTJaGA8yMTI2MTAyODEyNDIxMlowFDESMBAGA1UEAwwJbG9jYWxob3N0MIGfMA0GCSqGSIb3DQEBAQUA"
        "A4GNADCBiQKBgQDdd6EuoyM9ei4xgBBef9/hGgrDg+49g+KjfyYgPaxCaHgqCXpeLeUMic4UjtTh9XgiV6sJpbPx"
        "+wmpLLxMSM0Qc8xgoojnG8XF8b6rmwjAUCyjo5eq2H4ySPC7h33p10LPxjLTGfo0uX2+NPkV2cOrovRpoyva+JMs"
        "qM3JvISZcQIDAQABo1MwUTAdBgNVHQ4EFgQUwqkeVipg0J17ykwqbRu8SqcEdh8wHwYDVR0jBBgwFoAUwqkeVipg"
        "0J17ykwqbRu8SqcEdh8wDwYDVR0TAQH/BAUwAwEB/zBBBgkqhkiG9w0BAQowNKAPMA0GCWCGSAFlAwQCAgUAoRww"
        "GgYJKoZIhvcNAQEIMA0GCWCGSAFlAwQCAgUAogMCAU4DgYEAFSDYo7oEvAAl3BlNpfXpLNFRV4EZhmdFzszeY8Ma"
        "g3FcZJTAXW+Hw6JOOvOsvHS8g3UWJTIK+WR/kO8jDIiGelujAtODG1jsdlVaFJ2fTWIhIaZZhPdow9PRwN8m0eft"
        "eNnjAUK8M7a/LqfR3vsxKvVPb6/0SR/NpHyPmKQfRI4=",
    ),
    (
        "psssha1",
        "sha256",
        "MIICEDCCAXSgAwIBAgIUddR2hInwIMoBRkN2xAa3Gh1TQ5gwEgYJKoZIhvcNAQEKMAWiAwIBajAUMRIwEAYDVQQD"
        "DAlsb2NhbGhvc3QwIBcNMjYxMTIxMTI0MjEyWhgPMjEyNjEwMjgxMjQyMTJaMBQxEjAQBgNVBAMMCWxvY2FsaG9z"
        "dDCBnzANBgkqhkiG9w0BAQEFAAOBjQAwgYkCgYEA1R4cYW3gyx3kAjzVBweY5ZYKfDxf1EulETVvmNXtqQxNfLzX"
        "cL2wvboAfjBZR4TLIZErY3w2KNVpoPzNCtxZh+sQDS5l+/uzpmHk4MK+NhnYBHwc1OpwhhkrI/W5YVf0nMHTpkcf"
        "dB/WGFAKvL5WJ8mvCYo+1JvpEevXLOsRrwsCAwEAAaNTMFEwHQYDVR0OBBYEFIzM9/RNteSHZNyfEfAA9WZQI/mi"
        "MB8GA1UdIwQYMBaAFIzM9/RNteSHZNyfEfAA9WZQI/miMA8GA1UdEwEB/wQFMAMBAf8wEgYJKoZIhvcNAQEKMAWi"
        "AwIBagOBgQB0ldonFmYer40JOoN3imymO+Kh3V0Ze9ApEFlKvk+yMqHWIHUPh00dd1QilDg1l1h+q/H84i3TQHg5"
        "+nnz7wosgLNRVjmOwe3XNAr1KaGxdJPAwCYXQDj6HuvlvF3AhxUjzccoIS7oVG7jQVsmEDDTm8WdFsuQkp2co+lv"
        "fi/bXA==",
    ),
    (
        "ed25519",
        None,
        "MIIBPjCB8aADAgECAhQBOZSl4FU1UzIkSa/nBxbC35nPvDAFBgMrZXAwFDESMBAGA1UEAwwJbG9jYWxob3N0MCAX"
        "DTI2MTEyMTEyNDIxMloYDzIxMjYxMDI4MTI0MjEyWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwKjAFBgMrZXADIQDk"
        "bF8tbCcCyQB6RlO0hgM08X9FWltG45fOKcU4TiEFlqNTMFEwHQYDVR0OBBYEFBdyliS59seYUGKjmnjgSbBP0q6l"
        "MB8GA1UdIwQYMBaAFBdyliS59seYUGKjmnjgSbBP0q6lMA8GA1UdEwEB/wQFMAMBAf8wBQYDK2VwA0EA4O8zX8J7"
        "7XoRZVw9Nv5sXSiZsdUyeT/DbDOyt7NnQ7y/y94pfnA1txDqBYgQKGgMwsmxJtBsXwJItsxRT+nbCA==",
    ),
]


@pytest.mark.parametrize(
    ("algorithm", "text"),
    [(algorithm, text) for _, algorithm, text in CERTIFICATES],
    ids=[name for name, _, _ in CERTIFICATES],
)
def test_the_hash_is_the_one_of_the_signature(algorithm: str | None, text: str) -> None:  # R0.1
    certificate = b64decode(text)
    expected = hashlib.new(algorithm, certificate).digest() if algorithm else None
    assert tls_server_end_point(certificate) == expected


@pytest.mark.parametrize("cut", [0, 1, 2, 4, 30])
def test_a_cut_certificate_has_no_binding(cut: int) -> None:  # R0.1
    assert tls_server_end_point(b64decode(CERTIFICATES[0][2])[:cut]) is None
