"""A real HTTP server on 127.0.0.1 that answers by a script, and can be as rude as the network."""

from __future__ import annotations

import json
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Received:
    """A request as it came in. Header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """What to answer. `pieces` are sent one by one, and `cut` breaks the connection after them."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    pieces: Iterable[bytes] | None = None
    cut: bool = False


def answer(status: int = 200, content: object = None, **headers: str) -> Answer:
    """JSON. Underscores in header names stand for hyphens."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    body = b"" if content is None else json.dumps(content).encode()
    return Answer(status, body, {"content-type": "application/json", "x-request-id": "req_1", **names})


def problem(status: int, code: str, *, errors: object = (), **headers: str) -> Answer:
    content = {
        "type": f"https://docs.impasto.dev/problems/{code}",
        "title": code.replace("-", " ").capitalize(),
        "status": status,
        "detail": f"This is {code}.",
        "instance": "/v1/somewhere",
        "code": code,
        "request_id": "req_1",
        "errors": errors,
    }
    return answer(status, content, **{"content-type": "application/problem+json", **headers})


def stream(*pieces: bytes, cut: bool = False) -> Answer:
    return Answer(headers={"content-type": "text/event-stream"}, pieces=pieces, cut=cut)


HANG_UP = Answer(cut=True)
"""The connection is closed without a word."""

Script = Answer | Callable[[Received], Answer]


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up, which some tests are about, is no reason to print a traceback."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class ScriptedServer:
    """Gives one answer of its script to each request, in order, and keeps the requests."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self._script: deque[Script] = deque()
        self._http = _QuietServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def will(self, *script: Script) -> None:
        self._script.extend(script)

    @contextmanager
    def running(self) -> Iterator[ScriptedServer]:
        thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield self
        finally:
            self._http.shutdown()
            thread.join()
            self._http.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                request = Received(self.command, self.path, headers, body)
                server.received.append(request)
                step = server._script.popleft() if server._script else problem(500, "script-has-ended")
                self._send(step(request) if callable(step) else step)

            do_GET = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815

            def _send(self, answer: Answer) -> None:
                if answer.cut and answer.pieces is None:
                    self.close_connection = True
                    return
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                if answer.pieces is None:
                    if answer.status != 204:
                        self.send_header("content-length", str(len(answer.body)))
                    self.end_headers()
                    self.wfile.write(answer.body)
                    return
                self.send_header("transfer-encoding", "chunked")
                self.end_headers()
                try:
                    for piece in answer.pieces:
                        self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
                    if answer.cut:
                        self.close_connection = True
                    else:
                        self.wfile.write(b"0\r\n\r\n")
                except OSError:  # the client has left, as some do
                    self.close_connection = True

            def log_message(self, *args: object) -> None:
                pass

        return Handler
