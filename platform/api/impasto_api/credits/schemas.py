"""Credits as callers see them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import AwareDatetime, BaseModel, Field

from impasto_billing.ledger.tables import (
    AccountKind,
    CreditGrant,
    GrantSource,
    LedgerTransaction,
    TransactionKind,
)
from impasto_core.ids import ApiKeyId, CreditEntryId, CreditGrantId, JobId

SOON_DAYS = 7


class CreditBalanceView(BaseModel):
    """Credits of the organization. One credit is one second of a GPU."""

    object: Literal["credit_balance"] = "credit_balance"
    available: int = Field(description="Can be spent now.", examples=[497])
    held: int = Field(description="Reserved by jobs that are queued or running.", examples=[3])
    owed: int = Field(description="Taken from the next ones, as a payment was taken back.", examples=[0])
    expiring_soon: int = Field(
        description=f"Of those available, what expires within {SOON_DAYS} days.", examples=[0]
    )
    next_expiry: AwareDatetime | None = Field(description="When the first of those available expire.")


class CreditGrantView(BaseModel):
    """Credits that were given. They are spent by priority, then earliest expiry, then earliest creation."""

    id: CreditGrantId
    object: Literal["credit_grant"] = "credit_grant"
    source: GrantSource
    amount: int = Field(examples=[500])
    remaining: int = Field(description="Neither spent, held, expired nor taken back.", examples=[497])
    priority: int = Field(description="The lowest is spent first.")
    valid_from: AwareDatetime
    valid_until: AwareDatetime | None = Field(description="Null is for ever.")
    reference: str = Field(description="What they were given for.", examples=["monthly:2026-11"])
    created_at: AwareDatetime

    @classmethod
    def of(cls, grant: CreditGrant, *, remaining: int) -> CreditGrantView:
        return cls(**grant.model_dump(exclude={"organization_id"}), remaining=remaining)


class CreditEntryView(BaseModel):
    """One movement of credits, and what it added to or took from each part of the balance."""

    id: CreditEntryId
    object: Literal["credit_entry"] = "credit_entry"
    kind: TransactionKind = Field(
        description="`settle` ends a hold: a part is spent, the rest is back. `repay` takes what is owed."
    )
    available: int = Field(description="Credits.", examples=[-3])
    held: int = Field(description="Credits.", examples=[3])
    spent: int = Field(description="Credits.", examples=[0])
    owed: int = Field(description="Credits.", examples=[0])
    job_id: JobId | None
    api_key_id: ApiKeyId | None
    description: str
    created_at: AwareDatetime

    @classmethod
    def of(cls, transaction: LedgerTransaction, amounts: Mapping[str, int]) -> CreditEntryView:
        return cls(
            **transaction.model_dump(exclude={"organization_id", "business_key"}),
            available=amounts.get(AccountKind.GRANT, 0),
            held=amounts.get(AccountKind.HOLDS, 0),
            spent=amounts.get(AccountKind.SPENT, 0),
            owed=amounts.get(AccountKind.OWED, 0),
        )
