"""What Impasto sends to your webhook endpoints: whether it is genuine, and what it says.

    from impasto import webhooks

    event = webhooks.unwrap(request.body, request.headers, "whsec_...")
    match event:
        case webhooks.JobSucceeded():
            print(event.data.id, "has", len(event.data.images), "images")

Impasto signs as Standard Webhooks 1.0.0 says (https://www.standardwebhooks.com): any library for that can
verify it. This one also knows the events.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from ._exceptions import WebhookSecretError, WebhookVerificationError
from .types.webhook_event import (
    BalanceData,
    CreditsLow,
    EndpointDisabledData,
    Event,
    ImageData,
    InvoiceData,
    InvoicePaid,
    JobCanceled,
    JobData,
    JobFailed,
    JobSucceeded,
    SpendAlertData,
    SpendCapAlert,
    TestData,
    UnknownEvent,
    WebhookEndpointDisabled,
    WebhookTest,
    read_event,
)

__all__ = [
    "TOLERANCE",
    "BalanceData",
    "CreditsLow",
    "EndpointDisabledData",
    "Event",
    "ImageData",
    "InvoiceData",
    "InvoicePaid",
    "JobCanceled",
    "JobData",
    "JobFailed",
    "JobSucceeded",
    "SpendAlertData",
    "SpendCapAlert",
    "TestData",
    "UnknownEvent",
    "WebhookEndpointDisabled",
    "WebhookSecretError",
    "WebhookTest",
    "WebhookVerificationError",
    "unwrap",
]

TOLERANCE = 300
"""Seconds by which the sender's clock and yours may differ, either way."""

Verify = Callable[[bytes, bytes], bool]
"""Whether the first is signed by the second."""


class Headers(Protocol):
    """Those of any framework: a dict, or what http.server, Flask, Django and Starlette have."""

    def items(self) -> Iterable[tuple[str, str]]: ...


def unwrap(
    payload: bytes | str, headers: Headers, secret: str | Sequence[str], *, now: float | None = None
) -> Event:
    """The event, once it is certain that Impasto sent it, and just now.

    An event may come more than once: `event.id` is the same each time. A type that this version does not know
    comes as an `UnknownEvent`.

    Args:
        payload: the body exactly as it was received, and not JSON that was parsed and written again.
        headers: the request's, upper or lower case.
        secret: `whsec_...` or, of an endpoint that signs with ed25519, its public key `whpk_...`. Several
            where one URL receives what is signed by several.
        now: Unix time in seconds, for tests.

    Raises:
        WebhookVerificationError: it is forged, replayed or broken: `.reason`. Answer 400 and do nothing.
        WebhookSecretError: the secret is not one. Nothing can be verified until you set the right one.
    """
    if not isinstance(payload, bytes | str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"payload must be the body as bytes or text, as it was received: not {type(payload)}")
    keys = [_key(one) for one in ([secret] if isinstance(secret, str) else secret)]
    if not keys:
        raise WebhookSecretError("There is no secret: pass the endpoint's, whsec_...")
    body = payload.encode() if isinstance(payload, str) else payload
    given = {name.lower(): value for name, value in headers.items()}
    event_id, timestamp = _header(given, "webhook-id"), _header(given, "webhook-timestamp")
    _check_time(event_id, timestamp, time.time() if now is None else now)
    _check_signature(keys, _header(given, "webhook-signature"), f"{event_id}.{timestamp}.".encode() + body)
    return read_event(event_id, body)


def _header(headers: dict[str, str], name: str) -> str:
    value = headers.get(name)
    if not value:
        raise WebhookVerificationError(
            "missing-header",
            f"The request has no header {name}: it is no webhook, or something in front of you removed it.",
        )
    return value


def _check_time(event_id: str, timestamp: str, now: float) -> None:
    """Against replays, which a signature alone cannot tell."""
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) < 12):
        raise WebhookVerificationError(
            "invalid-header", f"webhook-timestamp is {timestamp[:40]!r}, and no time in seconds."
        )
    age = now - int(timestamp)
    if age > TOLERANCE:
        raise WebhookVerificationError(
            "too-old",
            f"It was signed {age:.0f} s ago, more than {TOLERANCE} s: it is a replay, or your clock is fast.",
        )
    if age < -TOLERANCE or _made_at(event_id) - now > TOLERANCE:
        raise WebhookVerificationError(
            "too-new",
            f"It comes from the future, by more than {TOLERANCE} s: it is forged, or your clock is slow.",
        )


def _made_at(event_id: str) -> float:
    """When the event was made, by its id (a TypeID of a UUIDv7); 0 for an id of another form."""
    digits = event_id.rpartition("_")[2]
    if len(digits) != 26 or set(digits) - set(_CROCKFORD):
        return 0
    number = 0
    for digit in digits:
        number = number << 5 | _CROCKFORD.index(digit)
    return (number >> 80) / 1000


_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"


def _check_signature(keys: Sequence[tuple[str, Verify]], header: str, content: bytes) -> None:
    """One that any of the keys made is enough: while a secret is rotated, there are two."""
    versions: set[str] = set()
    for signature in header.split(" ")[:16]:
        version, _, encoded = signature.partition(",")
        versions.add(version)
        try:
            made = base64.b64decode(encoded, validate=True)
        except ValueError:
            continue
        if any(verify(content, made) for wanted, verify in keys if wanted == version):
            return
    if not versions & {wanted for wanted, _ in keys}:
        kinds = " and ".join(sorted(version[:10] for version in versions))
        detail = f"It is signed as {kinds}, which your secret cannot verify: use the secret of this endpoint."
    else:
        detail = (
            "No signature is by your secret: the request is forged, the secret is another endpoint's, or the"
            " body was changed on its way. Verify the very bytes received, before anything parses them."
        )
    raise WebhookVerificationError("wrong-signature", detail)


def _key(secret: str) -> tuple[str, Verify]:
    """The version of the signatures that the secret verifies, and how. Raises WebhookSecretError."""
    prefix, _, encoded = secret.strip().partition("_")
    try:
        key = base64.b64decode(encoded, validate=True)
    except ValueError:
        key = b""
    match prefix:
        case "whsec" if 24 <= len(key) <= 64:
            return "v1", lambda content, made: hmac.compare_digest(
                hmac.digest(key, content, hashlib.sha256), made
            )
        case "whpk" if len(key) == 32:
            return "v1a", _ed25519(key)
        case "whsec" | "whpk":
            raise WebhookSecretError(
                f"The secret begins with {prefix}_, but it is cut off or changed: copy it again."
            )
        case "whsk":
            raise WebhookSecretError(
                "This is a private key. Webhooks are verified with the public one: whpk_..."
            )
        case _:
            raise WebhookSecretError(
                "A secret begins with whsec_ or whpk_: it came with the endpoint, and an API key is none."
            )


def _ed25519(key: bytes) -> Verify:
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError as error:
        raise ImportError("whpk_... needs cryptography: pip install 'impasto[ed25519]'") from error
    public = Ed25519PublicKey.from_public_bytes(key)

    def verify(content: bytes, made: bytes) -> bool:
        try:
            public.verify(made, content)
        except InvalidSignature:
            return False
        return True

    return verify
