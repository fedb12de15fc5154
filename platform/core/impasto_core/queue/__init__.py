"""Wake-ups: the Dramatiq message that tells a pool's workers to look for a job.

The message carries no job. A lost one is sent again by the sweeper, a doubled one finds nothing to do.
"""

from impasto_core.queue.brokers import BROKER_ERRORS, Broker, make_broker
from impasto_core.queue.wake_ups import ACTOR, QueueUnavailable, WakeUps

__all__ = ["ACTOR", "BROKER_ERRORS", "Broker", "QueueUnavailable", "WakeUps", "make_broker"]
