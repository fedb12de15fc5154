"""What can go wrong, one class for each thing a program may want to treat differently.

ImpastoError
├── ResponseError                 there was an answer: `.status`, `.request_id`, `.response`
│   ├── APIError                  it was a problem document (RFC 9457)
│   │   ├── BadRequestError       400, 405, 413, 415: the request makes no sense
│   │   ├── AuthenticationError   401: no key, or one that is not valid (any more)
│   │   ├── PaymentRequiredError  402
│   │   │   ├── NotEnoughCreditsError
│   │   │   └── SpendCapReachedError
│   │   ├── PermissionDeniedError 403: the key lacks a scope
│   │   │   └── NotInPlanError    or the plan does not include it
│   │   ├── NotFoundError         404
│   │   ├── ConflictError         409
│   │   │   ├── JobAlreadyFinishedError
│   │   │   └── CancelAlreadyRequestedError
│   │   ├── InvalidRequestError   422: fields are wrong, `.errors` names them
│   │   │   ├── IdempotencyKeyReusedError
│   │   │   └── QuoteAboveMaxCostError
│   │   ├── RateLimitError        429
│   │   └── ServerError           5xx
│   ├── StorageError              the object store refused an upload or a download
│   └── InvalidResponseError      this version of the SDK cannot read it
├── APIConnectionError            no answer at all
│   └── APITimeoutError           no answer in time
├── JobError                      `.job_id`
│   ├── JobFailed                 `.job.error` says why
│   ├── JobCanceled
│   └── WaitTimeout               the job goes on, only the waiting ended
├── WebhookVerificationError      what came is not from Impasto: `.reason` says why
└── WebhookSecretError            what is to verify it with is no secret
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

if TYPE_CHECKING:
    import httpx

    from .types import Job

_HINTS = {
    401: "Pass api_key=... or set IMPASTO_API_KEY to a key that has not expired or been revoked.",
    403: "Use a key that has the scope, on a plan that includes it.",
    429: "Slow down, or raise max_retries= to have the client wait.",
    503: "Try again in a moment.",
}

_CANCELED = {
    "deadline": ": it had not ended by its deadline",
    "queue-limit": ": no worker had begun it in time",
    "run-limit": ": it ran for longer than its max_run_seconds",
}


WebhookRefusal: TypeAlias = Literal[
    "missing-header", "invalid-header", "too-old", "too-new", "wrong-signature", "not-an-event"
]


class ImpastoError(Exception):
    """The base of everything the SDK raises on purpose."""


@dataclass(frozen=True)
class FieldError:
    """One thing that is wrong with a request, and where."""

    location: str
    """body, query, path or header."""
    field: str
    """For instance `input.width`."""
    pointer: str | None
    """The same as a JSON pointer into the body: `/input/width`."""
    code: str
    detail: str

    @classmethod
    def parse(cls, item: Mapping[str, Any]) -> FieldError:
        return cls(
            location=str(item.get("location", "")),
            field=str(item.get("field", "")),
            pointer=item.get("pointer"),
            code=str(item.get("code", "")),
            detail=str(item.get("detail", "")),
        )


class ResponseError(ImpastoError):
    """There was an answer, but not the one that was hoped for."""

    def __init__(self, response: httpx.Response, *message: str) -> None:
        super().__init__(response, *message)
        self.response = response
        self.status: int = response.status_code
        self.request_id: str | None = response.headers.get("x-request-id")

    def retry_after(self, now: datetime) -> float | None:
        """Seconds the server asks to wait, from either form of Retry-After. None if it did not ask."""
        value = self.response.headers.get("retry-after", "")
        if value.isdigit():
            return float(value)
        try:
            return max(0.0, (parsedate_to_datetime(value) - now).total_seconds())
        except (ValueError, TypeError):  # no date, or one without a zone
            return None


class APIError(ResponseError):
    """The API answered with a problem document, or something in front of the API with an error of its own."""

    def __init__(self, response: httpx.Response) -> None:
        super().__init__(response)
        problem = _problem(response)
        self.type: str = problem.get("type", "about:blank")
        self.code: str | None = problem.get("code")
        self.title: str = problem.get("title") or response.reason_phrase or "unknown problem"
        self.detail: str | None = problem.get("detail")
        self.instance: str | None = problem.get("instance")
        self.request_id: str | None = self.request_id or problem.get("request_id")
        self.errors: list[FieldError] = [FieldError.parse(item) for item in problem.get("errors") or ()]

    @staticmethod
    def of(response: httpx.Response) -> APIError:
        """The error for a response that is not a success; its body must have been read."""
        code = _problem(response).get("code")
        kind = _BY_CODE.get(str(code)) or _BY_STATUS.get(response.status_code)
        if kind is None:
            kind = ServerError if response.status_code >= 500 else APIError
        return kind(response)

    def __str__(self) -> str:
        lines = [f"{self.status} {self.code or ''}".strip() + f": {self.detail or self.title}"]
        lines += [f"  {error.field or error.location}: {error.detail}" for error in self.errors]
        if 300 <= self.status < 400:
            location = self.response.headers.get("location")
            lines.append(
                f"The SDK follows no redirects, to keep the key at home. Is base_url right? ({location})"
            )
        if hint := _HINTS.get(self.status):
            lines.append(hint)
        if self.request_id:
            lines.append(f"(request {self.request_id})")
        return "\n".join(lines)


class BadRequestError(APIError): ...


class AuthenticationError(APIError): ...


class PaymentRequiredError(APIError): ...


class NotEnoughCreditsError(PaymentRequiredError):
    """The job can cost `required` credits, and `available` are there. More at `top_up_url`."""

    def __init__(self, response: httpx.Response) -> None:
        super().__init__(response)
        problem = _problem(response)
        self.required: int = problem.get("required", 0)
        self.available: int = problem.get("available", 0)
        self.top_up_url: str | None = problem.get("top_up_url")


class SpendCapReachedError(PaymentRequiredError):
    """The job can cost `required` credits; `spent` of the month's `cap` are spent or held.

    `api_key_id` is the key whose cap it is, None where it is the organization's.
    """

    def __init__(self, response: httpx.Response) -> None:
        super().__init__(response)
        problem = _problem(response)
        self.required: int = problem.get("required", 0)
        self.spent: int = problem.get("spent", 0)
        self.cap: int = problem.get("cap", 0)
        self.api_key_id: str | None = problem.get("api_key_id")


class PermissionDeniedError(APIError): ...


class NotInPlanError(PermissionDeniedError):
    """The plan does not include it. `allowed_by` is the smallest plan that does, if there is one."""

    def __init__(self, response: httpx.Response) -> None:
        super().__init__(response)
        self.plan: str | None = _problem(response).get("plan")
        self.allowed_by: str | None = _problem(response).get("allowed_by")


class NotFoundError(APIError): ...


class ConflictError(APIError): ...


class JobAlreadyFinishedError(ConflictError): ...


class CancelAlreadyRequestedError(ConflictError): ...


class InvalidRequestError(APIError): ...


class IdempotencyKeyReusedError(InvalidRequestError): ...


class QuoteAboveMaxCostError(InvalidRequestError):
    """The job is quoted at `quote` credits, which is more than its `max_cost`."""

    def __init__(self, response: httpx.Response) -> None:
        super().__init__(response)
        self.quote: int = _problem(response).get("quote", 0)
        self.max_cost: int = _problem(response).get("max_cost", 0)


class RateLimitError(APIError):
    """Too many requests: `violated_policies` names the limits, which the header RateLimit-Policy explains."""

    def __init__(self, response: httpx.Response) -> None:
        super().__init__(response)
        self.violated_policies: list[str] = list(_problem(response).get("violated-policies") or ())


class ServerError(APIError): ...


_BY_STATUS: dict[int, type[APIError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    402: PaymentRequiredError,
    403: PermissionDeniedError,
    404: NotFoundError,
    405: BadRequestError,
    409: ConflictError,
    413: BadRequestError,
    415: BadRequestError,
    422: InvalidRequestError,
    429: RateLimitError,
}
_BY_CODE: dict[str, type[APIError]] = {
    "job-already-finished": JobAlreadyFinishedError,
    "cancel-already-requested": CancelAlreadyRequestedError,
    "idempotency-key-reused": IdempotencyKeyReusedError,
    "not-enough-credits": NotEnoughCreditsError,
    "not-in-plan": NotInPlanError,
    "quote-above-max-cost": QuoteAboveMaxCostError,
    "spend-cap-reached": SpendCapReachedError,
}


class APIConnectionError(ImpastoError):
    """No answer: the name does not resolve, nobody listens, or the connection broke.

    `sent` is False when the request surely never reached the API.
    """

    def __init__(self, message: str, *, sent: bool = True) -> None:
        super().__init__(message)
        self.sent = sent


class APITimeoutError(APIConnectionError, TimeoutError):
    """No answer in time."""


class InvalidResponseError(ResponseError):
    """The API answered with something this version of the SDK cannot read."""

    def __str__(self) -> str:
        return f"{self.args[1]} (request {self.request_id})"


class StorageError(ResponseError):
    """The object store answered a presigned URL with an error."""

    def __str__(self) -> str:
        request = self.response.request
        url = request.url.copy_with(query=None)  # the query is a credential
        return f"{self.status} from {request.method} {url}: {self.response.text[:300]}"


class JobError(ImpastoError):
    """Something about one job."""

    job_id: str


class JobFailed(JobError):
    """The job ended without images. `job.error` says why."""

    def __init__(self, job: Job[Any]) -> None:
        super().__init__(job)
        self.job = job
        self.job_id: str = job.id

    def __str__(self) -> str:
        error = self.job.error
        if error is None:
            return f"job {self.job_id} failed"
        where = f" in node {error.node_id} ({error.node_type})" if error.node_id else ""
        advice = " Trying again may help." if error.retryable else ""
        return f"job {self.job_id} failed{where}: {error.message} [{error.code}]{advice}"


class JobCanceled(JobError):
    """The job was canceled before it ended: `job.cancel_reason` says why."""

    def __init__(self, job: Job[Any]) -> None:
        super().__init__(job)
        self.job = job
        self.job_id: str = job.id

    def __str__(self) -> str:
        why = _CANCELED.get(self.job.cancel_reason or "", "")
        return f"job {self.job_id} was canceled{why}"


class WaitTimeout(JobError, TimeoutError):
    """The wait ended before the job did. The job goes on."""

    def __init__(self, job_id: str, seconds: float) -> None:
        super().__init__(job_id, seconds)
        self.job_id: str = job_id
        self.seconds = seconds

    def __str__(self) -> str:
        return (
            f"job {self.job_id} did not end within {self.seconds:g} s, and goes on. Keep waiting with"
            f" jobs.wait({self.job_id!r}), or stop it with jobs.cancel({self.job_id!r})."
        )


class WebhookVerificationError(ImpastoError):
    """What arrived at a webhook endpoint was not sent by Impasto just now. Answer 400 and do nothing."""

    def __init__(self, reason: WebhookRefusal, message: str) -> None:
        super().__init__(reason, message)
        self.reason: WebhookRefusal = reason

    def __str__(self) -> str:
        return str(self.args[1])


class WebhookSecretError(ImpastoError):
    """The secret to verify webhooks with is not one. Nothing can be verified until you set the right one."""


def _problem(response: httpx.Response) -> dict[str, Any]:
    """The problem document, or an empty one if something else, like a proxy, answered."""
    try:
        problem = response.json()
    except ValueError:
        return {}
    return cast("dict[str, Any]", problem) if isinstance(problem, dict) else {}
