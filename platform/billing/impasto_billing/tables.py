"""Every table of billing, imported in one place: what the migrations are compared with, beside core's."""

from impasto_billing.plans.tables import OrganizationPlan, PlanRow

__all__ = ["OrganizationPlan", "PlanRow"]
