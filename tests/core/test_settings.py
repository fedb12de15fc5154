"""Settings: from the environment, and strict in production."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from impasto_core.settings import DEVELOPMENT_PEPPER, Settings

REQUIRED = {
    "IMPASTO_DATABASE_URL": "postgresql://impasto_api:hush@127.0.0.1/impasto",
    "IMPASTO_REDIS_URL": "redis://:hush@127.0.0.1/0",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in REQUIRED.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_settings_come_from_the_environment(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("IMPASTO_API_PORT", "0")
    environment.setenv("IMPASTO_WORKER_DEVICE", "cuda:1")
    settings = Settings()
    assert settings.api_port == 0
    assert settings.worker_device == "cuda:1"
    assert settings.redis_url.get_secret_value() == REQUIRED["IMPASTO_REDIS_URL"]


@pytest.mark.parametrize("name", REQUIRED)
def test_a_process_does_not_start_without_its_servers(environment: pytest.MonkeyPatch, name: str) -> None:
    environment.delenv(name)
    with pytest.raises(ValidationError, match=name.removeprefix("IMPASTO_").lower()):
        Settings()


def test_development_needs_no_secret_of_its_own() -> None:
    assert Settings().api_key_pepper.get_secret_value() == DEVELOPMENT_PEPPER


@pytest.mark.parametrize("pepper", [None, DEVELOPMENT_PEPPER, "", "short"])
def test_production_refuses_to_start_on_a_development_secret(
    environment: pytest.MonkeyPatch, pepper: str | None
) -> None:
    environment.setenv("IMPASTO_ENVIRONMENT", "production")
    if pepper is not None:
        environment.setenv("IMPASTO_API_KEY_PEPPER", pepper)
    with pytest.raises(ValidationError, match="IMPASTO_API_KEY_PEPPER"):
        Settings()


def test_production_starts_on_a_secret_of_its_own(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("IMPASTO_ENVIRONMENT", "production")
    environment.setenv("IMPASTO_API_KEY_PEPPER", "a secret of production, long enough to be one")
    assert Settings().environment == "production"


def test_settings_that_are_logged_by_mistake_give_no_secret_away(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("IMPASTO_API_KEY_PEPPER", "hush pepper")
    environment.setenv("IMPASTO_S3_SECRET_ACCESS_KEY", "hush key")
    settings = Settings()
    assert "hush" not in f"{settings!r} {settings} {settings.model_dump_json()}"


def test_the_message_about_a_wrong_setting_gives_no_secret_away(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("IMPASTO_ENVIRONMENT", "production")
    environment.setenv("IMPASTO_API_KEY_PEPPER", "hush pepper")
    with pytest.raises(ValidationError) as refused:
        Settings()
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("API_PORT", "65536"),
        ("WORKER_DEVICE", "gpu"),
        ("LEASE_SECONDS", "0"),
        ("DOWNLOAD_URL_SECONDS", str(8 * 86400)),  # more than S3 signs for
        ("LOG_LEVEL", "loud"),
        ("BROKER", "kafka"),
        ("SQS_QUEUE_PREFIX", "im.pasto"),
        ("WORKER_POOL", "gpu 1"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_by_name(
    environment: pytest.MonkeyPatch, name: str, value: str
) -> None:
    environment.setenv(f"IMPASTO_{name}", value)
    with pytest.raises(ValidationError, match=name.lower()):
        Settings()


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"STRIPE_SECRET_KEY": "sk_test_1"}, "IMPASTO_STRIPE_WEBHOOK_SECRET"),
        ({"LEMON_SQUEEZY_API_KEY": "key"}, "IMPASTO_LEMON_SQUEEZY_WEBHOOK_SECRET"),
        (
            {"LEMON_SQUEEZY_API_KEY": "key", "LEMON_SQUEEZY_WEBHOOK_SECRET": "secret"},
            "IMPASTO_LEMON_SQUEEZY_STORE_ID",
        ),
    ],
)
def test_half_a_payment_provider_is_none(
    environment: pytest.MonkeyPatch, given: dict[str, str], missing: str
) -> None:
    for name, value in given.items():
        environment.setenv(f"IMPASTO_{name}", value)
    with pytest.raises(ValidationError, match=missing):
        Settings()


def test_production_reaches_payment_providers_over_https(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("IMPASTO_ENVIRONMENT", "production")
    environment.setenv("IMPASTO_API_KEY_PEPPER", "a secret of production, long enough to be one")
    environment.setenv("IMPASTO_STRIPE_API_BASE", "http://127.0.0.1:1234")
    with pytest.raises(ValidationError, match="https"):
        Settings()


def test_variants_and_hosts_are_written_as_json(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("IMPASTO_LEMON_SQUEEZY_VARIANTS", '{"pro": "123"}')
    environment.setenv("IMPASTO_PAYMENT_RETURN_HOSTS", '["app.example.com"]')
    settings = Settings()
    assert settings.lemon_squeezy_variants == {"pro": "123"}
    assert settings.payment_return_hosts == ["app.example.com"]
