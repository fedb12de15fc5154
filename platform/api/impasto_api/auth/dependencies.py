"""Authentication as FastAPI dependencies. `Allowed(Scope.X)` is what an endpoint declares."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer, SecurityScopes
from fastapi.security.http import HTTPAuthorizationCredentials

from impasto_api.api_versions import pin
from impasto_api.auth.keys import InvalidKey, Principal
from impasto_api.problems import Forbidden, Unauthenticated
from impasto_api.rate_limits.middleware import RequestLimitsDep
from impasto_api.services import ServicesDep
from impasto_core.api_keys.scopes import Scope
from impasto_core.ids import format_id
from impasto_core.telemetry import bind

_bearer = HTTPBearer(
    scheme_name="api_key",
    bearerFormat="imp_live_... or imp_test_...",
    description="An API key, made with `POST /v1/api-keys` or `impastoctl keys create`.",
    auto_error=False,
)


async def authenticate(
    request: Request,
    services: ServicesDep,
    limits: RequestLimitsDep,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> Principal:
    if credentials is None:
        raise Unauthenticated("Send your API key in the header Authorization: Bearer imp_live_...")
    try:
        principal = await services.keys.authenticate(credentials.credentials)
    except InvalidKey as error:
        await limits.count_failed_authentication()
        raise Unauthenticated(str(error)) from None
    pin(request, principal.api_version)
    bind(organization_id=format_id("org", principal.organization_id))
    await limits.admit(principal)
    return principal


async def authorize(
    request: Request, principal: Annotated[Principal, Depends(authenticate)], wanted: SecurityScopes
) -> Principal:
    missing = sorted(set(wanted.scopes) - principal.scopes)
    if missing:
        raise Forbidden(f"The key lacks the scope {missing[0]}. Make one that has it.")
    return principal


def Allowed(scope: Scope) -> Any:  # noqa: N802  # reads as a type in `Annotated`
    return Security(authorize, scopes=[scope.value])


JobsReader = Annotated[Principal, Allowed(Scope.JOBS_READ)]
JobsWriter = Annotated[Principal, Allowed(Scope.JOBS_WRITE)]
ImagesReader = Annotated[Principal, Allowed(Scope.IMAGES_READ)]
ImagesWriter = Annotated[Principal, Allowed(Scope.IMAGES_WRITE)]
UploadsReader = Annotated[Principal, Allowed(Scope.UPLOADS_READ)]
UploadsWriter = Annotated[Principal, Allowed(Scope.UPLOADS_WRITE)]
NodesReader = Annotated[Principal, Allowed(Scope.NODES_READ)]
WorkflowsReader = Annotated[Principal, Allowed(Scope.WORKFLOWS_READ)]
WorkflowsWriter = Annotated[Principal, Allowed(Scope.WORKFLOWS_WRITE)]
ModelsReader = Annotated[Principal, Allowed(Scope.MODELS_READ)]
ApiKeysReader = Annotated[Principal, Allowed(Scope.API_KEYS_READ)]
ApiKeysWriter = Annotated[Principal, Allowed(Scope.API_KEYS_WRITE)]
UsageReader = Annotated[Principal, Allowed(Scope.USAGE_READ)]
BillingReader = Annotated[Principal, Allowed(Scope.BILLING_READ)]
BillingWriter = Annotated[Principal, Allowed(Scope.BILLING_WRITE)]
WebhooksReader = Annotated[Principal, Allowed(Scope.WEBHOOKS_READ)]
WebhooksWriter = Annotated[Principal, Allowed(Scope.WEBHOOKS_WRITE)]
