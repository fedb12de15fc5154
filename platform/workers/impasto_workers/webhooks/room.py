"""How many attempts may run at once: bounded for the process, for an organization, and for each lane."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from uuid import UUID

from impasto_workers.webhooks.claims import Claimed, Lane

ATTEMPTS = 500
"""In one process, each with a connection and at most 20 kB to send."""

ATTEMPTS_OF_AN_ORGANIZATION = 100
ATTEMPTS_OF_A_LANE = 10
"""So many can hang at an endpoint while the others of its organization go on."""


class Room:
    def __init__(self) -> None:
        self._of_lanes: Counter[UUID] = Counter()
        self._of_organizations: Counter[UUID] = Counter()
        self._full_lanes: set[UUID] = set()

    @property
    def left(self) -> int:
        return ATTEMPTS - self._of_lanes.total()

    @property
    def full_lanes(self) -> list[UUID]:
        return list(self._full_lanes)

    @property
    def full_organizations(self) -> list[UUID]:
        running = self._of_organizations.items()
        return [id_ for id_, attempts in running if attempts >= ATTEMPTS_OF_AN_ORGANIZATION]

    def share_out(self, lanes: Sequence[Lane]) -> list[tuple[Lane, int]]:
        """What may be claimed now of lanes that are not full, one after the other, until nothing is left."""
        rooms: list[tuple[Lane, int]] = []
        shared: Counter[UUID] = Counter()
        for lane in lanes:
            room = min(
                _most(lane.ordered) - self._of_lanes[lane.id],
                ATTEMPTS_OF_AN_ORGANIZATION
                - self._of_organizations[lane.organization_id]
                - shared[lane.organization_id],
                self.left - shared.total(),
            )
            if room > 0:
                rooms.append((lane, room))
                shared[lane.organization_id] += room
        return rooms

    def take(self, claimed: Claimed) -> None:
        delivery = claimed.delivery
        self._of_lanes[delivery.lane] += 1
        self._of_organizations[delivery.organization_id] += 1
        ordered = claimed.endpoint is not None and claimed.endpoint.ordered
        if self._of_lanes[delivery.lane] >= _most(ordered):
            self._full_lanes.add(delivery.lane)

    def give_back(self, claimed: Claimed) -> None:
        delivery = claimed.delivery
        self._full_lanes.discard(delivery.lane)
        for counter, key in (
            (self._of_lanes, delivery.lane),
            (self._of_organizations, delivery.organization_id),
        ):
            counter[key] -= 1
            if not counter[key]:
                del counter[key]


def _most(ordered: bool) -> int:
    return 1 if ordered else ATTEMPTS_OF_A_LANE
