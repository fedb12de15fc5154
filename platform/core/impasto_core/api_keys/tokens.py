"""Tokens: `imp_live_` or `imp_test_`, a lookup id, a random secret and a checksum.

The lookup id finds the row; the checksum lets us, and secret scanners, refuse a mistyped or made-up token
without asking the database. Only an HMAC of the token is stored: with a random secret of 190 bits there is
nothing for a slow password hash to protect.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import zlib
from dataclasses import dataclass, field
from typing import Literal

Mode = Literal["live", "test"]

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_LOOKUP, _SECRET, _CHECKSUM = 12, 32, 6
_PREFIXES: dict[str, Mode] = {"imp_live_": "live", "imp_test_": "test"}
_PREFIX_LENGTH = 9


class MalformedToken(ValueError):
    """The text cannot be a token of ours: wrong prefix, length or checksum."""


@dataclass(frozen=True)
class Token:
    """A parsed token. `text` is the secret itself: never log or store it."""

    text: str = field(repr=False)
    mode: Mode
    lookup_id: str

    def hash(self, pepper: str) -> bytes:
        return hmac.digest(pepper.encode(), self.text.encode(), hashlib.sha256)

    def matches(self, token_hash: bytes, pepper: str) -> bool:
        return hmac.compare_digest(self.hash(pepper), token_hash)


def mint(mode: Mode) -> Token:
    lookup_id, secret = (
        "".join(secrets.choice(_BASE62) for _ in range(length)) for length in (_LOOKUP, _SECRET)
    )
    body = f"imp_{mode}_{lookup_id}{secret}"
    return Token(body + _checksum(body), mode, lookup_id)


def parse(text: str) -> Token:
    """Raises MalformedToken without saying which part is wrong."""
    mode = _PREFIXES.get(text[:_PREFIX_LENGTH])
    body, checksum = text[:-_CHECKSUM], text[-_CHECKSUM:]
    if (
        mode is None
        or len(text) != _PREFIX_LENGTH + _LOOKUP + _SECRET + _CHECKSUM
        or not text.isascii()
        or _checksum(body) != checksum
    ):
        raise MalformedToken
    return Token(text, mode, text[_PREFIX_LENGTH : _PREFIX_LENGTH + _LOOKUP])


def _checksum(body: str) -> str:
    number = zlib.crc32(body.encode())
    digits = ""
    for _ in range(_CHECKSUM):
        number, digit = divmod(number, 62)
        digits = _BASE62[digit] + digits
    return digits
