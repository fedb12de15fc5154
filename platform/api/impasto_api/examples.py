"""Examples of all that goes in and out, by the name of its schema, against which a test holds them."""

from __future__ import annotations

from typing import Any

_KEY: dict[str, Any] = {
    "id": "key_01m80wgc7cekqvvrdm7wy2n7x4",
    "object": "api_key",
    "name": "nightly batch",
    "mode": "live",
    "hint": "imp_live_Z7aOjG",
    "scopes": ["images:read", "jobs:read", "jobs:write"],
    "api_version": "2026-11-22",
    "created_at": "2026-11-22T05:41:07.436211Z",
    "expires_at": None,
    "last_used_at": None,
    "revoked_at": None,
    "successor_id": None,
}

_IMAGE: dict[str, Any] = {
    "id": "img_01m80whc55fm9sg4h5yq4d5v1c",
    "object": "image",
    "job_id": "job_01m80wh5h8e2sbnz8jwgz94ttp",
    "index": 0,
    "node": "image_0",
    "width": 512,
    "height": 512,
    "content_type": "image/png",
    "size": 312_044,
    "sha256": "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9",
    "seed": 7,
    "url": "https://images.example.com/impasto/.../0.png?X-Amz-Expires=3600&X-Amz-Signature=...",
    "thumbnail_url": "https://images.example.com/impasto/.../0.webp?X-Amz-Expires=3600&X-Amz-Signature=...",
    "url_expires_at": "2026-11-22T06:41:39Z",
    "created_at": "2026-11-22T05:41:36.805214Z",
}

_PRICE: dict[str, Any] = {
    "amount": 1,
    "price_list": "2026-11-01",
    "line_items": [
        {
            "description": "text-to-image, 1 image of 512 x 512 pixels, 20 steps",
            "model": "impasto-shapes",
            "meter": "pixel_steps",
            "units": 5_242_880,
            "unit_price": "0.1",
            "per": 1_000_000,
            "discount_percent": 0,
            "discount": 0,
            "amount": 1,
        }
    ],
}

_PLAN: dict[str, Any] = {
    "id": "pro",
    "object": "plan",
    "name": "Pro",
    "price_cents": 7500,
    "monthly_credits": 15_000,
    "low_credits": 1_500,
    "discount_percent": 0,
    "concurrent_jobs": 1,
    "queue_weight": 50,
    "storage_bytes": 100_000_000_000,
    "image_retention_days": 365,
    "model_bases": ["sd-1", "sdxl", "flux"],
    "max_pixels": 2_359_296,
    "max_images": 4,
    "jobs_per_hour": 300,
    "requests_per_minute": 600,
    "node_editor": True,
}

_SPEND_CAP: dict[str, Any] = {
    "id": "cap_01m80wn6z2f0pb8k3gqcv5w7ta",
    "object": "spend_cap",
    "api_key_id": None,
    "amount": 1000,
    "spent": 412,
    "created_at": "2026-11-22T05:42:48.120031Z",
    "updated_at": "2026-11-22T05:42:48.120031Z",
}

_SPEND_ALERT: dict[str, Any] = {
    "id": "alert_01m80wp1qwe8fv2t5dbhc9xk3m",
    "object": "spend_alert",
    "api_key_id": None,
    "month": "2026-11",
    "percent": 50,
    "cap": 1000,
    "spent": 501,
    "created_at": "2026-11-22T05:43:16.410972Z",
}

