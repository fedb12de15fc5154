"""Payments: money in by way of Stripe or Lemon Squeezy, credits and plans out.

An event of a provider is only a hint that something changed. What is believed is the object itself, fetched
anew for every event (`provider`), and what follows from it is worked out from the object alone, and done once
(`bookkeeping`). So events may come late, twice, in any order or, since `reconcile` asks for what was missed,
not at all.
"""
