"""Where webhooks may go: judged by the URL when it is given, and by the address whenever it is called."""

from __future__ import annotations

import asyncio
import socket
import threading
from ipaddress import ip_address, ip_network
from typing import Any

import httpcore
import pytest

from impasto_core.settings import Settings
from impasto_core.webhooks.guard import (
    Address,
    AddressRefused,
    Guard,
    GuardedNetwork,
    UrlRefused,
    is_public,
)
from impasto_workers.webhooks.room import ATTEMPTS_OF_AN_ORGANIZATION
from tests.support.servers import closed_port
from tests.webhooks.receiver import Receiver

INTERNET = Guard(https_only=True)
DEVELOPMENT = Guard(https_only=False, allowed=(ip_network("127.0.0.0/8"), ip_network("::1/128")))


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",  # noqa: S104
        "10.1.2.3",
        "100.64.0.1",
        "127.0.0.1",
        "127.255.255.254",
        "168.63.129.16",
        "169.254.169.254",
        "169.254.170.2",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.8",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:0:127.0.0.1",
        "64:ff9b::127.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "2001:db8::1",
        "2002:7f00:1::",
        "2002:a9fe:a9fe::",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::a9fe:a9fe",
        "fec0::1",
        "ff02::1",
    ],
)
def test_what_is_not_on_the_public_internet_is_refused_however_it_is_written(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "93.184.216.34", "::ffff:1.1.1.1", "64:ff9b::101:101", "2606:4700:4700::1111"]
)
def test_public_addresses_are_let_through(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("", "https"),
        ("hooks.example.com", "https"),
        ("http://example.com/", "https"),
        ("ftp://example.com/", "https"),
        ("file:///etc/passwd", "https"),
        ("gopher://example.com:70/", "https"),
        ("https://user:secret@example.com/", "user name"),
        ("https://example.com@127.0.0.1/", "user name"),
        ("https:///hooks", "host"),
        ("https://example.com/#part", "fragment"),
        ("https://example.com:22/", "port"),
        ("https://example.com:99999/", "not a URL"),
        ("https://[::1", "not a URL"),
        ("https://exa mple.com/", "character"),
        ("https://example.com/\r\nHost: internal", "character"),
        ("https://example.com\\@127.0.0.1/", "character"),
        ("https://b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.example/", "character"),
        ("https://127.0.0.1/", "public"),
        ("https://[::ffff:127.0.0.1]/", "public"),
        ("https://[fe80::1%25eth0]/", "public"),
        ("https://169.254.169.254/latest/meta-data/", "public"),
        ("https://2130706433/", "host name"),
        ("https://0x7f.1/", "host name"),
        ("https://127.1/", "host name"),
        ("https://0177.0.0.1/", "host name"),
        ("https://example..com/", "host name"),
        ("https://localhost/", "public"),
        ("https://metadata.google.internal/", "public"),
        ("https://example.com/" + "a" * 2048, "2048"),
    ],
)
def test_a_url_that_no_webhook_may_have_is_refused_with_a_reason(url: str, complaint: str) -> None:
    with pytest.raises(UrlRefused, match=complaint):
        INTERNET.check_url(url)


def test_a_url_on_the_internet_is_taken_as_it_is() -> None:
    url = INTERNET.check_url("https://hooks.example.com:8443/a/b?c=d&e=%20f")
    assert bytes(url) == b"https://hooks.example.com:8443/a/b?c=d&e=%20f"


def test_the_networks_that_an_operator_allows_are_let_through(settings: Settings) -> None:
    guard = Guard.of(settings.model_copy(update={"webhook_allowed_networks": "127.0.0.0/8, 10.0.0.0/8"}))
    for url in ("http://127.0.0.1:8080/", "http://localhost:8080/", "http://10.1.2.3/"):
        guard.check_url(url)
    with pytest.raises(UrlRefused):
        guard.check_url("http://192.168.1.1/")


class Names(GuardedNetwork):
    """Another answer whenever a name is asked for, as a server has that means to rebind it."""

    def __init__(self, guard: Guard, *answers: list[str]) -> None:
        super().__init__(guard)
        self.answers = list(answers)

    async def resolve(self, host: str, port: int) -> list[Address]:
        return [ip_address(address) for address in self.answers.pop(0)]


async def test_a_name_that_leads_inside_is_refused_when_it_is_called() -> None:
    for addresses in (["127.0.0.1"], ["93.184.216.34", "10.0.0.1"], ["::ffff:169.254.169.254"]):
        with pytest.raises(AddressRefused):
            await Names(INTERNET, addresses).connect_tcp("rebound.example.com", 443)


async def test_the_connection_goes_to_the_address_that_was_judged(receiver: Receiver) -> None:
    """Asked twice, the name would lead elsewhere, and the second answer would go unjudged."""
    network = Names(DEVELOPMENT, ["127.0.0.1"], ["10.0.0.1"])
    port = int(receiver.url.rpartition(":")[2])
    stream = await network.connect_tcp("rebound.example.com", port)
    assert stream.get_extra_info("server_addr") == ("127.0.0.1", port)
    assert network.answers == [["10.0.0.1"]]
    await stream.aclose()


async def test_the_next_address_is_tried_where_nobody_listens_at_the_first(receiver: Receiver) -> None:
    port = int(receiver.url.rpartition(":")[2])
    stream = await Names(DEVELOPMENT, ["::1", "127.0.0.1"]).connect_tcp("localhost", port)
    assert stream.get_extra_info("server_addr")[0] == "127.0.0.1"
    await stream.aclose()
    with closed_port() as nobody, pytest.raises(httpcore.ConnectError):
        await GuardedNetwork(DEVELOPMENT).connect_tcp("localhost", nobody)


async def test_a_name_that_does_not_exist_is_an_error_of_the_connection() -> None:
    with pytest.raises(httpcore.ConnectError, match="cannot be resolved"):
        await GuardedNetwork(INTERNET).connect_tcp("nobody.invalid", 443)


async def test_name_servers_that_never_answer_hold_up_only_who_asks_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answered = threading.Event()
    look_up = socket.getaddrinfo

    def getaddrinfo(host: str, *arguments: Any, **options: Any) -> Any:
        if host.endswith(".hole.example"):
            answered.wait(60)
            raise socket.gaierror
        return look_up(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    network = GuardedNetwork(DEVELOPMENT)
    # Those that run, and those that ran before: a thread cannot be told that nobody waits for it any more.
    names = [f"{number}.hole.example" for number in range(2 * ATTEMPTS_OF_AN_ORGANIZATION)]
    asking = [asyncio.create_task(network.resolve(name, 443)) for name in names]
    await asyncio.sleep(0)
    try:
        async with asyncio.timeout(20):
            assert await network.resolve("127.0.0.1", 443) == [ip_address("127.0.0.1")]
    finally:
        answered.set()
        await asyncio.gather(*asking, return_exceptions=True)
