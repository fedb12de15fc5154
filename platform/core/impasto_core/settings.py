"""Settings of every process, read from `IMPASTO_*` environment variables."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_network
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

DEVELOPMENT_PEPPER = "development-pepper-never-in-production"
DEVELOPMENT_ENCRYPTION_KEY = "ZGV2ZWxvcG1lbnQta2V5LW5ldmVyLWluLXByb2R1Y3Q="
_MIN_SECRET_LENGTH = 32

POOL_NAME = r"^[A-Za-z_][A-Za-z0-9_-]{0,62}$"
"""What Dramatiq and SQS take for the name of a queue."""


class Settings(BaseSettings):
    """What a process needs to know of its surroundings.

    Each process is given the database URL of its own role: the API that of `impasto_api`, workers and
    sweeper that of `impasto_worker`, `impastoctl` that of the owner. No process holds another's password.
    """

    # A message about a wrong setting would print all the others, passwords included.
    model_config = SettingsConfigDict(env_prefix="IMPASTO_", extra="ignore", hide_input_in_errors=True)

    environment: Literal["development", "production"] = "development"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "text"] = "json"
    metrics_host: str = "127.0.0.1"
    metrics_port: int | None = Field(
        default=None, ge=0, le=65535, description="Serves /metrics to Prometheus; 0 is any free port."
    )

    database_url: SecretStr = Field(description="PostgreSQL URL of this process's own role.")
    database_pool_size: int = Field(default=10, ge=1)
    redis_url: SecretStr = Field(description="Redis 7 or Valkey: event streams, rate limits, wake-ups.")

    broker: Literal["redis", "sqs"] = Field(default="redis", description="What carries wake-ups.")
    sqs_endpoint_url: str | None = Field(default=None, description="None means Amazon SQS.")
    sqs_region: str = "us-east-1"
    sqs_access_key_id: SecretStr | None = Field(
        default=None, description="None means the machine's own AWS identity."
    )
    sqs_secret_access_key: SecretStr | None = None
    sqs_queue_prefix: str = Field(
        default="impasto",
        pattern=r"^[A-Za-z0-9_-]{1,16}$",  # with a pool's name of 63, the 80 characters that SQS allows
        description="Queues are called <prefix>_<pool>.",
    )

    s3_endpoint_url: str | None = Field(default=None, description="None means Amazon S3.")
    s3_public_endpoint_url: str | None = Field(
        default=None, description="Endpoint that clients reach, where it differs from ours; signs URLs."
    )
    s3_region: str = "us-east-1"
    s3_bucket: str = "impasto"
    s3_access_key_id: SecretStr | None = Field(
        default=None, description="None means the machine's own AWS identity."
    )
    s3_secret_access_key: SecretStr | None = None
    download_url_seconds: int = Field(default=3600, ge=1, le=7 * 86400)
    upload_url_seconds: int = Field(default=900, ge=1, le=86400)

    payments_database_url: SecretStr | None = Field(
        default=None, description="The sweeper's second URL, of the role that handles payments."
    )
    stripe_secret_key: SecretStr | None = None
    stripe_webhook_secret: SecretStr | None = Field(default=None, description="whsec_... of our endpoint.")
    stripe_api_base: str = "https://api.stripe.com"
    lemon_squeezy_api_key: SecretStr | None = None
    lemon_squeezy_webhook_secret: SecretStr | None = None
    lemon_squeezy_store_id: str | None = None
    lemon_squeezy_variants: dict[str, str] = Field(
        default={},
        description='What is sold and the id of its variant, as JSON: {"pro": "123", "small": "456"}.',
    )
    lemon_squeezy_api_base: str = "https://api.lemonsqueezy.com"
    payment_return_hosts: list[str] = Field(
        default=[], description="Hosts to which a checkout may lead back, as JSON."
    )

    api_key_pepper: SecretStr = Field(
        default=SecretStr(DEVELOPMENT_PEPPER), description="Key of the HMAC under which API keys are stored."
    )
    api_host: str = "127.0.0.1"
    api_port: int = Field(default=8000, ge=0, le=65535)
    max_body_bytes: int = 1_000_000
    max_followers: int = Field(
        default=1000, ge=1, description="Streams and waits of one organization, open at once in one process."
    )
    idempotency_hours: int = Field(default=24, ge=1)
    address_requests_per_minute: int = Field(
        default=600, ge=1, description="Requests that an address may send without a known API key."
    )
    failed_authentications_per_minute: int = Field(
        default=30, ge=1, description="Wrong API keys that an address may send."
    )
    trusted_proxies: str = Field(
        default="", description="Addresses and networks, comma-separated, whose X-Forwarded-For is believed."
    )

    encryption_keys: SecretStr = Field(
        default=SecretStr(DEVELOPMENT_ENCRYPTION_KEY),
        description="Fernet keys, comma-separated, under which webhook secrets are stored: the first seals.",
    )
    webhook_allowed_networks: str = Field(
        default="", description="Networks, comma-separated, that webhooks may reach though they are private."
    )

    top_up_url: str = Field(
        default="https://impasto.dev/billing", description="Where people get more credits: problems name it."
    )
    default_model: str = Field(default="impasto-shapes", description="Slug used where a request names none.")

    worker_pool: str = Field(default="default", pattern=POOL_NAME)
    worker_device: str = Field(default="cpu", pattern=r"^(cpu|mps|cuda(:\d+)?)$")
    worker_data_dir: Path = Field(default=Path(".impasto/worker"), description="Model cache and scratch.")
    worker_ready_file: Path | None = Field(
        default=None, description="Written once the runtime is warm; for supervisors and probes."
    )
    worker_grace_seconds: float = Field(
        default=30, ge=0, description="After SIGTERM, time for the running job before it is given back."
    )
    lease_seconds: float = Field(default=30, gt=0)
    job_time_limit_seconds: float = Field(default=600, gt=0, description="For one attempt on the device.")
    job_total_limit_seconds: float = Field(
        default=24 * 3600, gt=0, description="From creation to the end; jobs may ask for less."
    )
    sweep_seconds: float = Field(
        default=0.5, gt=0, description="Pause between two looks of the sweeper for lost workers."
    )

    @field_validator("trusted_proxies", "webhook_allowed_networks")
    @classmethod
    def _are_networks(cls, networks: str) -> str:
        for network in filter(None, networks.split(",")):
            ip_network(network.strip())
        return networks

    @model_validator(mode="after")
    def _payments_are_whole(self) -> Self:
        if self.stripe_secret_key and not self.stripe_webhook_secret:
            raise ValueError("IMPASTO_STRIPE_SECRET_KEY needs IMPASTO_STRIPE_WEBHOOK_SECRET")
        if self.lemon_squeezy_api_key and not (
            self.lemon_squeezy_webhook_secret and self.lemon_squeezy_store_id
        ):
            raise ValueError(
                "IMPASTO_LEMON_SQUEEZY_API_KEY needs IMPASTO_LEMON_SQUEEZY_WEBHOOK_SECRET and"
                " IMPASTO_LEMON_SQUEEZY_STORE_ID"
            )
        for base in (self.stripe_api_base, self.lemon_squeezy_api_base):
            if self.environment == "production" and not base.startswith("https://"):
                raise ValueError("payment providers are reached over https in production")
        return self

    @model_validator(mode="after")
    def _production_has_its_own_secrets(self) -> Self:
        pepper = self.api_key_pepper.get_secret_value()
        if self.environment == "production" and (
            pepper == DEVELOPMENT_PEPPER or len(pepper) < _MIN_SECRET_LENGTH
        ):
            raise ValueError(
                "IMPASTO_API_KEY_PEPPER must be a secret of its own in production,"
                f" of {_MIN_SECRET_LENGTH} characters at least"
            )
        return self


@lru_cache
def get_settings() -> Settings:
    """The process's settings, read once."""
    return Settings()
