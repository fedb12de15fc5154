"""Signing secrets: made, sealed, rotated with an overlap, and opened again.

Every endpoint has one of each kind, and so has an organization whose jobs name a `webhook_url`.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Self
from uuid import UUID

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from sqlalchemy import ColumnElement, update
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from impasto_core.settings import DEVELOPMENT_ENCRYPTION_KEY, Settings
from impasto_core.webhooks.signing import SigningKey
from impasto_core.webhooks.tables import SecretKind, WebhookSecret

SECRET_BYTES = 32
"""Of both kinds. Standard Webhooks asks for 24 to 64."""

OVERLAP = timedelta(hours=24)
"""How long a secret that was rotated out still signs, where its owner says nothing else."""

MAX_LIVE = 5
"""Secrets of one kind that sign at the same time: each is a signature in every webhook."""


class TooManySecrets(Exception):
    """So many secrets of the endpoint are live that it must wait until one has expired."""


class SecretUnreadable(Exception):
    """A stored secret was sealed with a key that IMPASTO_ENCRYPTION_KEYS does not have."""


class SecretBox:
    """Seals what the database keeps but must not tell, by Fernet (AES-128-CBC and HMAC-SHA256).

    The first of several keys seals, each of them opens: that is how the key is rotated.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._fernet = MultiFernet([Fernet(key) for key in keys])

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Raises ValueError where the keys are no keys, or those of development in production."""
        keys = [key.strip() for key in settings.encryption_keys.get_secret_value().split(",")]
        if settings.environment == "production" and DEVELOPMENT_ENCRYPTION_KEY in keys:
            raise ValueError("IMPASTO_ENCRYPTION_KEYS must be keys of your own in production")
        try:
            return cls(keys)
        except ValueError:
            raise ValueError(
                "IMPASTO_ENCRYPTION_KEYS are Fernet keys, comma-separated: 32 random bytes each, in base64url"
            ) from None

    def seal(self, secret: bytes) -> bytes:
        return self._fernet.encrypt(secret)

    def open(self, sealed: bytes) -> bytes:
        """Raises SecretUnreadable."""
        try:
            return self._fernet.decrypt(sealed)
        except InvalidToken:
            raise SecretUnreadable from None


def signing_key(box: SecretBox, secret: WebhookSecret) -> SigningKey:
    """Its `shown` is what the owner is given. Raises SecretUnreadable."""
    return SigningKey(SecretKind(secret.kind), box.open(secret.ciphertext))


async def ensure(
    session: AsyncSession, box: SecretBox, organization_id: UUID, endpoint_id: UUID | None, now: datetime
) -> Sequence[WebhookSecret]:
    """The live secrets of the endpoint, or the organization's own; made now where there are none."""
    if not (found := await live(session, organization_id, endpoint_id, now)):
        await _add(session, box, organization_id, endpoint_id, now)
        found = await live(session, organization_id, endpoint_id, now)
    return found


async def rotate(
    session: AsyncSession,
    box: SecretBox,
    organization_id: UUID,
    endpoint_id: UUID | None,
    now: datetime,
    overlap: timedelta = OVERLAP,
) -> Sequence[WebhookSecret]:
    """Give it new secrets, and let the present ones expire after `overlap`. All that are live then.

    Raises TooManySecrets.
    """
    await session.exec(
        update(WebhookSecret)
        .where(*_of(organization_id, endpoint_id), col(WebhookSecret.expires_at).is_(None))
        .values(expires_at=now + overlap)
    )
    await _add(session, box, organization_id, endpoint_id, now)
    found = await live(session, organization_id, endpoint_id, now)
    if len(found) > MAX_LIVE * len(SecretKind):
        raise TooManySecrets
    return found


async def live(
    session: AsyncSession, organization_id: UUID, endpoint_id: UUID | None, now: datetime
) -> Sequence[WebhookSecret]:
    """Those that sign now, the newest first."""
    return (
        await session.exec(
            select(WebhookSecret)
            .where(*_of(organization_id, endpoint_id), is_live(now))
            .order_by(col(WebhookSecret.id).desc())
        )
    ).all()


def is_live(now: datetime) -> ColumnElement[bool]:
    expires_at = col(WebhookSecret.expires_at)
    return expires_at.is_(None) | (expires_at > now)


def _of(organization_id: UUID, endpoint_id: UUID | None) -> tuple[ColumnElement[bool], ...]:
    return (
        col(WebhookSecret.organization_id) == organization_id,
        col(WebhookSecret.endpoint_id).is_not_distinct_from(endpoint_id),
    )


async def _add(
    session: AsyncSession, box: SecretBox, organization_id: UUID, endpoint_id: UUID | None, now: datetime
) -> None:
    """Where another transaction was faster, its secrets stand."""
    rows = []
    for kind in SecretKind:
        key = SigningKey(kind, secrets.token_bytes(SECRET_BYTES))
        row = WebhookSecret(
            organization_id=organization_id,
            endpoint_id=endpoint_id,
            kind=kind,
            ciphertext=box.seal(key.secret),
            public_key=key.public_key,
            created_at=now,
        )
        rows.append(row.model_dump())
    await session.exec(insert(WebhookSecret).values(rows).on_conflict_do_nothing())