_JOB: dict[str, Any] = {
    "id": "job_01m80wh5h8e2sbnz8jwgz94ttp",
    "object": "job",
    "status": "succeeded",
    "pipeline": "text-to-image",
    "workflow": None,
    "model": "impasto-shapes",
    "input": {
        "prompt": "a big red heart",
        "negative_prompt": "",
        "model": "impasto-shapes",
        "width": 512,
        "height": 512,
        "steps": 20,
        "guidance": 7.5,
        "scheduler": "euler",
        "seed": 7,
        "n": 1,
    },
    "metadata": {"customer": "42"},
    "priority": 0,
    "webhook_url": None,
    "mode": "live",
    "images": [_IMAGE],
    "error": None,
    "quote": _PRICE,
    "cost": _PRICE | {"refunded": 0},
    "queue": None,
    "attempt": 1,
    "cancel_requested": False,
    "cancel_reason": None,
    "deadline": "2026-11-23T05:41:30.024118Z",
    "queue_deadline": None,
    "max_run_seconds": None,
    "created_at": "2026-11-22T05:41:30.024118Z",
    "started_at": "2026-11-22T05:41:30.061902Z",
    "finished_at": "2026-11-22T05:41:36.811377Z",
    "queued_seconds": 0.037784,
    "running_seconds": 6.749475,
}

_MODEL: dict[str, Any] = {
    "id": "impasto-shapes",
    "object": "model",
    "name": "Impasto tiny",
    "description": "Paints small shapes, quickly and anywhere.",
    "base": "sd-1",
    "default": True,
    "default_width": 128,
    "default_height": 128,
    "default_steps": 20,
    "default_guidance": 7.5,
    "default_scheduler": "euler",
    "max_pixels": 262_144,
    "created_at": "2026-11-22T05:40:58.120554Z",
}

_PIPELINE: dict[str, Any] = {
    "id": "text-to-image",
    "object": "pipeline",
    "title": "Text to image",
    "description": "Paints a picture of a prompt.",
    "input_schema": {"type": "object", "properties": {"prompt": {"type": "string"}}, "required": ["prompt"]},
    "limits": {
        "min_side": 64,
        "max_side": 2048,
        "max_steps": 100,
        "max_images": 4,
        "max_prompt_length": 2000,
    },
}

_USAGE: dict[str, Any] = {
    "object": "usage",
    "day": "2026-11-22",
    "model": None,
    "api_key_id": None,
    "api_key_name": None,
    "jobs_succeeded": 12,
    "jobs_failed": 0,
    "jobs_canceled": 1,
    "images": 24,
    "pixel_steps": 125_829_120,
    "gpu_seconds": 31.8,
    "credits": 60,
}

_GRANT: dict[str, Any] = {
    "id": "grant_01m80wfa3wev5ahqv2w3zdnkxk",
    "object": "credit_grant",
    "source": "monthly",
    "amount": 500,
    "remaining": 497,
    "priority": 10,
    "valid_from": "2026-11-01T00:00:00Z",
    "valid_until": "2026-12-01T00:00:00Z",
    "reference": "monthly:2026-11",
    "created_at": "2026-11-01T00:00:00Z",
}

_ENTRY: dict[str, Any] = {
    "id": "entry_01m80wh5h8e2sbnz8jwgz94ttq",
    "object": "credit_entry",
    "kind": "hold",
    "available": -3,
    "held": 3,
    "spent": 0,
    "owed": 0,
    "job_id": "job_01m80wh5h8e2sbnz8jwgz94ttp",
    "api_key_id": "key_01m80wfa3wev5ahqv2w3zdnkxk",
    "description": "",
    "created_at": "2026-11-22T05:41:30.611078Z",
}

_PACK: dict[str, Any] = {
    "id": "small",
    "object": "pack",
    "name": "2,000 credits",
    "credits": 2000,
    "price_cents": 1200,
    "currency": "usd",
}

_INVOICE: dict[str, Any] = {
    "id": "in_1RkQ2aB3c4D5e6F7",
    "object": "invoice",
    "number": "IMP-0042",
    "status": "paid",
    "amount_cents": 2500,
    "currency": "usd",
    "created_at": "2026-11-22T05:41:07Z",
    "url": "https://invoice.stripe.com/i/...",
    "pdf_url": "https://pay.stripe.com/invoice/.../pdf",
}

_SECRET = {
    "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=",
    "public_key": "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
}

_WEBHOOK_ENDPOINT: dict[str, Any] = {
    "id": "whe_01m80wr2d5e8f0g3h6j9k1m4np",
    "object": "webhook_endpoint",
    "url": "https://example.com/impasto",
    "description": "orders",
    "events": ["job.succeeded", "job.failed"],
    "ordered": False,
    "status": "enabled",
    "disabled_reason": None,
    "disabled_at": None,
    "failing_since": None,
    "public_key": _SECRET["public_key"],
    "created_at": "2026-11-22T05:40:12.031844Z",
}

