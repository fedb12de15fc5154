"""`impasto-webhooks` that tries again after seconds, not after minutes: a run has to come to its end."""

from __future__ import annotations

from datetime import timedelta

from impasto_workers.webhooks import main, schedule

DELAYS = (0, 0.5, 1, 1, 2, 2, 4, 4, 4, 4)
"""Seconds, as many as in life."""

if __name__ == "__main__":
    schedule.DELAYS = tuple(timedelta(seconds=delay) for delay in DELAYS)
    main.main()
