"""Plans: what each costs and allows, from one file, and which organization is on which."""

from impasto_billing.plans.plan import FREE, Plan, read_plans

__all__ = ["FREE", "Plan", "read_plans"]
