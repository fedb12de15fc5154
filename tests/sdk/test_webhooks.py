"""What comes in is believed only where Impasto signed it, just now."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from standardwebhooks.webhooks import Webhook

from impasto import ImpastoError, WebhookSecretError, WebhookVerificationError, webhooks
from tests.sdk import samples

SECRET = "whsec_" + base64.b64encode(b"a secret of our own, which is long").decode()
OTHER = "whsec_" + base64.b64encode(b"somebody else's, which is as long!").decode()
ID = "evt_01jcp0f85v6zg8yq0gs8zfwdq4"
EVENT: dict[str, Any] = {
    "type": "job.succeeded",
    "timestamp": samples.NOW,
    "data": {
        "id": samples.JOB_ID,
        "object": "job",
        "status": "succeeded",
        "metadata": {},
        "priority": 0,
        "mode": "live",
        "images": [],
        "attempt": 1,
        "created_at": samples.NOW,
        "finished_at": samples.NOW,
        "path": f"/v1/jobs/{samples.JOB_ID}",
    },
}
BODY = json.dumps(EVENT).encode()


def signed(
    body: bytes = BODY, *, secret: str = SECRET, event_id: str = ID, at: float | None = None
) -> dict[str, str]:
    """The headers of a request, signed by the library of Standard Webhooks itself."""
    moment = int(time.time() if at is None else at)
    signature = Webhook(secret).sign(event_id, datetime.fromtimestamp(moment, UTC), body.decode())
    return {"Webhook-Id": event_id, "Webhook-Timestamp": str(moment), "Webhook-Signature": signature}


def refused(reason: str, *arguments: Any, saying: str, **options: Any) -> None:
    with pytest.raises(WebhookVerificationError, match=saying) as caught:
        webhooks.unwrap(*arguments, **options)
    assert caught.value.reason == reason
    assert isinstance(caught.value, ImpastoError)


def test_what_standard_webhooks_signs_is_unwrapped_into_a_typed_event() -> None:
    event = webhooks.unwrap(BODY, signed(), SECRET)
    assert isinstance(event, webhooks.JobSucceeded)
    assert event.id == ID
    assert event.timestamp == datetime(2026, 1, 1, tzinfo=UTC)
    assert event.data.id == samples.JOB_ID
    assert webhooks.unwrap(BODY.decode(), signed(), [OTHER, SECRET]) == event


def test_types_and_fields_from_the_future_of_the_api_can_be_read() -> None:
    body = json.dumps({"type": "moon.full", "timestamp": samples.NOW, "data": {"phase": 1}}).encode()
    event = webhooks.unwrap(body, signed(body), SECRET)
    assert isinstance(event, webhooks.UnknownEvent)
    assert (event.type, event.data) == ("moon.full", {"phase": 1})
    body = json.dumps({**EVENT, "data": {**EVENT["data"], "mood": "good"}}).encode()
    assert webhooks.unwrap(body, signed(body), SECRET).data.mood == "good"  # type: ignore[union-attr]


def test_a_forged_or_altered_request_is_refused() -> None:
    refused("wrong-signature", BODY, signed(secret=OTHER), SECRET, saying="forged")
    refused("wrong-signature", BODY + b" ", signed(), SECRET, saying="very bytes")
    refused("wrong-signature", BODY, {**signed(), "Webhook-Id": "evt_2"}, SECRET, saying="forged")
    later = str(int(time.time()) + 1)
    refused("wrong-signature", BODY, {**signed(), "Webhook-Timestamp": later}, SECRET, saying="forged")
    for nonsense in ("v1,", "v1", "v1,%%%", "v1,é", "," * 50, "v1," + "A" * 43 + "="):
        headers = {**signed(), "Webhook-Signature": nonsense}
        refused("wrong-signature", BODY, headers, SECRET, saying="sign")


@pytest.mark.parametrize("name", ["Webhook-Id", "Webhook-Timestamp", "Webhook-Signature"])
def test_a_missing_header_is_named(name: str) -> None:
    headers = signed()
    del headers[name]
    refused("missing-header", BODY, headers, SECRET, saying=name.lower())


@pytest.mark.parametrize("moment", ["now", "-1", "1e9", "2026-01-01T00:00:00Z", "9" * 400, "²"])
def test_a_time_that_is_none_is_refused(moment: str) -> None:
    headers = {**signed(), "Webhook-Timestamp": moment}
    refused("invalid-header", BODY, headers, SECRET, saying="webhook-timestamp")


def test_five_minutes_are_allowed_either_way_and_no_more() -> None:
    now = 1_800_000_000
    for age in (300, -300):
        assert webhooks.unwrap(BODY, signed(at=now - age), SECRET, now=now).id == ID
    refused("too-old", BODY, signed(at=now - 301), SECRET, now=now, saying="301 s ago.*replay")
    refused("too-new", BODY, signed(at=now + 301), SECRET, now=now, saying="future")


def test_an_event_whose_id_is_from_the_future_is_refused() -> None:
    """The id begins with the time: here 2026-11-23, seen in 2025."""
    headers = signed(event_id="evt_01m80wh5h8e2sbnz8jwgz94ttp", at=1_750_000_000)
    refused("too-new", BODY, headers, SECRET, now=1_750_000_000, saying="future")


def test_while_a_secret_is_rotated_either_verifies() -> None:
    both = signed(secret=OTHER)["Webhook-Signature"] + " v9,abc " + signed()["Webhook-Signature"]
    for secret in (SECRET, OTHER):
        assert webhooks.unwrap(BODY, {**signed(), "Webhook-Signature": both}, secret).id == ID


def test_ed25519_is_verified_with_the_public_key() -> None:
    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    key = "whpk_" + base64.b64encode(public).decode()
    headers = signed()
    content = f"{ID}.{headers['Webhook-Timestamp']}.".encode() + BODY
    asymmetric = "v1a," + base64.b64encode(private.sign(content)).decode()
    headers["Webhook-Signature"] += f" {asymmetric}"
    assert webhooks.unwrap(BODY, headers, key).id == webhooks.unwrap(BODY, headers, SECRET).id
    refused("wrong-signature", BODY + b" ", headers, key, saying="forged")
    refused("wrong-signature", BODY, signed(), key, saying="signed as v1")


def test_without_cryptography_the_extra_to_install_is_named() -> None:
    key = "whpk_" + base64.b64encode(bytes(32)).decode()
    script = "import sys; sys.modules['cryptography'] = None; from impasto import webhooks; webhooks.unwrap"
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", f"{script}(b'', {{}}, {key!r})"], capture_output=True, text=True, check=False
    )
    assert "pip install 'impasto[ed25519]'" in done.stderr


@pytest.mark.parametrize(
    ("secret", "saying"),
    [
        ("", "begins with whsec_"),
        ("imp_live_Z7aOjGGZRQXJoKnhle4Kx7ZV", "API key"),
        (SECRET[:-9], "copy it again"),
        (SECRET[:12], "copy it again"),
        ("whpk_" + SECRET[6:], "copy it again"),
        ("whsk_" + SECRET[6:], "public one"),
        ([], "no secret"),
    ],
)
def test_a_secret_that_is_none_says_what_to_do(secret: Any, saying: str) -> None:
    with pytest.raises(WebhookSecretError, match=saying):
        webhooks.unwrap(BODY, signed(), secret)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"\xff", b'{"type": "job.succeeded"}', b'{"type": 3}'])
def test_a_body_that_is_no_event_is_refused_although_it_is_signed(body: bytes) -> None:
    headers = signed(body.replace(b"\xff", b""))
    if body == b"\xff":
        refused("wrong-signature", body, headers, SECRET, saying="forged")
    else:
        refused("not-an-event", body, headers, SECRET, saying="cannot be read")


def test_a_parsed_body_is_no_payload() -> None:
    with pytest.raises(TypeError, match="as it was received"):
        webhooks.unwrap(EVENT, signed(), SECRET)  # type: ignore[arg-type]
