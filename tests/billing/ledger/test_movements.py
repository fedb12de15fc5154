"""What happens to credits, from their grant to their end."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy.exc import DBAPIError, IntegrityError

from impasto_billing.ledger import service as ledger
from impasto_billing.ledger.service import (
    Balance,
    ClawBack,
    InvalidAmount,
    LedgerConflict,
    NotEnoughCredits,
    NotInLedger,
)
from impasto_billing.ledger.tables import MAX_CREDITS
from impasto_core.ids import new_id
from tests.billing.ledger.books import Books, execute


async def test_an_organization_without_grants_has_nothing(books: Books) -> None:
    assert await books.balance() == Balance(available=0, held=0, owed=0)
    with pytest.raises(NotEnoughCredits, match="1 credits required, 0 available"):
        await books.hold(1)


async def test_credits_are_held_then_captured_and_the_rest_is_released(books: Books) -> None:
    await books.grant(100)
    job_id = await books.hold(30)
    assert await books.balance() == Balance(available=70, held=30, owed=0)
    await books.settle(job_id, 12)
    assert await books.balance() == Balance(available=88, held=0, owed=0)
    assert await books.accounts() == {"house": -100, "spent": 12}


@pytest.mark.parametrize("cost", [0, 30])
async def test_a_hold_is_released_whole_or_captured_whole(books: Books, cost: int) -> None:
    await books.grant(100)
    await books.settle(await books.hold(30), cost)
    assert await books.balance() == Balance(available=100 - cost, held=0, owed=0)


async def test_a_hold_reads_no_more_of_a_full_ledger_than_of_an_empty_one(
    books: Books, other_books: Books
) -> None:
    await books.grant(100)
    await books.hold(1)
    in_an_empty_one = await books.rows_read_by_a_hold()
    await other_books.grant(100)
    for _ in range(5):
        await other_books.hold(1)
        await books.hold(1)
    assert await books.rows_read_by_a_hold() == in_an_empty_one


async def test_all_the_credits_there_are_can_be_held_and_not_one_more(books: Books) -> None:
    await books.grant(10)
    with pytest.raises(NotEnoughCredits) as caught:
        await books.hold(11)
    assert (caught.value.required, caught.value.available) == (11, 10)
    assert await books.movements() == ["grant"]
    await books.hold(10)
    assert await books.available() == 0


async def test_grants_burn_by_priority_then_by_expiry_then_by_age(books: Books) -> None:
    await books.grant(1, "older, for ever", priority=10)
    await books.grant(1, "younger, for ever", priority=10)
    await books.grant(1, "late", priority=10, valid_until=books.later(days=2))
    await books.grant(1, "soon", priority=10, valid_until=books.later(days=1))
    await books.grant(1, "first", priority=1)
    await books.grant(1, "last", priority=99, valid_until=books.later(hours=1))
    burned = []
    for _ in range(6):
        before = await books.left()
        await books.hold(1)
        after = await books.left()
        burned += [reference for reference in before if after[reference] < before[reference]]
    assert burned == ["first", "soon", "late", "older, for ever", "younger, for ever", "last"]


async def test_what_comes_every_month_burns_before_what_was_bought(books: Books) -> None:
    for source in ("purchase", "manual", "promotion", "monthly"):
        await books.grant(10, source, source=source)
    await books.hold(15)
    assert await books.left() == {"monthly": 0, "manual": 5, "promotion": 10, "purchase": 10}


async def test_a_release_goes_back_to_the_grants_that_it_came_from(books: Books) -> None:
    for number in (1, 2, 3):
        await books.grant(10, f"grant {number}", priority=number)
    job_id = await books.hold(25)
    assert await books.left() == {"grant 1": 0, "grant 2": 0, "grant 3": 5}
    await books.settle(job_id, 12)
    assert await books.left() == {"grant 1": 0, "grant 2": 8, "grant 3": 10}


async def test_credits_cannot_be_spent_before_they_are_valid(books: Books) -> None:
    await books.grant(10, valid_from=books.later(hours=1))
    assert await books.available() == 0
    with pytest.raises(NotEnoughCredits):
        await books.hold(1)
    books.now += timedelta(hours=1)
    assert await books.available() == 10
    await books.hold(10)


async def test_what_is_left_of_a_grant_expires(books: Books) -> None:
    await books.grant(10, "a month's", valid_until=books.later(days=30))
    await books.grant(5, "bought")
    await books.settle(await books.hold(4), 4)
    assert await books.expire() == 0
    books.now += timedelta(days=30)
    assert await books.available() == 5, "though nothing is swept yet"
    with pytest.raises(NotEnoughCredits):
        await books.hold(6)
    assert await books.expire() == 1
    assert await books.left() == {"a month's": 0, "bought": 5}
    assert await books.accounts() == {"house": -9, "spent": 4}
    assert await books.expire() == 0


async def test_credits_that_expire_on_hold_are_good_for_the_job_that_holds_them(books: Books) -> None:
    await books.grant(10, valid_until=books.later(hours=1))
    job_id = await books.hold(8)
    books.now += timedelta(hours=2)
    assert await books.expire() == 1
    await books.settle(job_id, 5)
    assert await books.accounts() == {"house": -8, "spent": 5}
    assert await books.available() == 0, "what was released is over"
    assert await books.expire() == 1
    assert await books.accounts() == {"house": -5, "spent": 5}


async def test_grants_expire_a_limited_number_at_a_time_the_earliest_first(books: Books) -> None:
    for hours in (3, 1, 2):
        await books.grant(1, f"{hours} h", valid_until=books.later(hours=hours))
    books.now += timedelta(days=1)
    assert await books.expire(limit=2) == 2
    assert await books.left() == {"1 h": 0, "2 h": 0, "3 h": 1}


async def test_expiry_does_not_wait_for_a_ledger_in_use(books: Books, other_books: Books) -> None:
    for each in (books, other_books):
        await each.grant(10, valid_until=each.later(hours=1))
        each.now += timedelta(hours=2)
    async with books.owner.session() as session:
        await ledger.grant(
            session, organization_id=books.organization_id, source="manual", amount=1, reference="long"
        )
        assert await books.expire() == 1
        assert list((await other_books.left()).values()) == [0]
    assert await books.expire() == 1


async def test_the_same_call_again_moves_nothing(books: Books) -> None:
    granted = await books.grant(100, "invoice 1")
    assert await books.grant(100, "invoice 1") == granted
    job_id = await books.hold(30)
    await books.hold(30, job_id)
    for _ in range(2):
        await books.settle(job_id, 20)
    await books.hold(30, job_id)
    for _ in range(2):
        assert await books.claw_back(100, "refund 1") == ClawBack(recovered=80, owed=20)
    assert await books.movements() == ["grant", "hold", "settle", "claw_back"]


async def test_a_grant_is_remembered_when_it_is_over(books: Books) -> None:
    granted = await books.grant(100, "may", valid_until=books.later(days=31))
    books.now += timedelta(days=40)
    await books.expire()
    assert (await books.grant(100, "may", valid_until=granted.valid_until)).id == granted.id
    assert await books.available() == 0


async def test_the_same_key_with_another_amount_is_a_conflict(books: Books) -> None:
    await books.grant(100, "invoice 1")
    with pytest.raises(LedgerConflict, match="invoice 1 was granted 100 credits of source manual before"):
        await books.grant(101, "invoice 1")
    with pytest.raises(LedgerConflict):
        await books.grant(100, "invoice 1", source="promotion")
    job_id = await books.hold(30)
    with pytest.raises(LedgerConflict, match="has a hold of 30 credits"):
        await books.hold(31, job_id)
    await books.settle(job_id, 20)
    with pytest.raises(LedgerConflict, match="was settled for 20 credits"):
        await books.settle(job_id, 0)
    await books.claw_back(5, "refund 1")
    with pytest.raises(LedgerConflict, match="clawed back 5 credits before"):
        await books.claw_back(6, "refund 1")
    assert await books.balance() == Balance(available=75, held=0, owed=0)


async def test_two_organizations_may_use_the_same_references(books: Books, other_books: Books) -> None:
    job_id = new_id()
    for each in (books, other_books):
        await each.grant(10, "november")
        await each.hold(4, job_id)
        assert await each.balance() == Balance(available=6, held=4, owed=0)


async def test_a_job_cannot_cost_more_than_its_hold(books: Books) -> None:
    await books.grant(100)
    job_id = await books.hold(30)
    with pytest.raises(InvalidAmount, match="a cost of 31 credits, with 30 on hold"):
        await books.settle(job_id, 31)
    assert await books.balance() == Balance(available=70, held=30, owed=0)


async def test_a_job_without_a_hold_cannot_be_settled(books: Books, other_books: Books) -> None:
    await books.grant(100)
    with pytest.raises(NotInLedger, match="has no hold"):
        await books.settle(new_id(), 0)
    job_id = await books.hold(10)
    with pytest.raises(NotInLedger):
        await other_books.settle(job_id, 10)


@pytest.mark.parametrize("amount", [0, -1, MAX_CREDITS + 1, -(2**63), 2**63, 10**30])
async def test_an_amount_that_is_none_is_refused(books: Books, amount: int) -> None:
    await books.grant(100)
    job_id = await books.hold(30)
    for call in (
        books.grant(amount),
        books.hold(amount),
        books.claw_back(amount),
        books.settle(job_id, amount or -1),
    ):
        with pytest.raises(InvalidAmount, match="can be moved at once"):
            await call
    assert await books.movements() == ["grant", "hold"]


@pytest.mark.parametrize("amount", ["0", "-1", "NULL", "-9223372036854775808"])
async def test_the_database_refuses_it_too(books: Books, amount: str) -> None:
    await books.grant(100)
    job_id = await books.hold(30)
    for call in (
        f"grant_credits(:organization, 'manual', {amount}, 1, NULL, NULL, 'x', '', NULL)",
        f"hold_credits(:organization, gen_random_uuid(), {amount}, NULL, NULL)",
        f"claw_back_credits(:organization, {amount}, 'x', NULL, NULL)",
        f"settle_credits(:organization, '{job_id}', coalesce(nullif({amount}, 0), -1), NULL)",
    ):
        with pytest.raises(DBAPIError, match=r"a (hold|cost|claw-back) of|violates|out of range"):
            await execute(books.owner, f"SELECT {call}", organization=books.organization_id)
    assert await books.movements() == ["grant", "hold"]


async def test_as_many_credits_as_can_be_counted_can_be_granted(books: Books) -> None:
    await books.grant(MAX_CREDITS)
    await books.grant(MAX_CREDITS)
    assert await books.available() == 2 * MAX_CREDITS
    await books.settle(await books.hold(MAX_CREDITS), MAX_CREDITS)
    assert await books.available() == MAX_CREDITS


async def test_a_grant_that_is_over_already_is_refused(books: Books) -> None:
    with pytest.raises(InvalidAmount, match="the grant expired"):
        await books.grant(10, valid_until=books.now)
    with pytest.raises(IntegrityError, match="ck_credit_grants_validity"):
        await books.grant(10, valid_from=books.later(days=2), valid_until=books.later(days=1))
    assert await books.movements() == []


async def test_nobody_else_gets_credits(books: Books) -> None:
    books.organization_id = UUID(int=0)
    with pytest.raises(IntegrityError, match="fk_ledger_accounts_organization_id"):
        await books.grant(10)


async def test_a_claw_back_takes_the_grants_own_credits_first(books: Books) -> None:
    await books.grant(10, "gift", source="promotion")
    await books.grant(50, "bought", source="purchase")
    assert await books.claw_back(50, grant_reference="bought") == ClawBack(recovered=50, owed=0)
    assert await books.left() == {"gift": 10, "bought": 0}
    assert await books.accounts() == {"house": -60, "refunds": 50}


async def test_what_is_spent_already_is_owed_and_taken_from_the_next_grants(books: Books) -> None:
    await books.grant(50, "bought", source="purchase")
    await books.settle(await books.hold(40), 40)
    assert await books.claw_back(50, grant_reference="bought") == ClawBack(recovered=10, owed=40)
    assert await books.balance() == Balance(available=0, held=0, owed=40)
    await books.grant(30, "december")
    assert await books.balance() == Balance(available=0, held=0, owed=10)
    await books.grant(30, "january")
    assert await books.balance() == Balance(available=20, held=0, owed=0)
    assert await books.accounts() == {"house": -110, "spent": 40, "refunds": 50}


async def test_credits_on_hold_stay_with_their_job_and_pay_what_is_owed_when_released(books: Books) -> None:
    await books.grant(50, "bought", source="purchase")
    job_id = await books.hold(50)
    assert await books.claw_back(50, grant_reference="bought") == ClawBack(recovered=0, owed=50)
    await books.settle(job_id, 20)
    assert await books.balance() == Balance(available=0, held=0, owed=20)


async def test_a_claw_back_never_takes_the_credits_of_an_expired_grant_that_it_does_not_name(
    books: Books,
) -> None:
    await books.grant(50, "a month's", valid_until=books.later(days=30))
    await books.grant(5, "bought")
    books.now += timedelta(days=31)
    assert await books.claw_back(10) == ClawBack(recovered=5, owed=5)
    await books.expire()
    assert await books.balance() == Balance(available=0, held=0, owed=5)


async def test_what_is_over_and_not_yet_swept_still_pays_for_its_own_refund(books: Books) -> None:
    await books.grant(50, "bought", valid_until=books.later(days=30))
    books.now += timedelta(days=31)
    assert await books.claw_back(50, grant_reference="bought") == ClawBack(recovered=50, owed=0)


async def test_a_claw_back_of_an_unknown_grant_is_refused(books: Books, other_books: Books) -> None:
    await other_books.grant(50, "theirs")
    await books.grant(50, "mine")
    with pytest.raises(NotInLedger, match="there is no grant theirs"):
        await books.claw_back(50, grant_reference="theirs")
    assert await books.available() == 50


async def test_what_is_rolled_back_never_happened(books: Books) -> None:
    await books.grant(100)
    async with books.api.tenant(books.organization_id) as session:
        await ledger.hold(
            session, organization_id=books.organization_id, job_id=new_id(), amount=10, api_key_id=None
        )
        await session.rollback()
    assert await books.balance() == Balance(available=100, held=0, owed=0)
    assert await books.movements() == ["grant"]


async def test_parallel_holds_never_take_more_than_there_is(books: Books) -> None:
    await books.grant(30, priority=1)
    await books.grant(20, priority=2)
    outcomes = await asyncio.gather(*(books.hold(5) for _ in range(40)), return_exceptions=True)
    held = [outcome for outcome in outcomes if isinstance(outcome, UUID)]
    refused = [outcome for outcome in outcomes if isinstance(outcome, NotEnoughCredits)]
    assert (len(held), len(refused)) == (10, 30)
    assert await books.balance() == Balance(available=0, held=50, owed=0)


async def test_the_same_call_from_many_sides_at_once_happens_once(books: Books) -> None:
    granted = await asyncio.gather(*(books.grant(10, "invoice 1") for _ in range(8)))
    assert len({each.id for each in granted}) == 1
    job_id = new_id()
    await asyncio.gather(*(books.hold(6, job_id) for _ in range(8)))
    await asyncio.gather(*(books.settle(job_id, 2) for _ in range(8)))
    assert await books.movements() == ["grant", "hold", "settle"]
    assert await books.balance() == Balance(available=8, held=0, owed=0)


async def test_two_settlements_that_disagree_cannot_both_be_right(books: Books) -> None:
    await books.grant(10)
    job_id = await books.hold(6)
    outcomes = await asyncio.gather(*(books.settle(job_id, cost) for cost in (1, 2)), return_exceptions=True)
    assert sorted(type(outcome) for outcome in outcomes if outcome) == [LedgerConflict]