_WEBHOOK_DELIVERY: dict[str, Any] = {
    "id": "whd_01m80whcb3r7s9t2v4w6x8y0za",
    "object": "webhook_delivery",
    "event_id": "evt_01m80whcb2n5p7q9r1s3t5v7w9",
    "event_type": "job.succeeded",
    "endpoint_id": _WEBHOOK_ENDPOINT["id"],
    "url": _WEBHOOK_ENDPOINT["url"],
    "job_id": "job_01m80wh5h8e2sbnz8jwgz94ttp",
    "status": "succeeded",
    "attempts": 1,
    "next_attempt_at": None,
    "created_at": "2026-11-22T05:41:36.811377Z",
    "finished_at": "2026-11-22T05:41:36.902165Z",
}

_JOB_TOLD: dict[str, Any] = {
    "id": "job_01m80wh5h8e2sbnz8jwgz94ttp",
    "object": "job",
    "status": "succeeded",
    "pipeline": "text-to-image",
    "model": "impasto-shapes",
    "workflow": None,
    "metadata": {"customer": "42"},
    "priority": 0,
    "mode": "live",
    "images": [
        {
            "id": "img_01m80whc55fm9sg4h5yq4d5v1c",
            "index": 0,
            "node": "image_0",
            "width": 512,
            "height": 512,
            "content_type": "image/png",
            "size": 312_044,
            "seed": 7,
            "path": "/v1/images/img_01m80whc55fm9sg4h5yq4d5v1c",
        }
    ],
    "error": None,
    "cost": 1,
    "attempt": 1,
    "created_at": "2026-11-22T05:41:30.024118Z",
    "started_at": "2026-11-22T05:41:30.061902Z",
    "finished_at": "2026-11-22T05:41:36.811377Z",
    "path": "/v1/jobs/job_01m80wh5h8e2sbnz8jwgz94ttp",
    "omitted": [],
}

WEBHOOKS: dict[str, dict[str, Any]] = {
    event: {"type": event, "timestamp": "2026-11-22T05:41:36.811Z", "data": data}
    for event, data in {
        "job.succeeded": _JOB_TOLD,
        "job.failed": _JOB_TOLD
        | {
            "status": "failed",
            "images": [],
            "error": {
                "code": "out-of-memory",
                "message": "It did not fit on the device: ask for fewer pixels.",
                "node_id": "denoise_0",
                "node_type": "denoise_latents",
                "retryable": False,
            },
            "cost": 0,
        },
        "job.canceled": _JOB_TOLD | {"status": "canceled", "images": [], "cost": 0},
        "credits.low": {"object": "balance", "available": 1_488, "held": 12, "threshold": 1_500},
        "spend_cap.alert": {
            "object": "spend_alert",
            "api_key_id": None,
            "month": "2026-11",
            "percent": 50,
            "cap": 1000,
            "spent": 501,
        },
        "invoice.paid": {
            "object": "invoice",
            "provider": "stripe",
            "payment_id": "in_1RkQ2aB3c4D5e6F7",
            "pack": "small",
            "plan": None,
            "amount": 1200,
            "currency": "usd",
            "credits": 2000,
            "period_start": None,
            "period_end": None,
        },
        "webhook_endpoint.disabled": {
            "object": "webhook_endpoint",
            "id": _WEBHOOK_ENDPOINT["id"],
            "reason": "failing",
            "failing_since": "2026-11-17T05:41:36.811377Z",
            "path": f"/v1/webhook-endpoints/{_WEBHOOK_ENDPOINT['id']}",
        },
        "webhook.test": {"endpoint_id": _WEBHOOK_ENDPOINT["id"], "message": "It works."},
    }.items()
}
"""The bodies of the requests that we send, by the types of their events."""

