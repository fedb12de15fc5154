"""What a key may do. A scope is a resource and `read` or `write`; write does not include read."""

from __future__ import annotations

from enum import StrEnum


class Scope(StrEnum):
    JOBS_READ = "jobs:read"
    JOBS_WRITE = "jobs:write"
    IMAGES_READ = "images:read"
    IMAGES_WRITE = "images:write"
    UPLOADS_READ = "uploads:read"
    UPLOADS_WRITE = "uploads:write"
    MODELS_READ = "models:read"
    NODES_READ = "nodes:read"
    WORKFLOWS_READ = "workflows:read"
    WORKFLOWS_WRITE = "workflows:write"
    API_KEYS_READ = "api_keys:read"
    API_KEYS_WRITE = "api_keys:write"
    USAGE_READ = "usage:read"
    BILLING_READ = "billing:read"
    BILLING_WRITE = "billing:write"
    WEBHOOKS_READ = "webhooks:read"
    WEBHOOKS_WRITE = "webhooks:write"


ALL_SCOPES = tuple(Scope)
DEFAULT_SCOPES = tuple(
    scope for scope in Scope if not scope.startswith("api_keys:") and scope != Scope.BILLING_WRITE
)
"""What a key gets where its maker says nothing: all but the power over keys and money."""
