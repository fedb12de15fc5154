"""What the API answers, with made-up contents."""

from __future__ import annotations

import json
from typing import Any

JOB_ID = "job_01jcp0f85v6zg8yq0gs8zfwdq4"
IMAGE_ID = "img_01jcp0f85v6zg8yq0gs8zfwdq4"
UPLOAD_ID = "upl_01jcp0f85v6zg8yq0gs8zfwdq4"
NOW = "2026-01-01T00:00:00Z"


def job(status: str = "queued", **changes: Any) -> dict[str, Any]:
    return {
        "id": JOB_ID,
        "object": "job",
        "status": status,
        "pipeline": "text-to-image",
        "model": "impasto-tiny",
        "input": {"prompt": "a big red heart", "seed": 7},
        "metadata": {},
        "priority": 0,
        "mode": "live",
        "images": [],
        "error": None,
        "queue": None,
        "attempt": 0,
        "cancel_requested": False,
        "created_at": NOW,
        "started_at": None,
        "finished_at": None,
        "queued_seconds": None,
        "running_seconds": None,
    } | changes


def image(url: str = "http://127.0.0.1:9/file.png", **changes: Any) -> dict[str, Any]:
    return {
        "id": IMAGE_ID,
        "object": "image",
        "job_id": JOB_ID,
        "index": 0,
        "node": "image_0",
        "width": 64,
        "height": 64,
        "content_type": "image/png",
        "size": 3,
        "sha256": "0" * 64,
        "seed": 7,
        "url": url,
        "thumbnail_url": url,
        "url_expires_at": NOW,
        "created_at": NOW,
    } | changes


def upload(url: str, **changes: Any) -> dict[str, Any]:
    return {
        "id": UPLOAD_ID,
        "object": "upload",
        "status": "pending",
        "content_type": "image/png",
        "size": 3,
        "method": "PUT",
        "url": url,
        "headers": {"Content-Type": "image/png"},
        "width": None,
        "height": None,
        "created_at": NOW,
        "expires_at": NOW,
    } | changes


def api_key(**changes: Any) -> dict[str, Any]:
    return {
        "id": "key_1",
        "object": "api_key",
        "name": "nightly",
        "mode": "live",
        "hint": "imp_live_Z7aOjG",
        "scopes": ["jobs:read"],
        "api_version": "2026-11-22",
        "created_at": NOW,
        "expires_at": None,
        "last_used_at": None,
        "revoked_at": None,
        "secret": "imp_live_secret",
    } | changes


def page(*items: dict[str, Any], next_cursor: str | None = None) -> dict[str, Any]:
    return {"data": list(items), "has_more": next_cursor is not None, "next_cursor": next_cursor}


def event(event_id: str, name: str, **data: Any) -> bytes:
    """One server-sent event on the wire."""
    return f"event: {name}\nid: {event_id}\ndata: {json.dumps({'type': name, **data})}\n\n".encode()


QUEUED = event("0-1", "queued", job_id=JOB_ID)
STARTED = event("1-1", "started", job_id=JOB_ID, attempt=1)
STEP = event("1-2", "step", node="denoise_0", step=1, total=2, progress=0.5)


def final(status: str = "succeeded", **changes: Any) -> bytes:
    return event("final", status, job=job(status, **changes))