GRAPH = {
    "nodes": {
        "blank": {"id": "blank", "type": "blank_image", "width": 64, "height": 64, "is_intermediate": True},
        "noisy": {"id": "noisy", "type": "img_noise", "amount": 0.5, "is_intermediate": False},
    },
    "edges": [
        {
            "source": {"node_id": "blank", "field": "image"},
            "destination": {"node_id": "noisy", "field": "image"},
        }
    ],
}
"""A graph that needs no model."""

_NODE = {
    "type": "img_blur",
    "object": "node",
    "title": "Blur Image",
    "description": "Blurs an image",
    "category": "image",
    "tags": ["image", "blur"],
    "version": "1.2.2",
}

_WORKFLOW = {
    "slug": "product-shot",
    "object": "workflow",
    "name": "Product shot",
    "description": "A thing on a white table.",
    "latest_version": 1,
    "created_at": "2026-11-22T05:41:07Z",
    "archived_at": None,
}

_WORKFLOW_DOCUMENT = {
    "meta": {"version": "3.0.0"},
    "nodes": [
        {
            "id": "paper",
            "type": "invocation",
            "data": {
                "id": "paper",
                "type": "blank_image",
                "isIntermediate": False,
                "inputs": {
                    "width": {"name": "width", "label": "Side", "value": 64},
                    "height": {"name": "height", "value": 64},
                },
            },
        }
    ],
    "edges": [],
    "exposedFields": [{"nodeId": "paper", "fieldName": "width"}],
}

_WORKFLOW_VERSION = {
    "workflow": "product-shot",
    "object": "workflow_version",
    "version": 1,
    "input_schema": {
        "type": "object",
        "properties": {"side": {"type": "integer", "title": "Side", "default": 64}},
        "required": [],
        "additionalProperties": False,
    },
    "created_at": "2026-11-22T05:41:07Z",
}

