"""credit_grants, ledger_accounts, ledger_transactions, ledger_entries, low_balances.

Only the SQL functions of migrations 0004 and 0016 write here. No foreign key of the ledger cascades: an
organization that ever had credits cannot be deleted, and jobs and keys may go while their entries stay.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Computed, Index, UniqueConstraint
from sqlmodel import Field, SQLModel

from impasto_core.database.columns import created_now, organization_key, primary_key, timestamp

MAX_CREDITS = 10**12
"""The most credits that one call moves: some 30,000 years of a GPU."""


class GrantSource(StrEnum):
    MONTHLY = "monthly"
    PURCHASE = "purchase"
    PROMOTION = "promotion"
    MANUAL = "manual"


class AccountKind(StrEnum):
    """Where an organization's credits are. The house is where they come from, and so is below zero.

    SPENT: for finished jobs. REFUNDS: taken back because their money went back. OWED: to be taken back as
    soon as the organization has credits again.
    """

    HOUSE = "house"
    GRANT = "grant"
    HOLDS = "holds"
    SPENT = "spent"
    REFUNDS = "refunds"
    OWED = "owed"


class TransactionKind(StrEnum):
    """SETTLE captures what a job cost and releases the rest. REPAY takes back what was owed."""

    GRANT = "grant"
    HOLD = "hold"
    SETTLE = "settle"
    EXPIRE = "expire"
    CLAW_BACK = "claw_back"
    REPAY = "repay"


class CreditGrant(SQLModel, table=True):
    """Credits given to an organization, and on what terms. What is left of them is its account's balance.

    Grants are spent by `priority`, lowest first, then earliest `valid_until`, then earliest creation.
    `reference` says what the grant is for, once for each organization.
    """

    __tablename__ = "credit_grants"
    __table_args__ = (
        CheckConstraint("source IN ('monthly', 'purchase', 'promotion', 'manual')", name="source"),
        CheckConstraint(f"amount BETWEEN 1 AND {MAX_CREDITS}", name="amount"),
        CheckConstraint("valid_until > valid_from", name="validity"),
        UniqueConstraint("organization_id", "reference"),
    )

    id: UUID = primary_key()
    organization_id: UUID = Field(foreign_key="organizations.id")
    source: str = Field(max_length=16)
    amount: int = Field(sa_type=BigInteger)
    priority: int
    valid_from: datetime = timestamp()
    valid_until: datetime | None = timestamp(default=None)
    reference: str = Field(max_length=200)
    created_at: datetime = created_now()


class LedgerAccount(SQLModel, table=True):
    """One for each grant, and one of each other kind for every organization.

    `balance` is the sum of its entries: a trigger keeps it, and nothing else can. `valid_until` is the
    grant's, here again so that the credits that are due to expire are found by an index. Indexes have
    `funded` in place of the balance: while no indexed column changes, PostgreSQL updates a row without
    touching any index, and some of these rows change with every job.
    """

    __tablename__ = "ledger_accounts"
    __table_args__ = (
        CheckConstraint("kind IN ('house', 'grant', 'holds', 'spent', 'refunds', 'owed')", name="kind"),
        CheckConstraint("(kind = 'grant') = (grant_id IS NOT NULL)", name="grant"),
        CheckConstraint("balance >= 0 OR kind = 'house'", name="balance"),
        Index(
            "ix_ledger_accounts_organization_id_kind",
            "organization_id",
            "kind",
            unique=True,
            postgresql_where="kind <> 'grant'",
        ),
        Index(
            "ix_ledger_accounts_spendable",
            "organization_id",
            postgresql_where="kind = 'grant' AND funded",
        ),
        Index(
            "ix_ledger_accounts_due",
            "valid_until",
            postgresql_where="valid_until IS NOT NULL AND funded",
        ),
        {"postgresql_with": {"fillfactor": 50}},
    )

    id: UUID = primary_key()
    organization_id: UUID = Field(foreign_key="organizations.id")
    kind: str = Field(max_length=16)
    grant_id: UUID | None = Field(default=None, foreign_key="credit_grants.id", unique=True)
    valid_until: datetime | None = timestamp(default=None)
    balance: int = Field(default=0, sa_type=BigInteger)
    funded: bool | None = Field(default=None, sa_column_args=(Computed("balance > 0", persisted=True),))


class LedgerTransaction(SQLModel, table=True):
    """One movement of credits. `business_key` says what for, and keeps it from happening twice."""

    __tablename__ = "ledger_transactions"
    __table_args__ = (
        CheckConstraint("kind IN ('grant', 'hold', 'settle', 'expire', 'claw_back', 'repay')", name="kind"),
        UniqueConstraint("organization_id", "business_key"),
        Index("ix_ledger_transactions_organization_id_id", "organization_id", "id"),
    )

    id: UUID = primary_key()
    organization_id: UUID = Field(foreign_key="organizations.id")
    kind: str = Field(max_length=16)
    business_key: str = Field(max_length=300)
    job_id: UUID | None = None
    api_key_id: UUID | None = None
    description: str = Field(max_length=500)
    created_at: datetime = created_now()


class LedgerEntry(SQLModel, table=True):
    """What a transaction adds to an account, or takes from it where `amount` is negative.

    `organization_id` is that of both: the trigger that posts entries sees to it.
    """

    __tablename__ = "ledger_entries"
    __table_args__ = (CheckConstraint("amount <> 0", name="amount"),)

    transaction_id: UUID = Field(foreign_key="ledger_transactions.id", primary_key=True)
    account_id: UUID = Field(foreign_key="ledger_accounts.id", primary_key=True, index=True)
    organization_id: UUID
    amount: int = Field(sa_type=BigInteger)


class LowBalance(SQLModel, table=True):
    """An organization that was told that its credits are low, and has had few ever since."""

    __tablename__ = "low_balances"

    organization_id: UUID = organization_key(primary_key=True)
    told_at: datetime = timestamp()
