"""Requests to servers on this machine never go through a proxy, whatever the environment names.

Our own clients check each URL (`serving.http_session`, `serving.client.http_connection`). Those of MLflow and
NautilusTrader read the environment alone: for them `exempt_loopback` adds this machine to ``NO_PROXY``.
"""

import os
import socket
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

_NAMES = ("localhost", "127.0.0.1", "127.0.0.0/8", "::1")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")


@lru_cache(maxsize=256)
def is_loopback(url: str) -> bool:
    """Return whether a URL names this machine: ``localhost``, 127.0.0.0/8, ``[::1]``, or the unspecified address
    (``0.0.0.0``, ``[::]``) of a server that listens on all interfaces."""
    try:
        host = (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:  # the client that connects to it names the error
        return False
    if host == "localhost" or host.endswith(".localhost"):
        return True
    address = _address(host)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address is not None and (address.is_loopback or address.is_unspecified)


def exempt_loopback() -> None:
    """Add this machine to ``NO_PROXY`` and ``no_proxy`` where the environment names a proxy."""
    if not any(os.environ.get(name) or os.environ.get(name.upper()) for name in _PROXIES):
        return
    exempted = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    names = [name.strip() for name in exempted.split(",") if name.strip()]
    if "*" in names:
        return
    names += [name for name in _NAMES if name not in names]
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(names)


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host))  # 127.1, as the C library takes it
    except OSError:
        return None
