"""Billing's tables, imported in one place: with core's, all that the migrations make."""

from sqlmodel import SQLModel

from impasto_billing.ledger.tables import (
    CreditGrant,
    LedgerAccount,
    LedgerEntry,
    LedgerTransaction,
    LowBalance,
)
from impasto_billing.payments.tables import (
    AutoTopUp,
    BillingCustomer,
    ProviderEvent,
    Purchase,
    SubscriptionRow,
    TopUp,
    UsageReport,
)
from impasto_billing.plans.tables import OrganizationPlan, PlanRow
from impasto_billing.spending.tables import SpendAlert, SpendCap, Spending

__all__ = [
    "AutoTopUp",
    "BillingCustomer",
    "CreditGrant",
    "LedgerAccount",
    "LedgerEntry",
    "LedgerTransaction",
    "LowBalance",
    "OrganizationPlan",
    "PlanRow",
    "ProviderEvent",
    "Purchase",
    "SpendAlert",
    "SpendCap",
    "Spending",
    "SubscriptionRow",
    "TopUp",
    "UsageReport",
    "metadata",
]

metadata = SQLModel.metadata
