"""Signatures of Standard Webhooks 1.0.0: `v1` by a shared secret, `v1a` by a key with a public half."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from impasto_core.webhooks.tables import SecretKind

SECRET_PREFIX, PUBLIC_KEY_PREFIX = "whsec_", "whpk_"


@dataclass(frozen=True, repr=False)
class SigningKey:
    """The bytes of a secret: of an HMAC's key, or of an ed25519 private key's seed."""

    kind: SecretKind
    secret: bytes

    def sign(self, content: bytes) -> str:
        if self.kind is SecretKind.HMAC:
            return "v1," + _base64(hmac.digest(self.secret, content, hashlib.sha256))
        return "v1a," + _base64(Ed25519PrivateKey.from_private_bytes(self.secret).sign(content))

    @property
    def shown(self) -> str:
        """What a receiver verifies with: the secret itself, or the public key."""
        if self.kind is SecretKind.HMAC:
            return SECRET_PREFIX + _base64(self.secret)
        return show_public_key(self.public_key or b"")

    @property
    def public_key(self) -> bytes | None:
        if self.kind is SecretKind.HMAC:
            return None
        return Ed25519PrivateKey.from_private_bytes(self.secret).public_key().public_bytes_raw()


def show_public_key(raw: bytes) -> str:
    return PUBLIC_KEY_PREFIX + _base64(raw)


def headers(keys: Iterable[SigningKey], webhook_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """`webhook-id`, `webhook-timestamp` in unix seconds, and a `webhook-signature` of every key."""
    content = f"{webhook_id}.{timestamp}.".encode() + body
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(key.sign(content) for key in keys),
    }


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()
