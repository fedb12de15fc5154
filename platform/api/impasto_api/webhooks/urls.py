"""URLs that callers want webhooks sent to."""

from __future__ import annotations

from impasto_api.problems import ValidationFailed
from impasto_api.services import Services
from impasto_core.webhooks.guard import UrlRefused


def check_url(services: Services, field: str, url: str) -> None:
    """Raises ValidationFailed for one that we do not call. Where its name leads is seen when it is called."""
    try:
        services.webhook_guard.check_url(url)
    except UrlRefused as refused:
        raise ValidationFailed.of("body", field, "url_refused", str(refused)) from None
