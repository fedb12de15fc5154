"""The ledger as one would explain it: credit by credit, with no thought of speed or failure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from impasto_billing.ledger.service import (
    PRIORITIES,
    Balance,
    ClawBack,
    InvalidAmount,
    LedgerConflict,
    NotEnoughCredits,
    NotInLedger,
)
from impasto_billing.ledger.tables import GrantSource


@dataclass
class PlainGrant:
    reference: str
    source: GrantSource
    amount: int
    left: int
    priority: int
    valid_from: datetime
    valid_until: datetime | None
    age: int

    def over(self, now: datetime) -> bool:
        return self.valid_until is not None and self.valid_until <= now

    def usable(self, now: datetime) -> bool:
        return self.valid_from <= now and not self.over(now)

    def place(self) -> tuple[int, float, int]:
        """Where it stands in the order in which grants burn."""
        ends = self.valid_until.timestamp() if self.valid_until else float("inf")
        return self.priority, ends, self.age


@dataclass
class PlainLedger:
    """`holds` has, for each job, the grant of every single credit on hold, in the order of their burning."""

    grants: dict[str, PlainGrant] = field(default_factory=dict)
    holds: dict[UUID, list[str]] = field(default_factory=dict)
    costs: dict[UUID, int] = field(default_factory=dict)
    claw_backs: dict[str, ClawBack] = field(default_factory=dict)
    expired: int = 0
    refunds: int = 0
    owed: int = 0

    def grant(
        self,
        *,
        source: GrantSource,
        amount: int,
        reference: str,
        priority: int | None,
        valid_from: datetime | None,
        valid_until: datetime | None,
        now: datetime,
    ) -> None:
        if earlier := self.grants.get(reference):
            if (earlier.source, earlier.amount) != (source, amount):
                raise LedgerConflict
            return
        if valid_until is not None and valid_until <= now:
            raise InvalidAmount
        self.grants[reference] = PlainGrant(
            reference,
            source,
            amount,
            amount,
            PRIORITIES[source] if priority is None else priority,
            valid_from or now,
            valid_until,
            len(self.grants),
        )
        self._repay(now)

    def hold(self, *, job_id: UUID, amount: int, now: datetime) -> None:
        if job_id in self.holds:
            if len(self.holds[job_id]) != amount:
                raise LedgerConflict
            return
        available = self.balance(now).available
        if available < amount:
            raise NotEnoughCredits(amount, available)
        held = []
        for grant in self._burning(grant for grant in self.grants.values() if grant.usable(now)):
            while grant.left and len(held) < amount:
                grant.left -= 1
                held.append(grant.reference)
        self.holds[job_id] = held

    def settle(self, *, job_id: UUID, cost: int, now: datetime) -> None:
        if job_id not in self.holds:
            raise NotInLedger
        if job_id in self.costs:
            if self.costs[job_id] != cost:
                raise LedgerConflict
            return
        if cost > len(self.holds[job_id]):
            raise InvalidAmount
        self.costs[job_id] = cost
        for reference in self.holds[job_id][cost:]:
            self.grants[reference].left += 1
        self._repay(now)

    def claw_back(
        self, *, amount: int, reference: str, grant_reference: str | None, now: datetime
    ) -> ClawBack:
        if earlier := self.claw_backs.get(reference):
            if earlier.recovered + earlier.owed != amount:
                raise LedgerConflict
            return earlier
        named = []
        if grant_reference is not None:
            if grant_reference not in self.grants:
                raise NotInLedger
            named = [self.grants[grant_reference]]
        recovered = self._take_back(amount, [*named, *self._not_over(now)])
        self.owed += amount - recovered
        self.claw_backs[reference] = ClawBack(recovered, amount - recovered)
        return self.claw_backs[reference]

    def expire_grants(self, *, now: datetime) -> None:
        for grant in self.due(now):
            self.expired += grant.left
            grant.left = 0

    def due(self, now: datetime) -> list[PlainGrant]:
        return [grant for grant in self.grants.values() if grant.left and grant.over(now)]

    def balance(self, now: datetime) -> Balance:
        return Balance(
            available=sum(grant.left for grant in self.grants.values() if grant.usable(now)),
            held=self._held(),
            owed=self.owed,
        )

    def accounts(self) -> dict[str, int]:
        """Every balance that is not zero: the grants' by reference, the others' by kind."""
        granted = sum(grant.amount for grant in self.grants.values())
        balances = {reference: grant.left for reference, grant in self.grants.items()}
        balances |= {
            "house": self.expired - granted - self.owed,
            "holds": self._held(),
            "spent": sum(self.costs.values()),
            "refunds": self.refunds,
            "owed": self.owed,
        }
        return {account: balance for account, balance in balances.items() if balance}

    def _repay(self, now: datetime) -> None:
        self.owed -= self._take_back(self.owed, self._not_over(now))

    def _take_back(self, amount: int, grants: Iterable[PlainGrant]) -> int:
        """How many there were to take, up to the amount."""
        taken = 0
        for grant in grants:
            while grant.left and taken < amount:
                grant.left -= 1
                taken += 1
        self.refunds += taken
        return taken

    def _not_over(self, now: datetime) -> list[PlainGrant]:
        return self._burning(grant for grant in self.grants.values() if not grant.over(now))

    def _burning(self, grants: Iterable[PlainGrant]) -> list[PlainGrant]:
        return sorted(grants, key=PlainGrant.place)

    def _held(self) -> int:
        return sum(len(held) for job_id, held in self.holds.items() if job_id not in self.costs)
