"""A job's event stream on real Redis: in order, fenced by the attempt, resumable at any entry."""

from __future__ import annotations

from uuid import UUID

import pytest
from redis.asyncio import Redis

from impasto_core.ids import new_id
from impasto_core.jobs.events import (
    FIRST,
    EventReader,
    EventWriter,
    Fenced,
    Finished,
    ImageMade,
    Node,
    Started,
    Step,
    StreamEvent,
    Unknown,
    job_of,
    last_ids,
    order,
    read_streams,
    stream_key,
)


@pytest.fixture
def job_id() -> UUID:
    return new_id()


def a_whole_attempt(job_id: UUID, attempt: int = 1) -> list[StreamEvent]:
    return [
        Started(job_id=job_id, attempt=attempt),
        Node(node="denoise_0", node_type="denoise_latents", state="started"),
        Step(node="denoise_0", step=1, total=2, progress=0.5, preview="data:image/jpeg;base64,AAAA"),
        Step(node="denoise_0", step=2, total=2, progress=1),
        Node(node="denoise_0", node_type="denoise_latents", state="completed"),
        ImageMade(index=0, node="image_0", width=64, height=64),
        Finished(),
    ]


async def write(writer: EventWriter, events: list[StreamEvent]) -> None:
    for event in events:
        await writer.write(event)


async def test_events_are_read_as_they_were_written_with_ids_that_name_the_attempt(
    redis: Redis, job_id: UUID
) -> None:
    events = a_whole_attempt(job_id, attempt=3)
    await write(EventWriter(redis, job_id, 3), events)
    found = await EventReader(redis, job_id).read(FIRST)
    assert [event for _, event in found] == events
    assert [entry_id for entry_id, _ in found] == [f"3-{number}" for number in range(1, 8)]


async def test_reading_goes_on_after_any_entry_without_gap_or_repeat(redis: Redis, job_id: UUID) -> None:
    await write(EventWriter(redis, job_id, 1), a_whole_attempt(job_id, 1)[:3])
    await write(EventWriter(redis, job_id, 2), a_whole_attempt(job_id, 2))
    reader = EventReader(redis, job_id)
    everything = await reader.read(FIRST)
    assert len(everything) == 10
    for place, (entry_id, _) in enumerate(everything):
        assert await reader.read(entry_id) == everything[place + 1 :]


async def test_a_stream_longer_than_one_answer_is_read_piece_by_piece(redis: Redis, job_id: UUID) -> None:
    steps = [Step(node="d", step=n, total=450, progress=n / 450) for n in range(1, 451)]
    await write(EventWriter(redis, job_id, 1), [*steps])
    reader, after, seen = EventReader(redis, job_id), FIRST, []
    while entries := await reader.read(after):
        after = entries[-1][0]
        seen += [event for _, event in entries]
    assert seen == steps


async def test_a_worker_that_was_replaced_is_refused_by_redis_itself(redis: Redis, job_id: UUID) -> None:
    stale, live = EventWriter(redis, job_id, 1), EventWriter(redis, job_id, 2)
    await stale.write(Started(job_id=job_id, attempt=1))
    await live.write(Started(job_id=job_id, attempt=2))
    with pytest.raises(Fenced):
        await stale.write(Step(node="denoise_0", step=1, total=2, progress=0.5))
    await live.write(Finished())
    assert [entry_id for entry_id, _ in await EventReader(redis, job_id).read(FIRST)] == ["1-1", "2-1", "2-2"]


async def test_the_streams_of_two_jobs_know_nothing_of_each_other(redis: Redis, job_id: UUID) -> None:
    other = new_id()
    await EventWriter(redis, other, 5).write(Started(job_id=other, attempt=5))
    await EventWriter(redis, job_id, 1).write(Started(job_id=job_id, attempt=1))
    [(_, event)] = await EventReader(redis, job_id).read(FIRST)
    assert event == Started(job_id=job_id, attempt=1)


async def test_every_entry_is_announced_when_it_can_be_read(redis: Redis, job_id: UUID) -> None:
    async with redis.pubsub() as pubsub:
        await pubsub.subscribe(stream_key(job_id))
        assert (await pubsub.get_message(timeout=20))["type"] == "subscribe"
        writer = EventWriter(redis, job_id, 1)
        for number in (1, 2):
            await writer.write(Finished())
            announced = await pubsub.get_message(timeout=20)
            assert (announced["type"], job_of(announced["channel"].decode())) == ("message", job_id)
            assert (await EventReader(redis, job_id).read(FIRST))[-1] == (f"1-{number}", Finished())


async def test_many_streams_are_read_in_one_go_each_from_its_own_place(redis: Redis, job_id: UUID) -> None:
    quiet, other, unknown = new_id(), new_id(), new_id()
    for job in (job_id, quiet, other):
        await write(EventWriter(redis, job, 10), a_whole_attempt(job)[:3])
    assert await last_ids(redis, [job_id, unknown]) == {job_id: "10-3", unknown: FIRST}
    found = await read_streams(redis, {job_id: "10-1", quiet: "10-3", other: FIRST, unknown: FIRST})
    assert {job: [entry_id for entry_id, _ in entries] for job, entries in found.items()} == {
        job_id: ["10-2", "10-3"],
        other: ["10-1", "10-2", "10-3"],
    }
    assert await read_streams(redis, {}) == await last_ids(redis, []) == {}


def test_ids_sort_by_number_and_not_as_text() -> None:
    ids = ["10-1", "2-10", "2-9", "0-0"]
    assert sorted(ids, key=order) == ["0-0", "2-9", "2-10", "10-1"]


async def test_what_a_newer_release_writes_is_known_to_be_there_and_no_more(
    redis: Redis, job_id: UUID
) -> None:
    await EventWriter(redis, job_id, 1).write(Started(job_id=job_id, attempt=1))
    await redis.xadd(stream_key(job_id), {"event": '{"type": "video", "frames": 24}'}, id="1-2")
    assert await EventReader(redis, job_id).read("1-1") == [("1-2", Unknown())]


async def test_a_writer_goes_on_when_redis_has_lost_everything(redis: Redis, job_id: UUID) -> None:
    writer = EventWriter(redis, job_id, 1)
    await writer.write(Started(job_id=job_id, attempt=1))
    await redis.flushdb()
    await writer.write(Finished())
    assert await EventReader(redis, job_id).read("1-1") == [("1-2", Finished())]


async def test_a_stream_is_forgotten_after_a_day(redis: Redis, job_id: UUID) -> None:
    await EventWriter(redis, job_id, 1).write(Finished())
    [key] = await redis.keys("*")
    assert 0 < await redis.ttl(key) <= 24 * 3600