EXAMPLES: dict[str, dict[str, Any]] = {
    "ApiKey": _KEY,
    "ApiKeyCreate": {"name": "nightly batch", "scopes": ["images:read", "jobs:read", "jobs:write"]},
    "ApiKeyRoll": {"grace_seconds": 3600},
    "AutoTopUp": {
        "object": "auto_top_up",
        "enabled": True,
        "threshold": 500,
        "pack": "small",
        "failures": 0,
        "last_error": None,
        "next_try_at": None,
    },
    "AutoTopUpSet": {"enabled": True, "threshold": 500, "pack": "small"},
    "CheckoutSession": {
        "id": "cs_live_a1B2c3D4",
        "object": "checkout_session",
        "url": "https://checkout.stripe.com/c/pay/...",
        "expires_at": "2026-11-23T05:41:07Z",
    },
    "CheckoutSessionCreate": {
        "pack": "small",
        "plan": None,
        "success_url": "https://app.example.com/thanks",
        "cancel_url": "https://app.example.com/credits",
    },
    "Invoice": _INVOICE,
    "Pack": _PACK,
    "PortalSession": {"object": "portal_session", "url": "https://billing.stripe.com/p/session/..."},
    "PortalSessionCreate": {"return_url": "https://app.example.com/account"},
    "Subscription": {
        "object": "subscription",
        "status": "active",
        "plan": "starter",
        "next_plan": "starter",
        "cancel_at_period_end": False,
        "current_period_start": "2026-11-22T05:41:07Z",
        "current_period_end": "2026-12-22T05:41:07Z",
        "provider": "stripe",
    },
    "SubscriptionChange": {"plan": "pro"},
    "WebhookEndpoint": _WEBHOOK_ENDPOINT,
    "WebhookEndpointCreate": {
        "url": "https://example.com/impasto",
        "description": "orders",
        "events": ["job.succeeded", "job.failed"],
        "ordered": False,
        "enabled": True,
    },
    "WebhookEndpointUpdate": {
        "url": None,
        "description": None,
        "events": None,
        "ordered": None,
        "enabled": True,
    },
    "NewWebhookEndpoint": _WEBHOOK_ENDPOINT | _SECRET,
    "WebhookSecret": {
        "object": "webhook_secret",
        **_SECRET,
        "created_at": "2026-11-22T05:40:12.031844Z",
        "previous_expires_at": None,
    },
    "WebhookSecretRotate": {"overlap_seconds": 86_400},
    "WebhookDelivery": _WEBHOOK_DELIVERY,
    "WebhookDeliveryDetails": _WEBHOOK_DELIVERY
    | {
        "request_body": '{"type":"job.succeeded","timestamp":"2026-11-22T05:41:36.811Z","data":{...}}',
        "log": [
            {
                "number": 1,
                "started_at": "2026-11-22T05:41:36.820416Z",
                "duration_ms": 81,
                "outcome": "succeeded",
                "url": _WEBHOOK_ENDPOINT["url"],
                "request_headers": {"webhook-timestamp": "1795326096"},
                "response_status": 200,
                "response_headers": {"content-type": "text/plain"},
                "response_body": "ok",
                "error": None,
            }
        ],
    },
    "WebhookRedeliver": {"since": "2026-11-22T05:00:00Z", "until": None, "include_succeeded": False},
    "Redelivery": {"object": "redelivery", "count": 12, "next_since": None},
    "Graph": GRAPH,
    "Health": {"status": "ok"},
    "Image": _IMAGE,
    "Job": _JOB,
    "Model": _MODEL,
    "Node": _NODE,
    "NodeDetails": _NODE
    | {
        "inputs": [
            {
                "name": "radius",
                "type": "float",
                "source": "any",
                "required": False,
                "hidden": False,
                "value_schema": {"type": "number", "minimum": 0, "default": 8.0},
            }
        ],
        "outputs": [{"name": "width", "type": "int", "value_schema": {"type": "integer"}}],
        "definitions": {},
        "node_schema": {"type": "object"},
        "invokeai_version": "6.14.2",
    },
    "Plan": _PLAN,
    "Workflow": _WORKFLOW,
    "WorkflowCreate": {
        "slug": "product-shot",
        "name": "Product shot",
        "description": "A thing on a white table.",
        "workflow": _WORKFLOW_DOCUMENT,
    },
    "WorkflowDiff": {
        "before": 1,
        "after": 2,
        "nodes_added": [],
        "nodes_removed": [],
        "nodes_changed": [
            {
                "id": "paper",
                "type": "blank_image",
                "fields": [{"field": "height", "before": 64, "after": 128}],
            }
        ],
        "edges_added": [],
        "edges_removed": [],
        "inputs_added": [],
        "inputs_removed": [],
        "inputs_changed": [],
    },
    "WorkflowRunCreate": {
        "input": {"side": 128},
        "version": None,
        "metadata": {},
        "priority": 0,
        "max_cost": None,
        "webhook_url": None,
        "deadline": "2026-11-22T06:00:00Z",
        "max_queue_seconds": 60,
        "max_run_seconds": 30,
    },
    "WorkflowVersion": _WORKFLOW_VERSION,
    "WorkflowVersionCreate": {"workflow": _WORKFLOW_DOCUMENT},
    "WorkflowVersionDetails": _WORKFLOW_VERSION | {"graph": GRAPH, "document": _WORKFLOW_DOCUMENT},
    "QuoteWithBalance": _PRICE | {"object": "quote", "available": 500, "covered": True},
    "SpendAlert": _SPEND_ALERT,
    "SpendCap": _SPEND_CAP,
    "SpendCapSet": {"amount": 1000, "api_key_id": None},
    "NewApiKey": _KEY | {"secret": "imp_live_Z7aOjGGZRQXJoKnhle4Kx7ZVKm6PYpfEkgGfl92BQnaM4aiWon"},
    "Pipeline": _PIPELINE,
    "ProblemDetails": {
        "type": "https://docs.impasto.dev/problems/validation-failed",
        "title": "The request is not valid",
        "status": 422,
        "detail": "input.width: Input should be a multiple of 8",
        "instance": "/v1/jobs",
        "code": "validation-failed",
        "request_id": "req_01m80wjn3ze7prxx2c0gqyx2sf",
        "errors": [
            {
                "location": "body",
                "field": "input.width",
                "pointer": "/input/width",
                "code": "multiple_of",
                "detail": "Input should be a multiple of 8",
            }
        ],
    },
    "Upload": {
        "id": "upl_01m80wk0pkf10b5d1ew1jfxrbg",
        "object": "upload",
        "status": "pending",
        "content_type": "image/png",
        "size": 48_213,
        "method": "PUT",
        "url": "https://images.example.com/impasto/.../original?X-Amz-Expires=900&X-Amz-Signature=...",
        "headers": {"Content-Type": "image/png"},
        "width": None,
        "height": None,
        "created_at": "2026-11-22T05:42:30.611078Z",
        "expires_at": "2026-11-22T05:57:30.611078Z",
    },
    "CreditBalance": {
        "object": "credit_balance",
        "available": 497,
        "held": 3,
        "owed": 0,
        "expiring_soon": 0,
        "next_expiry": "2026-12-01T00:00:00Z",
    },
    "CreditGrant": _GRANT,
    "CreditEntry": _ENTRY,
    "Storage": {"object": "storage_usage", "used_bytes": 48_213, "limit_bytes": 1_000_000_000},
    "Usage": _USAGE,
    "UploadCreate": {"content_type": "image/png", "size": 48_213},
    "Version": {"version": "0.1.0"},
} | {
    f"{name}Page": {"data": [item], "has_more": False, "next_cursor": None}
    for name, item in (
        ("ApiKey", _KEY),
        ("CreditEntry", _ENTRY),
        ("Invoice", _INVOICE),
        ("Pack", _PACK),
        ("CreditGrant", _GRANT),
        ("Usage", _USAGE),
        ("Image", _IMAGE),
        ("Job", _JOB),
        ("Model", _MODEL),
        ("Node", _NODE),
        ("WebhookDelivery", _WEBHOOK_DELIVERY),
        ("WebhookEndpoint", _WEBHOOK_ENDPOINT),
        ("Workflow", _WORKFLOW),
        ("WorkflowVersion", _WORKFLOW_VERSION),
        ("Plan", _PLAN),
        ("SpendAlert", _SPEND_ALERT),
        ("SpendCap", _SPEND_CAP),
        ("Pipeline", _PIPELINE),
    )
}

