"""Our API, and in the same process its `POST /v1/jobs` at /off: without key, validation and rate limits."""

from __future__ import annotations

import sys
from typing import cast

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import TypeAdapter
from starlette.types import ASGIApp, Receive, Scope, Send

from impasto_api.app import create_app
from impasto_api.auth.keys import Principal
from impasto_api.jobs import service
from impasto_api.jobs.schemas import TextToImageRequest
from impasto_api.rate_limits.middleware import RateLimits, RequestLimits
from impasto_core.settings import get_settings


class _NoLimits:
    async def count_job(self, principal: Principal) -> None:
        pass


def _unchecked(api: FastAPI, token: str, job_request: TextToImageRequest) -> FastAPI:
    """What stands before the API's endpoints, less the rate limits, and one endpoint that checks nothing."""
    app = create_app(get_settings())
    app.user_middleware = [one for one in app.user_middleware if one.cls is not cast(object, RateLimits)]
    limits = cast(RequestLimits, _NoLimits())
    principals: list[Principal] = []

    @app.post("/off")
    async def create(request: Request) -> JSONResponse:
        services = api.state.services
        if not principals:
            principals.append(await services.keys.authenticate(token))
        await request.json()
        answer = await service.create(
            services, principals[0], job_request, key=None, fingerprint=b"", limits=limits
        )
        return JSONResponse(answer.body, 202, {"Location": f"/v1/jobs/{answer.body['id']}"})

    return app


class _Switch:
    def __init__(self, api: ASGIApp, unchecked: ASGIApp) -> None:
        self._api = api
        self._unchecked = unchecked

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._unchecked if scope.get("path") == "/off" else self._api
        await app(scope, receive, send)


def main(port: int, token: str, body: str) -> None:
    api = create_app(get_settings())
    job_request = TypeAdapter(TextToImageRequest).validate_json(body)
    app = _Switch(api, _unchecked(api, token, job_request))
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False, proxy_headers=False)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
