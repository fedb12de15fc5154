"""Gauges of what PostgreSQL knows, for metrics: told by the leading sweeper, and so told once."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import TimeoutError as TooSlow
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation

from impasto_core.database import DATABASE_ERRORS

logger = logging.getLogger(__name__)
meter = metrics.get_meter(__name__)

PATIENCE_SECONDS = 3
"""A scrape does not wait longer for PostgreSQL: then it hears nothing of what is asked for."""

FRESH_SECONDS = 1.0
"""One query serves all the gauges of one scrape."""

State = TypeVar("State")


@dataclass(frozen=True)
class Gauge(Generic[State]):
    name: str
    unit: str
    description: str
    value: Callable[[State], float]


class Gauges(Generic[State]):
    """To be made on the event loop. Collectors ask in threads of their own, and only while `leads()`.

    look: what there is to tell now, an observation each; raises one of DATABASE_ERRORS.
    labels: of an observation.
    """

    def __init__(
        self,
        look: Callable[[], Coroutine[Any, Any, Sequence[State]]],
        gauges: Sequence[Gauge[State]],
        *,
        labels: Callable[[State], Mapping[str, str | int]] = lambda _: {},
        leads: Callable[[], bool],
    ) -> None:
        self._look = look
        self._labels = labels
        self._leads = leads
        self._loop = asyncio.get_running_loop()
        self._latest: Sequence[State] = ()
        self._asked_at = float("-inf")
        for gauge in gauges:
            meter.create_observable_gauge(
                gauge.name, [self._observer(gauge.value)], gauge.unit, gauge.description
            )

    def _observer(
        self, value: Callable[[State], float]
    ) -> Callable[[CallbackOptions], Iterator[Observation]]:
        def observe(options: CallbackOptions) -> Iterator[Observation]:
            for state in self._ask():
                yield Observation(value(state), self._labels(state))

        return observe

    def _ask(self) -> Sequence[State]:
        if not self._leads():
            return ()
        if time.monotonic() - self._asked_at > FRESH_SECONDS:
            asked = asyncio.run_coroutine_threadsafe(self._look(), self._loop)
            try:
                self._latest = asked.result(PATIENCE_SECONDS)
            except (TooSlow, *DATABASE_ERRORS) as error:
                asked.cancel()
                logger.warning("could not look at what there is to measure: %r", error)
                self._latest = ()
            self._asked_at = time.monotonic()
        return self._latest
