"""Ctrl-C, `kill` and a closed terminal, as an exception that unwinds through every `with`."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequested(BaseException):
    """Somebody wants us to stop. No Exception, so that nothing on the way takes it for an error."""

    def __init__(self, by: signal.Signals) -> None:
        super().__init__(by.name)
        self.by = by


@contextmanager
def stop_requests() -> Iterator[None]:
    """Within, the first such signal raises StopRequested in the main thread. Later ones are ignored, so that
    nothing interrupts the stopping; that has deadlines of its own."""

    def stop(number: int, frame: FrameType | None) -> None:
        for each in _STOPPING:
            signal.signal(each, signal.SIG_IGN)
        raise StopRequested(signal.Signals(number))

    before = {each: signal.signal(each, stop) for each in _STOPPING}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
