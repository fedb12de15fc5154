"""The event stream parser, rule by rule of the WHATWG HTML standard, section 9.2.6."""

from __future__ import annotations

import pytest

from impasto._sse import ServerSentEvent, SSEParser


def parse(stream: bytes) -> list[ServerSentEvent]:
    """Parse in one piece, and byte by byte, which must come to the same."""
    at_once = SSEParser().feed(stream)
    parser = SSEParser()
    by_byte = [
        event for position in range(len(stream)) for event in parser.feed(stream[position : position + 1])
    ]
    assert at_once == by_byte
    return at_once


def datas(stream: bytes) -> list[str]:
    return [event.data for event in parse(stream)]


def test_an_event_has_a_name_an_id_and_data() -> None:
    assert parse(b"event: step\nid: 1-2\ndata: {}\n\n") == [ServerSentEvent("step", "{}", "1-2")]


def test_an_event_without_a_name_is_a_message() -> None:
    assert parse(b"data: x\n\n") == [ServerSentEvent("message", "x", "")]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_lines_end_in_any_of_three_ways(end: bytes) -> None:
    assert datas(end.join([b"data: x", b"data: y", b"", b"data: z", b"", b""])) == ["x\ny", "z"]


def test_line_ends_may_be_mixed() -> None:
    assert datas(b"data: x\r\n\rdata: y\n\r") == ["x", "y"]


def test_an_event_ended_by_cr_does_not_wait_for_a_lf() -> None:
    assert [event.data for event in SSEParser().feed(b"data: x\r\r")] == ["x"]


def test_several_data_lines_are_joined() -> None:
    assert datas(b"data: x\ndata\ndata: y\n\n") == ["x\n\ny"]


def test_only_one_space_after_the_colon_is_dropped() -> None:
    assert datas(b"data:x\n\ndata:  x\n\n") == ["x", " x"]


def test_a_colon_in_the_value_stays() -> None:
    assert datas(b"data: a: b\n\n") == ["a: b"]


def test_comments_and_unknown_fields_are_ignored() -> None:
    assert datas(b": heartbeat\n\n:\nfoo: bar\ndata: x\n\n") == ["x"]


def test_an_event_without_data_is_none_and_leaves_no_name_behind() -> None:
    assert parse(b"event: step\n\ndata: x\n\n") == [ServerSentEvent("message", "x", "")]


def test_empty_data_is_no_event_only_if_there_is_no_data_line() -> None:
    assert datas(b"data\n\n") == [""]


def test_the_id_stays_until_there_is_another() -> None:
    stream = b"id: 1\ndata: x\n\ndata: y\n\nid\ndata: z\n\n"
    assert [event.id for event in parse(stream)] == ["1", "1", ""]


def test_an_id_with_a_null_is_ignored() -> None:
    assert parse(b"id: 1\nid: 2\0\ndata: x\n\n")[0].id == "1"


def test_an_unfinished_event_is_dropped() -> None:
    assert datas(b"data: x\n\ndata: y\n") == ["x"]


def test_a_byte_order_mark_is_skipped_at_the_very_start_only() -> None:
    assert datas(b"\xef\xbb\xbfdata: x\n\n") == ["x"]
    assert datas(b"data: x\n\n\xef\xbb\xbfdata: y\n\n") == ["x"]


def test_characters_may_be_cut_apart() -> None:
    assert datas("data: größer 🎨\n\n".encode()) == ["größer 🎨"]
    assert datas(b"data: \xff\n\n") == ["\ufffd"]


def test_the_server_may_set_the_pause_before_reconnecting() -> None:
    parser = SSEParser()
    parser.feed(b"retry: 1500\nretry: 1.5\nretry: x\n\n")
    assert parser.retry == 1.5
