"""Billing: credit packs, subscriptions, invoices, automatic purchases, and what payment providers send."""
