"""Our API, and in the same process its `POST /v1/jobs` at /off: without key, validation and rate limits.

Neither makes a job, which costs many times as much, and the same on both sides: what remains is the checks.
"""

from __future__ import annotations

import sys
from typing import Any, cast
from uuid import UUID

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from impasto_api.app import create_app
from impasto_api.auth.keys import Principal
from impasto_api.examples import EXAMPLES
from impasto_api.jobs import service
from impasto_api.jobs.service import Answer
from impasto_api.rate_limits.middleware import RateLimits, RequestLimits
from impasto_core.ids import new_id
from impasto_core.settings import get_settings

JOB_ID: UUID = new_id()


async def make_nothing(
    services: object, principal: Principal, request: object, *, limits: RequestLimits, **_: Any
) -> Answer:
    await limits.count_job(principal)
    return Answer(JOB_ID, EXAMPLES["Job"], replayed=False)


def _unchecked() -> FastAPI:
    """What stands before the API's endpoints, less the rate limits, and one endpoint that checks nothing."""
    app = create_app(get_settings())
    app.user_middleware = [one for one in app.user_middleware if one.cls is not cast(object, RateLimits)]

    @app.post("/off")
    async def create(request: Request) -> JSONResponse:
        await request.json()
        return JSONResponse(EXAMPLES["Job"], 202, {"Location": f"/v1/jobs/{EXAMPLES['Job']['id']}"})

    return app


class _Switch:
    def __init__(self, api: ASGIApp, unchecked: ASGIApp) -> None:
        self._api = api
        self._unchecked = unchecked

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._unchecked if scope.get("path") == "/off" else self._api
        await app(scope, receive, send)


def main(port: int) -> None:
    service.create = cast(Any, make_nothing)
    app = _Switch(create_app(get_settings()), _unchecked())
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False, proxy_headers=False)


if __name__ == "__main__":
    main(int(sys.argv[1]))
