"""Logs: one line a record on stderr, JSON for machines or text for people, and what it belongs to in each.

What a request or an attempt knows of itself is put into a context variable once, so that every record made on
its way carries it, whoever writes it.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from opentelemetry import trace

from impasto_core.settings import Settings

_NO_CONTEXT: Mapping[str, str | int] = {}
_context: ContextVar[Mapping[str, str | int]] = ContextVar("log_context", default=_NO_CONTEXT)

# A last net under everything: other people's exceptions say what they were given.
_SECRETS = re.compile(
    r"""(?P<name>X-Amz-(?:Signature|Credential|Security-Token)=|Bearer\s+)[^&\s"']+
        | (?<=://)[^/\s:@"]*:[^/\s@"]+(?=@)
        | imp_(?:live|test)_\w+ | whsec_[\w+/=]+ | (?:sk|rk)_(?:live|test)_\w+""",
    re.VERBOSE,
)

# Their INFO is our DEBUG.
_CHATTY = ("botocore", "boto3", "s3transfer", "dramatiq", "urllib3", "httpx", "httpcore")


def configure_logging(settings: Settings) -> None:
    """Send all records of the process to stderr, those of uvicorn, Dramatiq and `warnings` among them."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else TextFormatter())
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)


@contextmanager
def log_context(**fields: str | int) -> Iterator[None]:
    """Every record made within carries these fields: `request_id`, `job_id`, `attempt`, `organization_id`."""
    token = _context.set({**_context.get(), **fields})
    try:
        yield
    finally:
        _context.reset(token)


def bind(**fields: str | int) -> None:
    """As `log_context`, until the task ends: for those who learn something in the middle of a request."""
    _context.set({**_context.get(), **fields})


def redact(text: str) -> str:
    """The text without API keys, passwords in URLs and signatures of presigned ones."""
    return _SECRETS.sub(lambda match: (match["name"] or "") + "[redacted]", text)


class JsonFormatter(logging.Formatter):
    """One JSON object a record. A call may add members of its own: `extra={"fields": {...}}`."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        span = trace.get_current_span().get_span_context()
        if span.is_valid:
            entry |= {"trace_id": f"{span.trace_id:032x}", "span_id": f"{span.span_id:016x}"}
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return redact(json.dumps(entry, ensure_ascii=False, default=str))


class TextFormatter(logging.Formatter):
    """The same for people: the context in brackets at the end of the line."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's own name
        context = " ".join(f"{name}={value}" for name, value in _fields(record).items())
        return super().formatMessage(record) + (f" [{context}]" if context else "")

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {**_context.get(), **getattr(record, "fields", {})}
