"""What may be called: public servers, whatever a name resolves to at that moment (no SSRF, no DNS rebinding).

A name is resolved once, each of its addresses is judged, and the connection goes to the very address that was
judged. Redirects are not followed: who sends does not know how.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Self
from urllib.parse import urlsplit

import httpcore

from impasto_core.settings import Settings

MAX_URL_LENGTH = 2048

_NOT_IN_A_URL = re.compile(r"[^\x21-\x7e]|[\"<>\\^`{|}]")
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*", re.IGNORECASE)
_NUMBER = re.compile(r"(0x[0-9a-f]*|[0-9]+)", re.IGNORECASE)
_PRIVATE_NAMES = (".localhost", ".local", ".internal", ".home.arpa")

# IPv6 is public in 2000::/3 alone, and there not where addresses of another kind are wrapped up or made up.
_PUBLIC_IPV6 = ip_network("2000::/3")
_NO_SERVERS_IPV6 = [ip_network(each) for each in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")]
_NAT64 = ip_network("64:ff9b::/96")
_NO_SERVERS_IPV4 = [
    ip_network(each)
    for each in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",  # carriers' NAT
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's own, within its machines
        "169.254.0.0/16",  # link-local, with the clouds' metadata
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",  # multicast, reserved, broadcast
    )
]

_DNS_THREADS = 1000
"""More than can ever wait: for attempts that run at once, and for as many that were given up meanwhile.

With fewer, one organization whose name servers never answer would keep all others from theirs.
"""

_CONNECT_SECONDS = 5.0
_MAX_ADDRESSES = 3

Address = IPv4Address | IPv6Address


class UrlRefused(Exception):
    """The URL is none that we call. The message says why, to whoever gave it."""


class AddressRefused(Exception):
    """The name leads to an address that is not public."""


@dataclass(frozen=True)
class Guard:
    """`allowed` are networks that may be called although they are not public."""

    https_only: bool
    allowed: tuple[IPv4Network | IPv6Network, ...] = ()

    @classmethod
    def of(cls, settings: Settings) -> Self:
        networks = filter(None, settings.webhook_allowed_networks.split(","))
        return cls(
            https_only=settings.environment == "production",
            allowed=tuple(ip_network(network.strip()) for network in networks),
        )

    def check_url(self, url: str) -> httpcore.URL:
        """What can be said of a URL without asking the network. Raises UrlRefused."""
        if len(url) > MAX_URL_LENGTH:
            raise UrlRefused(f"A URL has {MAX_URL_LENGTH} characters at most.")
        if _NOT_IN_A_URL.search(url):
            raise UrlRefused("It has a character that no URL has. Encode it, and names as punycode.")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise UrlRefused("It is not a URL.") from None
        if parts.scheme not in (("https",) if self.https_only else ("https", "http")):
            raise UrlRefused("It must be an https URL.")
        if "@" in parts.netloc:
            raise UrlRefused("It must not hold a user name or password. Webhooks are signed instead.")
        if parts.fragment:
            raise UrlRefused("It must not have a fragment: servers never see it.")
        if port is not None and port not in (80, 443) and port < 1024:
            raise UrlRefused("The port must be 443, or 1024 or more.")
        self._check_host(parts.hostname or "")
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return httpcore.URL(scheme=parts.scheme, host=parts.hostname or "", port=port, target=target)

    def _check_host(self, host: str) -> None:
        try:
            address = ip_address(host)
        except ValueError:
            if not _NAME.fullmatch(host) or _NUMBER.fullmatch(host.rpartition(".")[2]):
                raise UrlRefused("It has no sound host name.") from None
            if not self.allowed and f".{host}".lower().endswith(_PRIVATE_NAMES):
                raise UrlRefused("Its host is not on the public internet.") from None
        else:
            if "%" in host or not self.permits(address):
                raise UrlRefused("Its address is not on the public internet.")

    def permits(self, address: Address) -> bool:
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped  # the same server, by another notation
        return is_public(address) or any(address in network for network in self.allowed)


def is_public(address: Address) -> bool:
    """Whether it is one of the internet at large, to which servers are given."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NO_SERVERS_IPV4)
    if address.ipv4_mapped is not None:
        return is_public(address.ipv4_mapped)
    if address in _NAT64:
        return is_public(IPv4Address(int(address) & 0xFFFF_FFFF))
    return address in _PUBLIC_IPV6 and not any(address in network for network in _NO_SERVERS_IPV6)


class GuardedNetwork(httpcore.AsyncNetworkBackend):
    """Connects to what the guard permits, and to nothing else.

    Names are resolved by the system, in threads of their own: a name server that never answers holds up those
    who ask it, and nobody who does anything else.
    """

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._network = httpcore.AnyIOBackend()
        self._resolvers = ThreadPoolExecutor(_DNS_THREADS, "webhook-dns")

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # httpcore's own signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Raises AddressRefused, httpcore.ConnectError, httpcore.ConnectTimeout."""
        addresses = await self.resolve(host, port)
        if not all(self._guard.permits(address) for address in addresses):
            raise AddressRefused(f"{host} is not on the public internet")
        for place, address in enumerate(addresses, start=1):
            try:
                return await self._network.connect_tcp(
                    str(address), port, timeout=min(timeout or _CONNECT_SECONDS, _CONNECT_SECONDS)
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if place == len(addresses):
                    raise
        raise httpcore.ConnectError(f"{host} has no address")

    async def resolve(self, host: str, port: int) -> list[Address]:
        """The first few of its addresses. Raises httpcore.ConnectError."""
        try:
            found = await asyncio.get_running_loop().run_in_executor(
                self._resolvers, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            )
        except (OSError, UnicodeError):
            raise httpcore.ConnectError(f"{host} cannot be resolved") from None
        return [ip_address(entry[4][0]) for entry in found[:_MAX_ADDRESSES]]

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
