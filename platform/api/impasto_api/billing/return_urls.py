"""Where a payment provider may send a customer back to: our own pages, and nobody else's."""

from __future__ import annotations

from urllib.parse import urlsplit

from impasto_api.problems import ValidationFailed
from impasto_core.settings import Settings

_OWN_MACHINE = {"localhost", "127.0.0.1"}


def check(settings: Settings, field: str, url: str) -> None:
    """Raises ValidationFailed for anything but https and a host of IMPASTO_PAYMENT_RETURN_HOSTS.

    In development one's own machine will do, without https.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValidationFailed.of("body", field, "invalid_url", "This is no URL.") from None
    if parts.username is not None or parts.password is not None or not url.isprintable() or "\\" in url:
        raise ValidationFailed.of("body", field, "invalid_url", "Use a plain URL, without a user name.")
    if settings.environment == "development" and host in _OWN_MACHINE and parts.scheme in ("http", "https"):
        return
    if parts.scheme != "https":
        raise ValidationFailed.of("body", field, "not_https", "Use a URL that begins with https://.")
    if host not in settings.payment_return_hosts:
        raise ValidationFailed.of("body", field, "host_not_allowed", f"{host} is no host of this service.")
