"""HTTP/1.1 with next to no cost of its own: a client library's would be added to both sides of a ratio."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit


class Connection:
    """One kept-alive connection. Responses must have a Content-Length, as ours do."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> None:
        self._reader = reader
        self._writer = writer
        self._host = host

    async def request(
        self, method: str, path: str, headers: Mapping[str, str], body: Any = None, *, expect: int
    ) -> Any:
        """The JSON of the answer. Raises RuntimeError for any other status."""
        content = b"" if body is None else json.dumps(body).encode()
        sent = {"Host": self._host, "Content-Length": str(len(content)), **headers}
        if content:
            sent["Content-Type"] = "application/json"
        head = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        self._writer.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + content)
        status, *lines = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        length = next(line for line in lines if line.lower().startswith("content-length:"))
        answer = json.loads(await self._reader.readexactly(int(length.partition(":")[2])))
        if int(status.split()[1]) != expect:
            raise RuntimeError(f"{method} {path}: {status}: {answer}")
        return answer


@asynccontextmanager
async def connect(base_url: str) -> AsyncIterator[Connection]:
    address = urlsplit(base_url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        yield Connection(reader, writer, address.netloc)
    finally:
        writer.close()
        await writer.wait_closed()
