"""Fair claiming, on real PostgreSQL: the order, against a plain model of it; shares, limits and places."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, text, update
from sqlmodel import col, select

from impasto_core.database import Database
from impasto_core.jobs import fair_queue, lifecycle
from impasto_core.jobs.fair_queue import MIN_COST
from impasto_core.jobs.tables import Job, JobStatus, QueueShare
from impasto_core.organizations.tables import Organization
from tests.support.job_desk import until
from tests.support.painters import lease_of

STEP = MIN_COST
"""The cost of the smallest job."""

# The fixtures hold connections and rows of other pools only: an example makes a pool of its own.
AGAIN = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Pool:
    """A pool of its own, its organizations, and workers that claim from it."""

    def __init__(self, owner: Database, worker: Database) -> None:
        self.owner = owner
        self.worker = worker
        self.name = f"pool-{secrets.token_hex(8)}"

    async def organizations(self, *weights: int, concurrent_jobs: int | None = None) -> list[UUID]:
        """As many as there are weights, in the order of their ids."""
        made = [
            Organization(name="o", slug=secrets.token_hex(8), queue_weight=w, concurrent_jobs=concurrent_jobs)
            for w in weights
        ]
        async with self.owner.session() as session:
            session.add_all(made)
        return [organization.id for organization in made]

    async def add(self, *organizations: UUID, cost: int = STEP, priority: int = 0) -> list[UUID]:
        """A job for each of the organizations, in this order."""
        return await self.add_all((organization, cost, priority) for organization in organizations)

    async def add_all(self, jobs: Iterable[tuple[UUID, int, int]]) -> list[UUID]:
        """Jobs of an organization, a cost and a priority each."""
        made = [self.job(*job) for job in jobs]
        async with self.owner.session() as session:
            session.add_all(made)
        return [job.id for job in made]

    def job(self, organization_id: UUID, cost: int = STEP, priority: int = 0) -> Job:
        return Job(
            organization_id=organization_id,
            models=[],
            mode="live",
            pool=self.name,
            pipeline="text-to-image",
            input={},
            graph={},
            pixel_steps=cost,
            priority=priority,
        )

    async def claim(self, *, lease_seconds: float = 30) -> Job | None:
        async with self.worker.session() as session:
            return await lifecycle.claim(session, pool=self.name, worker="w", lease_seconds=lease_seconds)

    async def claims(self, count: int) -> list[UUID]:
        """Whose turn it was, so many times."""
        jobs = [await self.claim() for _ in range(count)]
        return [job.organization_id for job in jobs if job is not None]

    async def drain(self) -> list[UUID]:
        """The ids of all jobs, as they are claimed."""
        claimed = []
        while job := await self.claim():
            claimed.append(job.id)
        return claimed

    async def succeed(self, job: Job) -> None:
        async with self.worker.session() as session:
            await lifecycle.succeed(session, lease_of(job), [])

    async def give_back(self, job: Job) -> None:
        async with self.worker.session() as session:
            await lifecycle.give_back(session, lease_of(job))

    async def cancel(self, job_id: UUID) -> None:
        async with self.owner.session() as session:
            await lifecycle.cancel(session, job_id)

    async def weigh(self, organization_id: UUID, weight: int) -> None:
        await self._change(organization_id, queue_weight=weight)

    async def limit(self, organization_id: UUID, concurrent_jobs: int | None) -> None:
        await self._change(organization_id, concurrent_jobs=concurrent_jobs)

    async def _change(self, organization_id: UUID, **values: object) -> None:
        async with self.owner.session() as session:
            changed = update(Organization).where(col(Organization.id) == organization_id).values(**values)
            await session.exec(changed)

    async def share(self, organization_id: UUID) -> QueueShare:
        async with self.owner.session() as session:
            return await session.get_one(QueueShare, (self.name, organization_id))

    async def places(self, ids: Collection[UUID]) -> list[tuple[UUID, int, float | None]]:
        """What `queue_places` says of these jobs, by place."""
        async with self.owner.session() as session:
            connection = await session.connection()
            rows = await connection.execute(
                text("SELECT job_id, place, eta_seconds FROM queue_places(:ids) ORDER BY place"),
                {"ids": list(ids)},
            )
            return [(row.job_id, row.place, row.eta_seconds) for row in rows]


@pytest.fixture
def pool(owner_database: Database, worker_database: Database) -> Pool:
    return Pool(owner_database, worker_database)


@dataclass
class Waiting:
    id: UUID
    cost: int
    priority: int
    charged: bool = False


@dataclass
class Flow:
    """An organization, as the model knows it."""

    id: UUID
    weight: int
    limit: int | None = None
    finish_tag: int = 0
    running: int = 0
    queued: list[Waiting] = field(default_factory=list)


class FairQueueModel:
    """Start-time fair queueing, as in the paper, with a priority inside of each flow and a limit on it."""

    def __init__(self, flows: Sequence[Flow]) -> None:
        self.flows = {flow.id: flow for flow in flows}
        self.virtual_time = 0

    def claim(self) -> tuple[Flow, Waiting] | None:
        able = [
            flow
            for flow in self.flows.values()
            if flow.queued and (flow.limit is None or flow.running < flow.limit)
        ]
        if not able:
            return None
        flow = min(able, key=lambda flow: (max(self.virtual_time, flow.finish_tag), flow.finish_tag, flow.id))
        job = min(flow.queued, key=lambda job: (-job.priority, job.id))
        flow.queued.remove(job)
        flow.running += 1
        start_tag = max(self.virtual_time, flow.finish_tag)
        flow.finish_tag = start_tag + (0 if job.charged else charge(job.cost, flow.weight))
        self.virtual_time = start_tag
        job.charged = True
        return flow, job

    def queued(self) -> list[Waiting]:
        return [job for flow in self.flows.values() for job in flow.queued]


def charge(cost: int, weight: int) -> int:
    return -(-max(cost, MIN_COST) // weight)


COSTS = st.integers(1, 12 * STEP)
WEIGHTS = st.integers(1, 40)
WHO = st.integers(0, 2)
WHICH = st.integers(0, 99)
STEPS = st.one_of(
    st.tuples(st.just("add"), WHO, COSTS, st.integers(-2, 2)),
    st.tuples(st.just("add"), WHO, COSTS, st.just(0)),
    st.tuples(st.just("claim")),
    st.tuples(st.just("claim")),
    st.tuples(st.just("cancel"), WHICH),
    st.tuples(st.just("succeed"), WHICH),
    st.tuples(st.just("give back"), WHICH),
    st.tuples(st.just("weigh"), WHO, WEIGHTS),
    st.tuples(st.just("limit"), WHO, st.none() | st.integers(0, 3)),
)


@AGAIN
@given(weights=st.tuples(WEIGHTS, WEIGHTS, WEIGHTS), steps=st.lists(STEPS, min_size=5, max_size=40))
async def test_jobs_are_claimed_in_the_order_of_the_model_whatever_comes_between(
    owner_database: Database,
    worker_database: Database,
    weights: tuple[int, ...],
    steps: list[tuple[object, ...]],
) -> None:
    pool = Pool(owner_database, worker_database)
    flows = [
        Flow(id_, weight) for id_, weight in zip(await pool.organizations(*weights), weights, strict=True)
    ]
    plain = FairQueueModel(flows)
    running: list[Job] = []

    async def claim() -> bool:
        job, expected = await pool.claim(), plain.claim()
        assert (job and job.id) == (expected and expected[1].id)
        if job is not None:
            running.append(job)
        return job is not None

    async def succeed(job: Job) -> None:
        await pool.succeed(job)
        plain.flows[job.organization_id].running -= 1

    for step in steps:
        match step:
            case ("add", int(who), int(cost), int(priority)):
                [id_] = await pool.add(flows[who].id, cost=cost, priority=priority)
                flows[who].queued.append(Waiting(id_, cost, priority))
            case ("claim",):
                await claim()
            case ("cancel", int(which)) if queued := plain.queued():
                canceled = queued[which % len(queued)]
                await pool.cancel(canceled.id)
                for flow in flows:
                    flow.queued = [job for job in flow.queued if job.id != canceled.id]
            case ("succeed", int(which)) if running:
                await succeed(running.pop(which % len(running)))
            case ("give back", int(which)) if running:
                job = running.pop(which % len(running))
                await pool.give_back(job)
                flow = plain.flows[job.organization_id]
                flow.running -= 1
                flow.queued.append(Waiting(job.id, job.pixel_steps, job.priority, charged=True))
            case ("weigh", int(who), int(weight)):
                await pool.weigh(flows[who].id, weight)
                flows[who].weight = weight
            case ("limit", int(who), limit):
                assert limit is None or isinstance(limit, int)
                await pool.limit(flows[who].id, limit)
                flows[who].limit = limit
    while await claim() or running:
        if running:
            await succeed(running.pop())


@AGAIN
@given(flows=st.lists(st.tuples(WEIGHTS, st.lists(COSTS, min_size=1, max_size=5)), min_size=2, max_size=4))
async def test_service_differs_from_the_weighted_share_by_at_most_a_jobs_cost_per_organization(
    owner_database: Database, worker_database: Database, flows: list[tuple[int, list[int]]]
) -> None:
    """Goyal, Vin and Cheng 1996, theorem 1: where f and m are backlogged throughout an interval,

        | W(f) / w(f) - W(m) / w(m) |  <=  l(f) / w(f) + l(m) / w(m)

    with W the service in it (the cost of jobs that began), w the weight and l the cost of the largest job. It
    follows for n such organizations, W their service together and p(f) = w(f) / sum of w, that

        | W(f) - p(f) W |  <=  (1 - p(f)) l(f) + p(f) * (sum of l(m), m other than f):

    one job's cost per organization at most. Costs are the charged ones, rounded up to whole charges.
    """
    pool = Pool(owner_database, worker_database)
    claims = 15
    weights = dict(zip(await pool.organizations(*(w for w, _ in flows)), (w for w, _ in flows), strict=True))
    largest: dict[UUID, int] = {}
    jobs: list[tuple[UUID, int, int]] = []
    for organization, (weight, costs) in zip(weights, flows, strict=True):
        largest[organization] = weight * charge(max(costs), weight)
        turns = itertools.islice(itertools.cycle(costs), claims + 1)  # so that some always wait
        jobs += [(organization, cost, 0) for cost in turns]
    await pool.add_all(jobs)

    served: list[tuple[UUID, int]] = []
    for _ in range(claims):
        job = await pool.claim()
        assert job is not None
        weight = weights[job.organization_id]
        served.append((job.organization_id, weight * charge(job.pixel_steps, weight)))

    for begin, end in itertools.combinations(range(claims + 1), 2):
        service = Counter(dict.fromkeys(weights, 0))
        for organization, cost in served[begin:end]:
            service[organization] += cost
        for f, m in itertools.combinations(weights, 2):
            apart = abs(service[f] / weights[f] - service[m] / weights[m])
            assert apart <= largest[f] / weights[f] + largest[m] / weights[m] + 1e-6
        for f in weights:
            part = weights[f] / sum(weights.values())
            others = sum(largest[m] for m in weights if m != f)
            assert abs(service[f] - part * service.total()) <= (1 - part) * largest[f] + part * others + 1e-6


@AGAIN
@given(
    weights=st.tuples(WEIGHTS, WEIGHTS, WEIGHTS),
    jobs=st.lists(st.tuples(WHO, COSTS, st.integers(-2, 2)), min_size=1, max_size=15),
    late=st.lists(st.tuples(WHO, COSTS, st.integers(-2, 2)), max_size=8),
    claims=st.integers(0, 6),
)
async def test_the_places_that_are_told_are_the_order_of_the_claims(
    owner_database: Database,
    worker_database: Database,
    weights: tuple[int, ...],
    jobs: list[tuple[int, int, int]],
    late: list[tuple[int, int, int]],
    claims: int,
) -> None:
    pool = Pool(owner_database, worker_database)
    organizations = await pool.organizations(*weights)
    waiting = set(await pool.add_all((organizations[who], cost, priority) for who, cost, priority in jobs))
    for number in range(claims):
        if job := await pool.claim():
            waiting.remove(job.id)
            if number % 2:
                await pool.give_back(job)
                waiting.add(job.id)
    waiting |= set(await pool.add_all((organizations[who], cost, priority) for who, cost, priority in late))

    places = await pool.places(waiting)
    assert [place for _, place, _ in places] == list(range(1, len(waiting) + 1))
    assert [job_id for job_id, _, _ in places] == await pool.drain()


async def test_one_who_queues_a_hundred_jobs_does_not_keep_the_next_one_waiting(pool: Pool) -> None:
    crowd, single = await pool.organizations(10, 10)
    await pool.add(*[crowd] * 100)
    await pool.claims(5)
    await pool.add(single)
    assert await pool.claims(2) == [single, crowd]


async def test_turns_are_in_proportion_to_the_weights(pool: Pool) -> None:
    small, large = await pool.organizations(10, 30)
    await pool.add(*[small, large] * 20)
    assert Counter(await pool.claims(20)) == {small: 5, large: 15}


async def test_large_jobs_come_as_much_more_seldom(pool: Pool) -> None:
    patient, quick = await pool.organizations(10, 10)
    await pool.add(*[patient] * 10, cost=4 * STEP)
    await pool.add(*[quick] * 40)
    assert Counter(await pool.claims(20)) == {patient: 4, quick: 16}


async def test_a_tiny_job_counts_as_one_step_of_512_pixels(pool: Pool) -> None:
    tiny, small = await pool.organizations(10, 10)
    await pool.add(*[tiny] * 10, cost=1)
    await pool.add(*[small] * 10, cost=512 * 512)
    assert Counter(await pool.claims(10)) == {tiny: 5, small: 5}


async def test_who_was_away_is_next_but_gets_no_credit_for_it(pool: Pool) -> None:
    there, away = await pool.organizations(10, 10)
    await pool.add(*[there] * 30)
    await pool.claims(10)
    await pool.add(*[away] * 10)
    assert await pool.claims(6) == [away, there] * 3


async def test_a_new_weight_counts_for_jobs_that_are_already_queued(pool: Pool) -> None:
    one, two = await pool.organizations(10, 10)
    await pool.add(*[one, two] * 20)
    assert Counter(await pool.claims(8)) == {one: 4, two: 4}
    await pool.weigh(two, 70)
    await pool.claims(2)
    assert Counter(await pool.claims(8)) == {one: 1, two: 7}


async def test_a_canceled_job_costs_its_organization_no_turn(pool: Pool) -> None:
    one, two = await pool.organizations(10, 10)
    large = (await pool.add(one, cost=100 * STEP))[0]
    await pool.add(*[one, two] * 3)
    await pool.cancel(large)
    assert await pool.claims(6) == [one, two] * 3


async def test_a_higher_priority_goes_first_within_the_organization_and_counts_for_nothing_beyond(
    pool: Pool,
) -> None:
    one, two = await pool.organizations(10, 10)
    [low, first, second, high] = [(await pool.add(one, priority=priority))[0] for priority in (-1, 0, 0, 10)]
    others = await pool.add(*[two] * 4)
    claimed = await pool.drain()
    assert [id_ for id_ in claimed if id_ not in others] == [high, first, second, low]
    assert claimed[1::2] == others


async def test_an_organization_at_its_limit_is_passed_over_until_a_job_of_it_ends(pool: Pool) -> None:
    limited, free = await pool.organizations(100, 1)
    await pool.limit(limited, 1)
    await pool.add(*[limited] * 3, *[free] * 3)
    job = await pool.claim()
    assert job is not None
    assert job.organization_id == limited
    assert await pool.claims(2) == [free, free]
    await pool.succeed(job)
    assert await pool.claims(2) == [limited, free]
    assert await pool.claim() is None


async def test_a_limit_is_for_all_pools_together(pool: Pool) -> None:
    other = Pool(pool.owner, pool.worker)
    [limited] = await pool.organizations(10, concurrent_jobs=2)
    await pool.add(limited, limited)
    await other.add(limited, limited)
    assert [await pool.claim() is None, await other.claim() is None] == [False, False]
    assert [await pool.claim(), await other.claim()] == [None, None]


async def test_a_limit_that_is_raised_or_taken_away_counts_at_once(pool: Pool) -> None:
    [limited] = await pool.organizations(10, concurrent_jobs=0)
    await pool.add(*[limited] * 4)
    assert await pool.claim() is None
    await pool.limit(limited, 1)
    assert await pool.claims(2) == [limited]
    await pool.limit(limited, None)
    assert await pool.claims(4) == [limited] * 3


async def test_workers_that_claim_at_once_do_not_exceed_a_limit_together(
    pool: Pool,
) -> None:
    other = Pool(pool.owner, pool.worker)
    limited, free = await pool.organizations(10, 10)
    await pool.limit(limited, 3)
    for place in (pool, other):
        await place.add(*[limited] * 6, free)
    jobs = await asyncio.gather(*(place.claim() for place in (pool, other) * 6))
    assert Counter(job.organization_id for job in jobs if job) == {limited: 3, free: 2}


async def test_a_job_that_is_given_back_is_charged_for_once(pool: Pool) -> None:
    one, two = await pool.organizations(10, 10)
    await pool.add(*[one, two] * 4, cost=3 * STEP)
    job = await pool.claim()
    assert job is not None
    await pool.give_back(job)
    assert await pool.claims(7) == [two, one, one, two, one, two, one]


async def test_a_job_that_is_not_due_keeps_no_other_waiting(pool: Pool) -> None:
    early, late = await pool.organizations(10, 10)
    [pausing, due] = await pool.add(early, late)
    async with pool.owner.session() as session:
        later = func.now() + timedelta(hours=1)
        await session.exec(update(Job).where(col(Job.id) == pausing).values(available_at=later))
    assert await pool.drain() == [due]


async def test_workers_that_claim_at_once_take_turns_like_one_worker(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fair_queue, "PATIENCE_MILLISECONDS", 20_000)
    organizations = await pool.organizations(*[10] * 6)
    for organization in organizations:
        await pool.add(*[organization] * 3)
    jobs = await asyncio.gather(*(pool.claim() for _ in organizations))
    assert Counter(job.organization_id for job in jobs if job) == dict.fromkeys(organizations, 1)


async def test_a_claim_that_hangs_is_not_waited_for_and_charged_nevertheless(pool: Pool) -> None:
    [organization] = await pool.organizations(10)
    await pool.add(*[organization] * 3)
    async with pool.worker.session() as hanging:
        assert await lifecycle.claim(hanging, pool=pool.name, worker="w", lease_seconds=30)
        assert await pool.claim()
    assert (await pool.share(organization)).finish_tag == 2 * charge(STEP, 10)


async def test_a_job_that_comes_while_the_last_one_goes_is_not_forgotten(pool: Pool) -> None:
    """The queue is found empty before the new job is committed, and marked so only after."""
    [organization] = await pool.organizations(10)
    await pool.add(organization)
    job = pool.job(organization)
    async with pool.worker.session() as claiming, pool.owner.session() as adding:
        adding.add(job)
        await adding.flush()
        await (await adding.connection()).execute(text("SET CONSTRAINTS ALL IMMEDIATE"))
        assert await lifecycle.claim(claiming, pool=pool.name, worker="w", lease_seconds=30)
        await claiming.commit()
    assert await pool.drain() == [job.id]


async def test_a_job_that_comes_while_the_queue_is_marked_empty_marks_it_anew(pool: Pool) -> None:
    [organization] = await pool.organizations(10)
    await pool.add(organization)
    async with pool.worker.session() as claiming:
        assert await lifecycle.claim(claiming, pool=pool.name, worker="w", lease_seconds=30)
        await (await claiming.connection()).execute(text("SET CONSTRAINTS ALL IMMEDIATE"))
        adding = asyncio.create_task(pool.add(organization))
        await until(lambda: _someone_waits(pool), "the new job does not wait for the mark")
    assert await pool.drain() == await adding


async def _someone_waits(pool: Pool) -> bool:
    async with pool.worker.session() as session:
        waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return bool((await (await session.connection()).execute(waiting)).scalar_one())


async def test_an_empty_queue_is_known_to_be_empty(pool: Pool) -> None:
    [organization] = await pool.organizations(10)
    [first, second] = await pool.add(organization, organization)
    assert (await pool.share(organization)).backlogged
    await pool.cancel(first)
    assert (await pool.share(organization)).backlogged
    assert await pool.drain() == [second]
    assert not (await pool.share(organization)).backlogged


async def test_what_is_known_of_the_queues_is_mended(pool: Pool) -> None:
    empty, lost = await pool.organizations(10, 10)
    await pool.add(empty, lost)
    async with pool.owner.session() as session:
        connection = await session.connection()
        await connection.execute(text("ALTER TABLE jobs DISABLE TRIGGER USER"))
        await session.exec(
            update(Job)
            .where(col(Job.organization_id) == empty)
            .values(status=JobStatus.CANCELED, finished_at=func.now())
        )
        await session.exec(
            update(QueueShare).where(col(QueueShare.organization_id) == lost).values(backlogged=False)
        )
        await connection.execute(text("ALTER TABLE jobs ENABLE TRIGGER USER"))
    assert await pool.claim() is None
    async with pool.worker.session() as session:
        await fair_queue.mend(session)
    assert [(await pool.share(who)).backlogged for who in (empty, lost)] == [False, True]
    assert await pool.claims(2) == [lost]


async def test_a_place_under_a_limit_is_announced_where_jobs_wait_for_it(pool: Pool) -> None:
    limited, free = await pool.organizations(10, 10)
    await pool.limit(limited, 1)
    await pool.add(limited, free)
    async with pool.worker.session() as session:
        assert await fair_queue.pools_to_wake(session, limited) == [pool.name]
        assert await fair_queue.pools_to_wake(session, free) == []


async def test_jobs_that_wait_for_their_own_limit_need_no_worker(pool: Pool) -> None:
    [limited] = await pool.organizations(10, concurrent_jobs=3)
    await pool.add(*[limited] * 5)
    async with pool.owner.session() as session:
        await session.exec(update(Job).values(available_at=func.now() - timedelta(hours=1)))

    async def count() -> int:
        async with pool.worker.session() as session:
            return await lifecycle.count_unclaimed(session, pool.name, after=timedelta(minutes=1), limit=100)

    assert await count() == 3
    await pool.claim()
    assert await count() == 2
    await pool.limit(limited, None)
    assert await count() == 4


async def test_the_least_cost_is_the_same_here_and_there(pool: Pool) -> None:
    async with pool.owner.session() as session:
        assert (await session.exec(select(func.queue_cost(1)))).one() == MIN_COST
