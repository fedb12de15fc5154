"""What webhooks are signed with, in the words that receivers are given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from impasto_core.webhooks.secrets import SecretBox, signing_key
from impasto_core.webhooks.signing import show_public_key
from impasto_core.webhooks.tables import SecretKind, WebhookSecret


@dataclass(frozen=True)
class Keys:
    """The pair that signs from now on, and when the one before it stops."""

    secret: str
    public_key: str
    created_at: datetime
    previous_expires_at: datetime | None

    @classmethod
    def of(cls, box: SecretBox, live: Sequence[WebhookSecret]) -> Self:
        """`live` is what `impasto_core.webhooks.secrets` gives: newest first, a current one of each kind."""
        current = {SecretKind(row.kind): row for row in live if row.expires_at is None}
        return cls(
            secret=signing_key(box, current[SecretKind.HMAC]).shown,
            public_key=public_key(current[SecretKind.ED25519]),
            created_at=current[SecretKind.HMAC].created_at,
            previous_expires_at=max((row.expires_at for row in live if row.expires_at), default=None),
        )


def public_key(secret: WebhookSecret) -> str:
    """Of an ed25519 secret, without opening it."""
    return show_public_key(secret.public_key or b"")
