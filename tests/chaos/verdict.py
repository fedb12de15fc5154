"""What the platform owes its customers, asked for as they can: over HTTP, and `impastoctl ledger verify`."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import httpx
from PIL import Image as Picture

from impasto import AsyncImpasto
from impasto.types import AsyncJob, CreditEntry
from tests.chaos.customers import Customer, Order
from tests.chaos.receiver import Receiver

EXCUSED = {"poisoned", "storage-unavailable"}
"""Why a job may fail when workers die under it again and again. An error of ours is none."""


@dataclass
class Check:
    """A promise, of how many things it was asked, and where it was broken."""

    promise: str
    checked: int = 0
    broken: list[str] = field(default_factory=list)

    def expect(self, holds: bool, complaint: str) -> None:
        self.checked += 1
        if not holds:
            self.broken.append(complaint)


class Verdict:
    def __init__(self) -> None:
        self.one_job = Check("A key makes one job, however often it is sent")
        self.no_other = Check("There is no job that nobody ordered")
        self.one_end = Check("Every accepted job has one end, and nobody was told another")
        self.pictures = Check("Every job that succeeded has its images, and no other has any")
        self.readable = Check("Every image and thumbnail can be downloaded and is whole")
        self.charged = Check("Every job is held for once, settled once, and costs what its receipt says")
        self.held = Check("Nothing is left on hold")
        self.announced = Check("Every end is announced by webhook, under one webhook-id")
        self.genuine = Check("Every webhook is signed")
        self.excused = Check("No answer and no failure but those that faults excuse")
        self.drift = Check("`impastoctl ledger verify` says zero drift")
        self.ends: Counter[str] = Counter()
        """Jobs by final state, failures with their code."""
        self.attempts: Counter[int] = Counter()
        """Jobs by the number of attempts they took."""

    @property
    def checks(self) -> list[Check]:
        return [check for check in vars(self).values() if isinstance(check, Check) and check.checked]

    @property
    def broken(self) -> list[str]:
        return [f"{check.promise}: {complaint}" for check in self.checks for complaint in check.broken]


async def judge(customers: Iterable[Customer], receiver: Receiver, owner_url: str) -> Verdict:
    verdict = Verdict()
    async with httpx.AsyncClient(timeout=30) as plain:
        await asyncio.gather(*(_judge_customer(verdict, customer, receiver, plain) for customer in customers))
    verdict.genuine.checked = receiver.taken
    verdict.genuine.expect(receiver.forged == 0, f"{receiver.forged} could not be verified")
    verified = await asyncio.to_thread(_verify_ledger, owner_url)
    said = verified.stdout + verified.stderr
    verdict.drift.expect(verified.returncode == 0 and "zero drift" in said, said)
    return verdict


async def _judge_customer(
    verdict: Verdict, customer: Customer, receiver: Receiver, plain: httpx.AsyncClient
) -> None:
    api = customer.api
    jobs = {job.id: job async for job in api.jobs.list(limit=100)}
    unordered = set(jobs) - {job_id for order in customer.orders for job_id in order.answers}
    verdict.no_other.expect(not unordered, f"{customer.name}: {unordered}")
    balance = await api.credits.balance()
    verdict.held.expect(balance.held == 0, f"{customer.name} has {balance.held} credits on hold")
    movements: defaultdict[str, list[CreditEntry]] = defaultdict(list)
    async for entry in api.credits.entries(limit=100):
        if entry.job_id:
            movements[entry.job_id].append(entry)
    for order in customer.orders:
        verdict.one_job.expect(len(set(order.answers)) == 1, f"{order.key}: {order.answers}")
        job = jobs.get(order.job_id)
        told = order.heard | receiver.states_of(order.job_id)
        verdict.one_end.expect(
            job is not None and job.finished and told <= {job.status},
            f"{order.job_id} is {job and job.status}, and was said to be {told}",
        )
        if job is not None:
            _judge_job(verdict, job, movements[job.id])
            for address in order.addresses:
                ids = receiver.ids_of(address, job.id)
                verdict.announced.expect(len(ids) == 1, f"{job.id} ({job.status}): {ids or 'never'}")
            await _look_at_pictures(verdict, api, plain, order, job)
    verdict.excused.checked += len(customer.orders)
    verdict.excused.broken += [f"{customer.name}: {surprise}" for surprise in customer.surprises]


def _judge_job(verdict: Verdict, job: AsyncJob, movements: list[CreditEntry]) -> None:
    code = job.error.code if job.error else None
    verdict.ends[job.status + (f" ({code})" if code else "")] += 1
    verdict.attempts[job.attempt] += 1
    verdict.excused.expect(code is None or code in EXCUSED, f"{job.id} failed: {job.error}")
    cost = job.cost.amount if job.cost else 0
    kinds = sorted(entry.kind for entry in movements)
    spent = sum(entry.spent for entry in movements)
    verdict.charged.expect(
        kinds == ["hold", "settle"] and spent == cost, f"{job.id}: {kinds}, spent {spent}, receipt {cost}"
    )


async def _look_at_pictures(
    verdict: Verdict, api: AsyncImpasto, plain: httpx.AsyncClient, order: Order, job: AsyncJob
) -> None:
    found = [image async for image in api.images.list(job_id=job.id)]
    due = list(range(order.pictures)) if job.status == "succeeded" else []
    indices = sorted(image.index for image in found)
    verdict.pictures.expect(
        indices == due == [image.index for image in job.images],
        f"{job.id} ({job.status}) has images {indices} of {order.pictures}",
    )
    for image in found:
        content = (await plain.get(image.url)).content
        verdict.readable.expect(
            hashlib.sha256(content).hexdigest() == image.sha256 and _opens(content, "PNG"),
            f"{image.id} of {job.id}: {content[:200]!r}",
        )
        thumbnail = (await plain.get(image.thumbnail_url)).content
        verdict.readable.expect(_opens(thumbnail, "WEBP"), f"thumbnail of {image.id}: {thumbnail[:200]!r}")


def _opens(content: bytes, format_: str) -> bool:
    try:
        with Picture.open(io.BytesIO(content)) as picture:
            picture.load()
            return picture.format == format_
    except OSError:
        return False


def _verify_ledger(owner_url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "impasto_ctl.main", "ledger", "verify"],
        env=os.environ | {"IMPASTO_DATABASE_URL": owner_url},
        capture_output=True,
        text=True,
        timeout=120,
    )


async def unfinished(customers: Iterable[Customer], receiver: Receiver) -> int:
    """How many jobs have not ended, or were not announced."""
    waiting = 0
    for customer in customers:
        waiting += sum(
            not receiver.ids_of(address, order.job_id)
            for order in customer.orders
            for address in order.addresses
        )
        for status in ("queued", "running"):
            page = await customer.api.jobs.list(status=status, limit=100)
            waiting += len(page.data)
    return waiting
