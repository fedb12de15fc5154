"""How signing secrets are kept, and what a receiver may ask of the schedule."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography.fernet import Fernet

from impasto_core.clock import utc_now
from impasto_core.database import Database
from impasto_core.settings import Settings
from impasto_core.webhooks import secrets
from impasto_core.webhooks.secrets import SecretBox, SecretUnreadable, TooManySecrets
from impasto_workers.webhooks.schedule import DELAYS, next_delay, parse_retry_after
from tests.webhooks.desk import Desk


def test_what_an_older_key_sealed_is_opened_and_the_newest_seals() -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    sealed = SecretBox([old]).seal(b"secret")
    assert SecretBox([new, old]).open(sealed) == b"secret"
    with pytest.raises(SecretUnreadable):
        SecretBox([old]).open(SecretBox([new, old]).seal(b"secret"))


def test_production_refuses_the_key_of_development_and_what_is_no_key(settings: Settings) -> None:
    production = {"environment": "production"}
    with pytest.raises(ValueError, match="of your own in production"):
        SecretBox.of(settings.model_copy(update=production))
    with pytest.raises(ValueError, match="Fernet keys"):
        SecretBox.of(Settings(database_url="x", redis_url="x", encryption_keys="short"))


async def test_secrets_are_sealed_where_they_are_kept(desk: Desk, box: SecretBox) -> None:
    endpoint = await desk.endpoint("https://example.com/")
    async with desk.owner.session() as session:
        kept = await secrets.live(session, desk.organization_id, endpoint.id, utc_now())
    assert {secret.kind for secret in kept} == {"hmac", "ed25519"}
    for secret in kept:
        key = secrets.signing_key(box, secret)
        assert len(key.secret) == 32
        assert key.secret not in secret.ciphertext
        assert key.public_key == secret.public_key


async def test_not_more_secrets_sign_at_once_than_a_header_holds(
    desk: Desk, box: SecretBox, api_database: Database
) -> None:
    endpoint = await desk.endpoint("https://example.com/")
    for _ in range(secrets.MAX_LIVE - 1):
        async with api_database.tenant(desk.organization_id) as session:
            await secrets.rotate(session, box, desk.organization_id, endpoint.id, utc_now())
    with pytest.raises(TooManySecrets):
        async with api_database.tenant(desk.organization_id) as session:
            await secrets.rotate(session, box, desk.organization_id, endpoint.id, utc_now())
    assert len(await desk.shown(endpoint)) == 2 * secrets.MAX_LIVE


def test_the_schedule_ends_after_ten_attempts() -> None:
    delays = [next_delay(failures, None, lambda: 0) for failures in range(1, 11)]
    assert delays == [*DELAYS[1:], None]
    assert next_delay(1, timedelta(minutes=1), lambda: 1) == timedelta(seconds=66)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        ("Sun, 22 Nov 2026 12:01:00 GMT", 60),
        ("Sun, 22 Nov 2026 11:00:00 GMT", 0),
        ("-1", None),
        ("soon", None),
        ("1" * 400, 111_111_111),
        ("\N{ARABIC-INDIC DIGIT FIVE}", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, seconds: int | None) -> None:
    now = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
    expected = None if seconds is None else timedelta(seconds=seconds)
    assert parse_retry_after(value, now) == expected
