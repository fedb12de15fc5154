"""API keys as callers see them. The token itself is in the answer that makes a key, and nowhere else."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from impasto_core.api_keys.scopes import DEFAULT_SCOPES, Scope
from impasto_core.api_keys.tables import ApiKey
from impasto_core.api_keys.tokens import Mode
from impasto_core.api_versions import LATEST
from impasto_core.fields import Moment, Text
from impasto_core.ids import ApiKeyId

MAX_GRACE_SECONDS = 7 * 86400


class ApiKeyCreate(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Text = Field(min_length=1, max_length=100, examples=["nightly batch"])
    mode: Mode = Field(default="live", description="Jobs carry the mode of the key that made them.")
    scopes: list[Scope] = Field(
        default=list(DEFAULT_SCOPES),
        min_length=1,
        max_length=32,
        description="Only such as your own key has.",
    )
    expires_at: Moment | None = Field(default=None, description="Never, if null.")


class ApiKeyRoll(BaseModel):
    model_config = ConfigDict(extra="forbid")

    grace_seconds: int = Field(
        default=0, ge=0, le=MAX_GRACE_SECONDS, description="For how long the old key goes on working."
    )


class ApiKeyView(BaseModel):
    """An API key, without its secret."""

    id: ApiKeyId
    object: Literal["api_key"] = "api_key"
    name: str
    mode: Mode
    hint: str = Field(description="How the token begins, to recognise it by.", examples=["imp_live_Z7aOjG"])
    scopes: list[Scope]
    api_version: str = Field(
        description="The version of the API that its requests speak, unless they name another.",
        examples=[LATEST],
    )
    created_at: AwareDatetime
    expires_at: AwareDatetime | None
    last_used_at: AwareDatetime | None = Field(description="Accurate to a few seconds.")
    revoked_at: AwareDatetime | None
    successor_id: ApiKeyId | None = Field(description="The key that it was rolled to.")

    @classmethod
    def of(cls, key: ApiKey) -> ApiKeyView:
        return cls(**_fields(key))


class NewApiKeyView(ApiKeyView):
    """A key just made. `secret` is the token: keep it safe, it cannot be shown again."""

    secret: str = Field(examples=["imp_live_Z7aOjGGZRQXJoKnhle4Kx7ZVKm6PYpfEkgGfl92BQnaM4aiWon"])

    @classmethod
    def made(cls, key: ApiKey, secret: str) -> NewApiKeyView:
        return cls(**_fields(key), secret=secret)


def _fields(key: ApiKey) -> dict[str, object]:
    stored = key.model_dump(exclude={"organization_id", "lookup_id", "token_hash"})
    return {**stored, "hint": f"imp_{key.mode}_{key.lookup_id[:6]}"}
