"""The Python SDK of Impasto: a prompt in, a picture out.

    from impasto import Impasto

    client = Impasto()  # reads IMPASTO_API_KEY
    client.images.generate("a lighthouse at dusk", progress=True)[0].save("lighthouse.png")

Importing this package imports nothing else: each name below is loaded when it is first used (PEP 562).
"""

from importlib import import_module

from ._version import __version__ as __version__

TYPE_CHECKING = False  # what type checkers take for true; importing it from typing would double the cost
if TYPE_CHECKING:
    from . import webhooks as webhooks
    from ._client import AsyncImpasto as AsyncImpasto
    from ._client import Impasto as Impasto
    from ._exceptions import APIConnectionError as APIConnectionError
    from ._exceptions import APIError as APIError
    from ._exceptions import APITimeoutError as APITimeoutError
    from ._exceptions import AuthenticationError as AuthenticationError
    from ._exceptions import BadRequestError as BadRequestError
    from ._exceptions import CancelAlreadyRequestedError as CancelAlreadyRequestedError
    from ._exceptions import ConflictError as ConflictError
    from ._exceptions import FieldError as FieldError
    from ._exceptions import IdempotencyKeyReusedError as IdempotencyKeyReusedError
    from ._exceptions import ImpastoError as ImpastoError
    from ._exceptions import InvalidRequestError as InvalidRequestError
    from ._exceptions import InvalidResponseError as InvalidResponseError
    from ._exceptions import JobAlreadyFinishedError as JobAlreadyFinishedError
    from ._exceptions import JobCanceled as JobCanceled
    from ._exceptions import JobError as JobError
    from ._exceptions import JobFailed as JobFailed
    from ._exceptions import NotEnoughCreditsError as NotEnoughCreditsError
    from ._exceptions import NotFoundError as NotFoundError
    from ._exceptions import NotInPlanError as NotInPlanError
    from ._exceptions import PaymentRequiredError as PaymentRequiredError
    from ._exceptions import PermissionDeniedError as PermissionDeniedError
    from ._exceptions import QuoteAboveMaxCostError as QuoteAboveMaxCostError
    from ._exceptions import RateLimitError as RateLimitError
    from ._exceptions import ResponseError as ResponseError
    from ._exceptions import ServerError as ServerError
    from ._exceptions import SpendCapReachedError as SpendCapReachedError
    from ._exceptions import StorageError as StorageError
    from ._exceptions import WaitTimeout as WaitTimeout
    from ._exceptions import WebhookSecretError as WebhookSecretError
    from ._exceptions import WebhookVerificationError as WebhookVerificationError
    from ._pagination import AsyncPage as AsyncPage
    from ._pagination import Page as Page
    from ._progress import Progress as Progress
    from ._progress import ProgressBar as ProgressBar
    from .types import AsyncImage as AsyncImage
    from .types import AsyncImageList as AsyncImageList
    from .types import AsyncJob as AsyncJob
    from .types import Image as Image
    from .types import ImageList as ImageList
    from .types import Job as Job

_HOMES = {
    "_client": "AsyncImpasto Impasto",
    "_exceptions": """
        APIConnectionError APIError APITimeoutError AuthenticationError BadRequestError
        CancelAlreadyRequestedError ConflictError FieldError IdempotencyKeyReusedError ImpastoError
        InvalidRequestError InvalidResponseError JobAlreadyFinishedError JobCanceled JobError
        JobFailed NotEnoughCreditsError NotFoundError NotInPlanError PaymentRequiredError
        PermissionDeniedError QuoteAboveMaxCostError RateLimitError ResponseError ServerError
        SpendCapReachedError StorageError WaitTimeout WebhookSecretError WebhookVerificationError
    """,
    "_pagination": "AsyncPage Page",
    "_progress": "Progress ProgressBar",
    "types": "AsyncImage AsyncImageList AsyncJob Image ImageList Job",
    "webhooks": "webhooks",
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names.split()}


if not TYPE_CHECKING:  # or a type checker would believe in any name

    def __getattr__(name: str) -> object:
        if name not in _HOME_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        home = import_module(f".{_HOME_OF[name]}", __name__)
        value = home if name == _HOME_OF[name] else getattr(home, name)
        globals()[name] = value  # the next time it is found without us
        return value


def __dir__() -> list[str]:
    return ["__version__", *_HOME_OF]
