"""Stripe's errors: https://docs.stripe.com/api/errors."""

from __future__ import annotations

from typing import Any


class StripeProblem(Exception):
    """An answer that is not 2xx."""

    status = 400
    type = "invalid_request_error"

    def __init__(self, message: str, code: str | None = None, param: str | None = None, **more: Any) -> None:
        super().__init__(message)
        self.code = code
        self.body = {
            "error": {"type": self.type, "message": message}
            | {name: value for name, value in {"code": code, "param": param, **more}.items() if value}
        }


class InvalidRequest(StripeProblem):
    pass


class Missing(InvalidRequest):
    status = 404

    def __init__(self, kind: str, id_: str, param: str = "id") -> None:
        super().__init__(f"No such {kind}: '{id_}'", "resource_missing", param)


class Unauthorized(InvalidRequest):
    status = 401


class KeyReused(StripeProblem):
    type = "idempotency_error"


class CardDeclined(StripeProblem):
    status = 402
    type = "card_error"

    def __init__(self, **more: Any) -> None:
        super().__init__("Your card was declined.", "card_declined", decline_code="generic_decline", **more)
