"""The FastAPI app."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from impasto_api import health, openapi, problems
from impasto_api.api_keys.endpoints import router as api_keys
from impasto_api.api_versions import ApiVersions
from impasto_api.billing.endpoints import router as billing
from impasto_api.billing.webhooks import router as payment_webhooks
from impasto_api.body_limit import BodyLimit
from impasto_api.credits.endpoints import router as credit_ledger
from impasto_api.images.endpoints import router as images
from impasto_api.jobs.endpoints import router as jobs
from impasto_api.models.endpoints import router as models
from impasto_api.nodes.endpoints import router as nodes
from impasto_api.pipelines.endpoints import router as pipelines
from impasto_api.plans.endpoints import router as plans
from impasto_api.quotes.endpoints import router as quotes
from impasto_api.rate_limits.middleware import RateLimits
from impasto_api.requests import RequestLog
from impasto_api.services import open_services
from impasto_api.sockets.endpoint import PATH as SOCKETS_PATH
from impasto_api.sockets.endpoint import SocketsEndpoint
from impasto_api.sockets.endpoint import endpoint as sockets
from impasto_api.spend_caps.endpoints import router as spend_caps
from impasto_api.uploads.endpoints import router as uploads
from impasto_api.usage.endpoints import router as usage
from impasto_api.webhooks.deliveries import router as webhook_deliveries
from impasto_api.webhooks.endpoints import router as webhook_endpoints
from impasto_api.webhooks.endpoints import secret_router as webhook_secret
from impasto_api.workflows.endpoints import router as workflows
from impasto_core.clock import Clock, utc_now
from impasto_core.settings import Settings, get_settings


def create_app(settings: Settings | None = None, *, clock: Clock = utc_now) -> FastAPI:
    """The app, which opens its connections when it starts. Settings come from the environment by default."""
    max_body_bytes = settings.max_body_bytes if settings else Settings.model_fields["max_body_bytes"].default

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with (
            open_services(settings or get_settings(), clock) as services,
            SocketsEndpoint(services).running() as sockets_endpoint,
        ):
            app.state.services, app.state.sockets = services, sockets_endpoint
            yield

    app = FastAPI(
        title="Impasto",
        summary="Image generation: a prompt in, a picture out.",
        description=openapi.DESCRIPTION,
        version=version("impasto-api"),
        lifespan=lifespan,
        redirect_slashes=False,
        # Its records of errors would hold what customers wrote, and its inner spans cost more than they tell.
        telemetry={"logs": False, "operation_spans": False, "auto_configure": False},
    )
    for router in (
        jobs,
        quotes,
        images,
        uploads,
        models,
        pipelines,
        nodes,
        workflows,
        plans,
        usage,
        credit_ledger,
        billing,
        payment_webhooks,
        spend_caps,
        api_keys,
        webhook_endpoints,
        webhook_deliveries,
        webhook_secret,
        health.router,
    ):
        app.include_router(router)
    app.mount(SOCKETS_PATH, sockets)
    app.add_middleware(BodyLimit, max_bytes=max_body_bytes)
    app.add_middleware(RateLimits)
    app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=settings.trusted_proxies if settings else "")
    app.add_middleware(ApiVersions)
    app.add_middleware(RequestLog)
    problems.install(app)
    app.openapi = lambda: openapi.document(app)  # type: ignore[method-assign]
    return app