USAGE_CSV = """\
day,model,api_key_id,api_key_name,jobs_succeeded,jobs_failed,jobs_canceled,images,pixel_steps,gpu_seconds,credits
2026-11-22,impasto-shapes,,,12,0,1,24,125829120,31.8,60
2026-11-21,impasto-shapes,,,3,1,0,3,15728640,4.1,9
"""

NOT_ENOUGH_CREDITS = {
    "type": "https://docs.impasto.dev/problems/not-enough-credits",
    "title": "The balance does not cover the job",
    "status": 402,
    "detail": "The job can cost 6 credits and 2 are available. Get more at https://impasto.dev/billing",
    "instance": "/v1/jobs",
    "code": "not-enough-credits",
    "request_id": "req_01m80wq4nzf7gs8rjwthb2c5xe",
    "errors": [],
    "required": 6,
    "available": 2,
    "top_up_url": "https://impasto.dev/billing",
}

QUOTA_EXCEEDED = {
    "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
    "title": "Too many requests",
    "status": 429,
    "detail": "Your plan makes 10 jobs an hour. See GET /v1/plans for more.",
    "instance": "/v1/jobs",
    "code": "quota-exceeded",
    "request_id": "req_01m80wk0pkf10b5d1ew1jfxrbg",
    "errors": [],
    "violated-policies": ["job-creations"],
}

EVENTS = """\
id: 0-1
event: queued
data: {"type":"queued","job_id":"job_01m80wh5h8e2sbnz8jwgz94ttp","queue":{"position":3,"eta_seconds":12.5}}

id: 1-1
event: started
data: {"type":"started","job_id":"job_01m80wh5h8e2sbnz8jwgz94ttp","attempt":1}

id: 1-2
event: step
data: {"type":"step","node":"denoise_0","step":1,"total":20,"progress":0.05}

"""
