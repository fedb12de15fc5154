"""`impasto-worker`: one process, one device, one job on it at a time."""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import dramatiq
from dramatiq.asyncio import EventLoopThread, set_event_loop_thread

from impasto_core.queue import ACTOR, BROKER_ERRORS, Broker, WakeUps, make_broker
from impasto_core.settings import Settings, get_settings
from impasto_core.telemetry import configure_logging, telemetry
from impasto_workers.actor import JobRunner
from impasto_workers.runtime import open_runtime
from impasto_workers.services import GraphRuntime, open_services
from impasto_workers.telemetry import measure_runtime
from impasto_workers.warm_up import warm_up
from impasto_workers.watchdog import Watchdog

logger = logging.getLogger(__name__)

POLL_MILLISECONDS = 20
"""How often Redis is asked for a message at least: the longest that a job waits for an idle worker."""

SETTLE_SECONDS = 15
"""Time after the grace period to give the job back."""


def main() -> None:
    settings = get_settings()
    configure_logging(settings)
    if settings.worker_ready_file is not None:
        settings.worker_ready_file.unlink(missing_ok=True)  # left by one that was killed
    faulthandler.register(signal.SIGUSR1)  # the watchdog asks for the stack of every thread
    process = WorkerProcess(settings)
    # Dramatiq's AsyncIO middleware would make such a thread too, but only once it takes messages. Ours is
    # there before and after, so that connections are opened, used and closed on one loop.
    thread = EventLoopThread(logging.getLogger("dramatiq.asyncio"))
    thread.start()
    set_event_loop_thread(thread)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: thread.loop.call_soon_threadsafe(process.close))
    try:
        with telemetry(settings, "impasto-worker"):
            code = thread.run_coroutine(process.run())
    except Exception:
        logger.exception("the worker ends")
        code = 1
    finally:
        thread.stop()  # type: ignore[no-untyped-call]
    if process.left_a_run_behind:
        os._exit(code)  # the interpreter would wait for the device's thread
    sys.exit(code)


class WorkerProcess:
    """Lives on the event loop, `close` included."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._runner: JobRunner | None = None
        self._closing = asyncio.Event()
        self._code = 0
        self.left_a_run_behind = False

    async def run(self) -> int:
        """The exit code, once the process was closed and its job has ended or was given back."""
        settings = self._settings
        broker = make_broker(settings)
        watchdog = Watchdog(settings.lease_seconds)
        beating = asyncio.create_task(watchdog.beat_forever())
        async with open_services(settings, WakeUps(broker), self._open_runtime) as services:
            measure_runtime(services.runtime)
            await warm_up(services)
            self._runner = JobRunner(services, on_stuck=self._give_up, hold=watchdog.hold)
            consumer = take_messages(broker, self._runner, settings.worker_pool)
            with ready_file(settings.worker_ready_file):
                logger.info("ready on %s for pool %s", settings.worker_device, settings.worker_pool)
                await self._closing.wait()
            logger.info("closing")
            self._runner.close(settings.worker_grace_seconds)
            await asyncio.to_thread(stop, consumer, settings.worker_grace_seconds + SETTLE_SECONDS)
            with suppress(TimeoutError):
                async with asyncio.timeout(settings.worker_grace_seconds + SETTLE_SECONDS):
                    await self._runner.finish()
            self.left_a_run_behind = services.gpu.is_busy
        beating.cancel()
        watchdog.close()
        return self._code

    def close(self) -> None:
        """At the first call the running job may end, at the second it is given back at once."""
        if self._runner is None:
            os._exit(0)  # it has no job yet, and the imports of a runtime cannot be interrupted
        if self._closing.is_set():
            self._runner.give_back()
        self._closing.set()

    def _give_up(self) -> None:
        self._code = 1
        self._closing.set()

    def _open_runtime(self) -> GraphRuntime:
        return open_runtime(self._settings.worker_data_dir / "runtime", device=self._settings.worker_device)


def take_messages(broker: Broker, runner: JobRunner, pool: str) -> dramatiq.Worker:
    """Start taking the pool's wake-ups.

    The broker has no middleware: a wake-up is not retried, has no time limit and no age. The job has all
    that, in PostgreSQL.
    """
    dramatiq.actor(broker=broker, actor_name=ACTOR, queue_name=pool)(runner.paint_next_job)
    consumer = dramatiq.Worker(broker, queues={pool}, worker_threads=1, worker_timeout=POLL_MILLISECONDS)
    consumer.queue_prefetch = 1  # a second message would wait here while other workers are idle
    consumer.delay_prefetch = 0  # nothing is ever delayed: that queue is not to be asked 50 times a second
    consumer.start()
    return consumer


def stop(consumer: dramatiq.Worker, seconds: float) -> None:
    """Wait for the job on the device, and hand back the message that may be waiting behind it."""
    try:
        consumer.stop(timeout=int(seconds * 1000))
    except BROKER_ERRORS as error:
        logger.warning("the broker is away, the sweeper will repeat what it forgot: %s", error)


@contextmanager
def ready_file(path: Path | None) -> Iterator[None]:
    """There while this worker takes jobs."""
    if path is not None:
        path.write_text(str(os.getpid()))
    try:
        yield
    finally:
        if path is not None:
            path.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
