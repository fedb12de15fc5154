"""Prices are exact, versioned and never changed behind a quote's back."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from pydantic import ValidationError

from impasto_billing.prices import Meter, PriceList, Quote, price_list_of, read_price_lists
from impasto_billing.prices.quote import LineItem
from impasto_billing.settlement import Usage, make_receipt
from impasto_core.jobs.tables import JobStatus
from impasto_core.jobs.work import Work
from impasto_core.models.tables import Model

RELEASED = {"2026-11-01": "1442165dc9a49637"}
"""How the digest of every list begins."""


def model(slug: str = "portrait", base: str = "sd-1") -> Model:
    return Model(slug=slug, name=slug, base=base, source="file:///nowhere", digest="sha256:0")


def item(units: int, unit_price: str = "0.4", discount_percent: int = 0) -> LineItem:
    return LineItem.of("work", "portrait", Meter.PIXEL_STEPS, units, Decimal(unit_price), discount_percent)


def a_list(**prices: object) -> PriceList:
    return PriceList.model_validate({"id": date(2026, 1, 1), "other": {"pixel_steps": 1}} | prices)


def test_a_released_price_list_never_changes() -> None:
    digests = {
        prices.id.isoformat(): hashlib.sha256(
            json.dumps(prices.model_dump(mode="json"), sort_keys=True).encode()
        ).hexdigest()[:16]
        for prices in read_price_lists()
    }
    assert digests == RELEASED, "add a new list instead, and its digest here"


def test_a_model_has_its_own_price_or_that_of_its_base_or_the_other() -> None:
    prices = a_list(models={"portrait": {"pixel_steps": "0.1"}}, bases={"sdxl": {"pixel_steps": "0.5"}})
    unit_prices = {
        slug: prices.quote(model(slug, base), Work(1, 1), "", limit_seconds=60).line_items[0].unit_price
        for slug, base in (("portrait", "sdxl"), ("landscape", "sdxl"), ("poster", "flux"))
    }
    assert unit_prices == {"portrait": Decimal("0.1"), "landscape": Decimal("0.5"), "poster": Decimal(1)}


@pytest.mark.parametrize(
    ("units", "amount"),
    [
        (0, 1),
        (1, 1),
        (2_500_000, 1),
        (2_500_001, 2),
        (5_000_000, 2),
        (10**18, 4 * 10**11),
        (10**18 + 1, 4 * 10**11 + 1),
    ],
)
def test_an_amount_is_exact_and_rounded_up_once(units: int, amount: int) -> None:
    assert item(units).amount == amount


@pytest.mark.parametrize(
    ("units", "percent", "discount", "amount"),
    [(25_000_000, 20, 2, 8), (25_000_000, 99, 9, 1), (2_600_000, 50, 1, 1), (1, 50, 0, 1)],
)
def test_a_discount_is_taken_off_before_rounding(
    units: int, percent: int, discount: int, amount: int
) -> None:
    line = item(units, discount_percent=percent)
    assert (line.discount, line.amount) == (discount, amount)


def test_the_list_in_force_is_the_latest_that_has_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    lists = tuple(a_list().model_copy(update={"id": date(2026, month, 1)}) for month in (1, 3, 6))
    monkeypatch.setattr("impasto_billing.prices.price_list.read_price_lists", lambda: lists)
    in_force = {
        moment: price_list_of(datetime.fromisoformat(moment).astimezone(UTC)).id.month
        for moment in ("2025-12-31T00:00Z", "2026-02-28T23:59Z", "2026-03-01T00:00Z", "2027-01-01T00:00Z")
    }
    assert list(in_force.values()) == [1, 1, 3, 6]


@pytest.mark.parametrize(
    "price",
    [
        "{ pixel_steps = -0.1 }",
        "{ pixel_steps = inf }",
        "{ pixel_steps = nan }",
        "{ pixel_steps = 'many' }",
        "{ pixel_steps = 1, gpu_seconds = 1 }",
        "{ images = 1 }",
        "{}",
        "1",
    ],
)
def test_a_price_is_an_amount_for_one_meter(price: str, tmp_path: Path) -> None:
    file = tmp_path / "prices.toml"
    file.write_text(f"[[price_lists]]\nid = 2026-01-01\nother = {price}\n")
    with pytest.raises(ValidationError, match="other"):
        read_price_lists(file)


def test_time_is_quoted_at_its_limit_and_paid_as_it_passed() -> None:
    prices = a_list(models={"portrait": {"gpu_seconds": 2}})
    quote = prices.quote(model(), Work(10**9, 1), "slow work", limit_seconds=59.5)
    assert quote.amount == 120
    paid = {
        seconds: make_receipt(quote, JobStatus.SUCCEEDED, Usage(gpu_seconds=seconds))
        for seconds in (0.0, 0.1, 7.0, 7.1, 60.0, 1000.0)
    }
    assert [receipt.amount for receipt in paid.values()] == [1, 2, 14, 16, 120, 120]
    assert all(receipt.amount + receipt.refunded == 120 for receipt in paid.values())
    canceled = make_receipt(quote, JobStatus.CANCELED, Usage(gpu_seconds=7.1))
    assert canceled.amount == 16


@pytest.mark.parametrize("meter", [Meter.PIXEL_STEPS, Meter.GPU_SECONDS])
@pytest.mark.parametrize("status", [JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELED])
def test_no_job_costs_more_than_its_quote(meter: Meter, status: JobStatus) -> None:
    for units in (0, 1, 999_999, 10**9 + 1):
        quoted = LineItem.of("work", "portrait", meter, units, Decimal("0.37"), 13)
        quote = Quote(amount=quoted.amount, price_list="2026-01-01", line_items=[quoted])
        for denoised in (Fraction(0), Fraction(1, 3), Fraction(1)):
            for gpu_seconds in (0.0, 0.5, 1e6):
                receipt = make_receipt(quote, status, Usage(denoised, gpu_seconds))
                assert 0 <= receipt.amount <= quote.amount
                assert receipt.amount + receipt.refunded == quote.amount


def test_a_quote_comes_back_from_the_database_as_it_was() -> None:
    work = Work(pixel_steps=12_345_678, images=3)
    quote = a_list().quote(model(), work, "work", limit_seconds=60, discount_percent=5)
    assert Quote.model_validate(json.loads(json.dumps(quote.model_dump(mode="json")))) == quote
