"""The providers that the settings name. Each is imported where it is configured: their SDKs take 10 MB."""

from __future__ import annotations

from collections.abc import Mapping

from impasto_billing.payments.provider import PaymentProvider, ProviderName
from impasto_core.settings import Settings


def make_providers(settings: Settings) -> Mapping[ProviderName, PaymentProvider]:
    """Those that are configured, first the one that new customers go to. Closing them is the caller's."""
    providers: dict[ProviderName, PaymentProvider] = {}
    if settings.stripe_secret_key and settings.stripe_webhook_secret:
        from impasto_billing.payments.stripe import StripeProvider

        providers["stripe"] = StripeProvider(
            settings.stripe_secret_key.get_secret_value(),
            settings.stripe_webhook_secret.get_secret_value(),
            api_base=settings.stripe_api_base,
        )
    if (
        settings.lemon_squeezy_api_key
        and settings.lemon_squeezy_webhook_secret
        and settings.lemon_squeezy_store_id
    ):
        from impasto_billing.payments.lemon_squeezy import LemonSqueezyProvider

        providers["lemon-squeezy"] = LemonSqueezyProvider(
            settings.lemon_squeezy_api_key.get_secret_value(),
            settings.lemon_squeezy_webhook_secret.get_secret_value(),
            store_id=settings.lemon_squeezy_store_id,
            variants=settings.lemon_squeezy_variants,
            api_base=settings.lemon_squeezy_api_base,
        )
    return providers
