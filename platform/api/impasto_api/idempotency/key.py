"""The Idempotency-Key header."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Request
from pydantic import BaseModel

from impasto_api.problems import ValidationFailed

_MAX_LENGTH = 255


async def idempotency_key(
    header: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            description="Any text of up to 255 characters, new for every new request. A retry with the same"
            " key and body gets the first answer again, for 24 hours.",
            examples=['"8e03978e-40d5-43e8-bc93-6894a57f9324"'],
        ),
    ] = None,
) -> str | None:
    """The key, without the quotes of a structured-field string (RFC 9651 section 3.3.3) if it has them."""
    if header is None:
        return None
    key = header
    if len(header) >= 2 and header[0] == header[-1] == '"':
        key = header[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    if not 0 < len(key) <= _MAX_LENGTH or not key.isascii() or not key.isprintable():
        raise ValidationFailed.of(
            "header", "Idempotency-Key", "invalid", f"Use 1 to {_MAX_LENGTH} printable ASCII characters."
        )
    return key


IdempotencyKey = Annotated[str | None, Depends(idempotency_key)]


@dataclass(frozen=True)
class KeyedRequest:
    """A request that is answered once, however often it is sent.

    `fingerprint` is what makes two requests the same: method, path and the meaning of the body.
    """

    key: str
    fingerprint: bytes

    @classmethod
    def of(cls, key: str | None, request: Request, body: BaseModel) -> KeyedRequest | None:
        """None for a request without a key."""
        if key is None:
            return None
        # Without defaults: a release that takes a new field knows what the one before it answered.
        meant = body.model_dump(mode="json", exclude_defaults=True)
        content = json.dumps([request.method, request.url.path, meant], sort_keys=True)
        return cls(key, hashlib.sha256(content.encode()).digest())
