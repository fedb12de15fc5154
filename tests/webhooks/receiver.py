"""A customer's server: http.server and the PyPI library `standardwebhooks`, nothing of ours."""

from __future__ import annotations

import json
import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks.webhooks import Webhook

Behaviour = Callable[[BaseHTTPRequestHandler], None]


@dataclass(frozen=True)
class Message:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def event(self) -> dict[str, Any]:
        return json.loads(self.body)

    def verify(self, secret: str) -> Any:
        """As the library's readme says. Raises WebhookVerificationError."""
        return Webhook(secret).verify(self.body.decode(), self.headers)


def answer(status: int, body: bytes = b"", **headers: str) -> Behaviour:
    def behave(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    return behave


def silent(until: threading.Event) -> Behaviour:
    """Takes the request and says nothing."""

    def behave(request: BaseHTTPRequestHandler) -> None:
        until.wait(60)

    return behave


def endless(chunk: bytes, pause: float, until: threading.Event) -> Behaviour:
    """Answers 200 with a body that does not end until nobody listens any more."""

    def behave(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        while not until.wait(pause):
            request.wfile.write(chunk)

    return behave


class Receiver:
    """Answers 200, or once with each of `behaviours`. `always` is for paths that behave so every time."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.received: list[Message] = []
        self.behaviours: deque[Behaviour] = deque()
        self.always: dict[str, Behaviour] = {}
        self.over = threading.Event()

    def at(self, path: str) -> list[Message]:
        return [message for message in self.received if message.path == path]

    def _handle(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.received.append(Message(request.path, headers, body))
        behave = self.always.get(request.path) or (
            self.behaviours.popleft() if self.behaviours else answer(200, b"thanks")
        )
        with suppress(OSError):  # it hung up
            behave(request)


@contextmanager
def receiving(tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            receiver._handle(self)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # who is not trusted hangs up
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    receiver = Receiver(f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield receiver
    finally:
        receiver.over.set()
        server.shutdown()
        thread.join()
        server.server_close()
