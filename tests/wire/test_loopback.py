"""No client connects to this machine through a proxy; every other host still goes through the environment's."""

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests
from nautilus_trader.core.nautilus_pyo3 import HttpClient, HttpMethod

from nautilus_torchserve.serving.client.http_connection import HttpConnection, Request
from nautilus_torchserve.serving.http_session import HttpSession
from nautilus_torchserve.wire.loopback import exempt_loopback, is_loopback

VARIABLES = ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
EXEMPTIONS = ("no_proxy", "NO_PROXY")


class Handler(BaseHTTPRequestHandler):
    """Reports whether it was used as a proxy, whose request lines have whole URLs."""

    def do_GET(self) -> None:
        body = b"proxy" if self.path.startswith("http") else b"direct"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("x-authorization", self.headers.get("Authorization", ""))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class DualStackServer(ThreadingHTTPServer):
    """Listens on all addresses of this machine, IPv6 (where it has any) and IPv4."""

    address_family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with DualStackServer(("", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment that names neither proxies nor exemptions; put back as it was afterwards."""
    for name in (*VARIABLES, *EXEMPTIONS):
        monkeypatch.setenv(name, "")  # so that what a test sets is taken back
        monkeypatch.delenv(name)
    return monkeypatch


def with_requests(url: str) -> str:
    with HttpSession() as session:
        return session.get(url, timeout=5).text


def with_curl(url: str) -> str:
    connection = HttpConnection(None)
    try:
        return connection.send(Request(url, None, [], timeout_s=5.0)).body.decode()
    finally:
        connection.close()


def with_exempted_requests(url: str) -> str:
    """Send a request as MLflow does to its server, once `mlflow_store` is imported."""
    exempt_loopback()
    return requests.get(url, timeout=5).text


def with_exempted_nautilus(url: str) -> str:
    """Send a request as NautilusTrader's adapters do to a venue."""

    async def get() -> str:
        return (await HttpClient(timeout_secs=5).request(HttpMethod.GET, url)).body.decode()

    exempt_loopback()
    return asyncio.run(get())


CLIENTS = [with_requests, with_curl, with_exempted_requests, with_exempted_nautilus]


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.8.9.10", "[::1]"])
def test_requests_to_this_machine_go_past_the_proxy(
    client: Callable[[str], str], host: str, port: int, environment: pytest.MonkeyPatch
) -> None:
    if host == "[::1]" and not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    with socket.socket() as silent:  # a proxy that accepts and never answers
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        for name in VARIABLES:
            environment.setenv(name, f"http://127.0.0.1:{silent.getsockname()[1]}")

        assert client(f"http://{host}:{port}/") == "direct"


@pytest.mark.parametrize("variable", VARIABLES)
@pytest.mark.parametrize("client", [with_requests, with_curl])
def test_a_proxy_that_refuses_does_not_matter(
    client: Callable[[str], str], variable: str, port: int, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv(variable, "http://127.0.0.1:9")

    assert client(f"http://127.0.0.1:{port}/") == "direct"


@pytest.mark.parametrize("variable", ["http_proxy", "all_proxy"])
@pytest.mark.parametrize("client", CLIENTS)
def test_other_hosts_go_through_the_proxy(
    client: Callable[[str], str], variable: str, port: int, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv(variable, f"http://127.0.0.1:{port}")

    assert client("http://venue.invalid/time") == "proxy"


def test_one_connection_distinguishes_both_kinds_of_hosts(port: int, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("http_proxy", f"http://127.0.0.1:{port}")
    connection = HttpConnection(None)

    urls = (f"http://127.0.0.1:{port}/", "http://venue.invalid/", f"http://localhost:{port}/", "http://venue.invalid/")
    bodies = [connection.send(Request(url, None, [], timeout_s=5.0)).body for url in urls]

    assert bodies == [b"direct", b"proxy", b"direct", b"proxy"]
    connection.close()


def test_a_token_is_not_replaced_by_a_netrc_file(port: int, environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("default login me password secret\n")
    environment.setenv("NETRC", str(tmp_path / "netrc"))
    with HttpSession() as session:
        session.headers["Authorization"] = "Bearer token"
        assert session.get(f"http://127.0.0.1:{port}/", timeout=5).headers["x-authorization"] == "Bearer token"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://localhost:8080", True),
        ("http://LOCALHOST", True),
        ("https://api.localhost./x", True),
        ("http://127.0.0.1", True),
        ("http://127.255.255.254:1", True),
        ("http://127.1", True),
        ("http://0.0.0.0:1", True),
        ("http://[::1]:8080", True),
        ("http://[::ffff:127.0.0.1]", True),
        ("http://[::]", True),
        ("http://u:p@[::1]", True),
        ("http://128.0.0.1", False),
        ("http://10.0.0.127", False),
        ("http://localhost.example.com", False),
        ("http://127.0.0.1.nip.io", False),
        ("http://mylocalhost", False),
        ("http://127.0.0.1@example.com", False),
        ("http://[::2]", False),
        ("http://[::1", False),
        ("http://", False),
        ("", False),
    ],
)
def test_which_hosts_are_this_machine(url: str, expected: bool) -> None:
    assert is_loopback(url) is expected


@pytest.mark.parametrize(
    ("given", "exempted"),
    [
        ({}, None),
        ({"no_proxy": "corp"}, "corp"),
        ({"https_proxy": "http://p:1"}, "localhost,127.0.0.1,127.0.0.0/8,::1"),
        ({"ALL_PROXY": "socks5://p:1", "NO_PROXY": ".corp, ::1"}, ".corp,::1,localhost,127.0.0.1,127.0.0.0/8"),
        ({"http_proxy": "http://p:1", "NO_PROXY": "*"}, "*"),
    ],
)
def test_exemptions_of_the_user_stay(
    given: dict[str, str], exempted: str | None, environment: pytest.MonkeyPatch
) -> None:
    for name, value in given.items():
        environment.setenv(name, value)

    exempt_loopback()
    exempt_loopback()

    assert (os.environ.get("no_proxy") or os.environ.get("NO_PROXY")) == exempted
