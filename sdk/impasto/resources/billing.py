from __future__ import annotations

from typing import Generic

from .. import _request as ask
from .._pagination import Listing, paged
from .._twin import Colour, endpoint
from ..types import AutoTopUp, CheckoutSession, Invoice, Pack, PortalSession, Subscription
from ._base import Resource


class Billing(Resource[Colour], Generic[Colour]):
    @paged
    def packs(self) -> Listing[Pack]:
        """Credits to buy, with their prices."""
        return Listing(ask.path("billing", "packs"), Pack)

    @endpoint
    def create_checkout_session(
        self,
        *,
        success_url: str,
        cancel_url: str,
        pack: str | None = None,
        plan: str | None = None,
        idempotency_key: str | None = None,
    ) -> ask.Request[CheckoutSession]:
        """A page where somebody pays: open its `url`. The credits come within seconds of the payment.

        Args:
            success_url, cancel_url: where to go on from there, of the hosts that the service allows.
            pack: the id of a pack to buy once. See `packs()`.
            plan: or the id of a plan to subscribe to. See `plans.list()`.
            idempotency_key: with the same key you get the same page, for 24 hours.
        """
        body = {"pack": pack, "plan": plan, "success_url": success_url, "cancel_url": cancel_url}
        return ask.post(
            ask.path("billing", "checkout-sessions"),
            CheckoutSession,
            ask.given(body),
            headers=ask.idempotency_header(idempotency_key),
            repeatable=True,  # the key sees to it
        )

    @endpoint
    def create_portal_session(self, return_url: str) -> ask.Request[PortalSession]:
        """A page where somebody changes cards and addresses and finds invoices: open its `url`."""
        return ask.post(
            ask.path("billing", "portal-sessions"),
            PortalSession,
            {"return_url": return_url},
            repeatable=True,  # one too many just expires
        )

    @endpoint
    def get_subscription(self) -> ask.Request[Subscription]:
        """What your organization pays for every month. Its status is `none` if it never subscribed."""
        return ask.get(ask.path("billing", "subscription"), Subscription)

    @endpoint
    def change_subscription(
        self, plan: str, *, idempotency_key: str | None = None
    ) -> ask.Request[Subscription]:
        """Another plan: a dearer one at once, paid pro rata, a cheaper one from the next period on.

        Raises:
            APIError: with code `payment-declined` if the difference cannot be paid. Nothing has changed then.
        """
        return ask.post(
            ask.path("billing", "subscription", "change"),
            Subscription,
            {"plan": plan},
            headers=ask.idempotency_header(idempotency_key),
            repeatable=True,  # the key sees to it
        )

    @endpoint
    def cancel_subscription(self) -> ask.Request[Subscription]:
        """End it with the period that is paid for."""
        return ask.post(ask.path("billing", "subscription", "cancel"), Subscription, repeatable=True)

    @endpoint
    def resume_subscription(self) -> ask.Request[Subscription]:
        """Take a cancellation back, as long as the period lasts."""
        return ask.post(ask.path("billing", "subscription", "resume"), Subscription, repeatable=True)

    @paged
    def invoices(self, *, limit: int | None = None, cursor: str | None = None) -> Listing[Invoice]:
        """What was billed, newest first."""
        return Listing(ask.path("billing", "invoices"), Invoice, {"limit": limit, "cursor": cursor})

    @endpoint
    def get_auto_top_up(self) -> ask.Request[AutoTopUp]:
        """Whether credits are bought by themselves."""
        return ask.get(ask.path("billing", "auto-top-up"), AutoTopUp)

    @endpoint
    def set_auto_top_up(self, *, enabled: bool, threshold: int, pack: str) -> ask.Request[AutoTopUp]:
        """Buy a pack with the saved card whenever there are fewer credits than `threshold`.

        To save a card, open the portal.
        """
        body = {"enabled": enabled, "threshold": threshold, "pack": pack}
        return ask.put(ask.path("billing", "auto-top-up"), AutoTopUp, body)
