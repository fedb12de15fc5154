"""Server-sent events: bytes in, events out.

By the rules of https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

_LINE_END = re.compile("\r\n|\n|\r")


@dataclass(frozen=True)
class ServerSentEvent:
    event: str
    data: str
    id: str


class SSEParser:
    """Feed it the stream in pieces, cut anywhere. An event that is not complete at its end is dropped."""

    def __init__(self) -> None:
        self.retry: float | None = None
        """Seconds to wait before reconnecting, if the server said so."""
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")(errors="replace")
        self._after_cr = False
        self._line: list[str] = []  # the pieces of a line whose end has not come yet
        self._event = ""
        self._data: list[str] = []
        self._id = ""  # stays for the events that follow and have none

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        """The events that became complete."""
        text = self._decoder.decode(chunk)
        if not text:
            return []
        if self._after_cr:
            text = text.removeprefix("\n")  # the other half of a CR LF
        self._after_cr = text.endswith("\r")
        *ends, beginning = _LINE_END.split(text)
        events: list[ServerSentEvent] = []
        for end in ends:
            line = "".join([*self._line, end])
            self._line.clear()
            if line:
                self._take_field(line)
            elif event := self._dispatch():
                events.append(event)
        self._line.append(beginning)
        return events

    def _take_field(self, line: str) -> None:
        name, _, value = line.partition(":")  # a comment, ":...", has an empty name
        value = value.removeprefix(" ")
        match name:
            case "event":
                self._event = value
            case "data":
                self._data.append(value)
            case "id" if "\0" not in value:
                self._id = value
            case "retry" if value.isascii() and value.isdigit():
                self.retry = int(value) / 1000
            case _:
                pass

    def _dispatch(self) -> ServerSentEvent | None:
        event = (
            ServerSentEvent(self._event or "message", "\n".join(self._data), self._id) if self._data else None
        )
        self._event, self._data = "", []
        return event
