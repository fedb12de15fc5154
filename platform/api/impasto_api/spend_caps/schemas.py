"""Spend caps and alerts as callers see them."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from impasto_billing.ledger.tables import MAX_CREDITS
from impasto_billing.spending.tables import SpendAlert, SpendCap
from impasto_core.ids import ApiKeyId, SpendAlertId, SpendCapId

_WHOSE = "The key whose spending it is; null is the whole organization's."


class SpendCapSet(BaseModel):
    model_config = ConfigDict(extra="forbid")

    amount: int = Field(
        ge=0, le=MAX_CREDITS, description="Credits a calendar month, in UTC.", examples=[1000]
    )
    api_key_id: ApiKeyId | None = Field(
        default=None, description="The key to cap; the whole organization, if null."
    )


class SpendCapView(BaseModel):
    """The most that an organization or one of its keys may spend in a calendar month, in UTC."""

    id: SpendCapId
    object: Literal["spend_cap"] = "spend_cap"
    api_key_id: ApiKeyId | None = Field(description=_WHOSE)
    amount: int = Field(description="Credits a month.")
    spent: int = Field(
        description="Credits of this month's jobs: spent, or held by those that have not ended."
    )
    created_at: AwareDatetime
    updated_at: AwareDatetime

    @classmethod
    def of(cls, cap: SpendCap, *, spent: int) -> SpendCapView:
        return cls(**cap.model_dump(exclude={"organization_id"}), spent=spent)


class SpendAlertView(BaseModel):
    """Spending has reached 50, 80 or 100 % of a cap. Recorded once a month for each amount of the cap."""

    id: SpendAlertId
    object: Literal["spend_alert"] = "spend_alert"
    api_key_id: ApiKeyId | None = Field(description=_WHOSE)
    month: str = Field(description="The calendar month, in UTC.", examples=["2026-11"])
    percent: Literal[50, 80, 100]
    cap: int = Field(description="Credits a month, at that time.")
    spent: int = Field(description="Spent and held, at that time.")
    created_at: AwareDatetime

    @classmethod
    def of(cls, alert: SpendAlert) -> SpendAlertView:
        fields = alert.model_dump(exclude={"organization_id", "month"})
        return cls(**fields, month=f"{alert.month:%Y-%m}")
